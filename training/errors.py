"""Every error that `training` raises on purpose. A message says what was expected, what was found, what to do."""

from __future__ import annotations

from autotune.errors import AutotuneError, ServerError


class TrainingError(AutotuneError):
    """Root of all errors raised by training."""


class TrainingDataError(TrainingError):
    """A data set, or a file of one, is missing, damaged or something else."""


class StoreError(TrainingError):
    """The store cannot be written, or changed while it was in use."""


class ClusterError(TrainingError, ServerError):
    """No Ray cluster can be reached, or its workers do not belong together, or none is left."""
