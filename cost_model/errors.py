"""Every error that `cost_model` raises on purpose. A message says what was expected, what was found, what to do."""

from __future__ import annotations


class CostModelError(Exception):
    """Root of all errors raised by cost_model."""


class GraphError(CostModelError, ValueError):
    """An array of a graph or of a batch of configs has the wrong shape, type or content."""


class DeviceError(CostModelError, ValueError):
    """A device description holds an impossible figure, no device of that name is known, or this machine has none."""


class ArchitectureError(CostModelError, ValueError):
    """A network of that shape cannot be built."""


class ScoreError(CostModelError, ArithmeticError):
    """A network computed scores that are not finite."""


class CheckpointError(CostModelError):
    """A checkpoint could not be read or written."""


class CardError(CheckpointError, ValueError):
    """A model card is incomplete, contradicts itself, or is newer than this version of the tool."""


class UnknownModelError(CheckpointError, LookupError):
    """There is no cost model of that name, nor a checkpoint at that path."""
