"""Strategies by name."""

from __future__ import annotations

from collections.abc import Callable

from autotune.spaces.base import Space
from autotune.spaces.layout import LayoutSpace
from autotune.strategies.base import Guidance, Strategy
from autotune.strategies.evolutionary import EvolutionaryStrategy
from autotune.strategies.random import RandomStrategy
from autotune.strategies.screening import ScreeningStrategy


def _of_its_space(space: Space) -> Strategy:
    screened = isinstance(space, LayoutSpace) and space.roles is not None
    return ScreeningStrategy(space) if screened else EvolutionaryStrategy(space)


AUTO = "auto"

STRATEGIES: dict[str, Callable[[Space], Strategy]] = {
    AUTO: _of_its_space,
    "evolutionary": EvolutionaryStrategy,
    "random": RandomStrategy,
}
"""What `--strategy` may be; "auto" is screening for layouts of a TPU and evolution for everything else."""

__all__ = ["AUTO", "STRATEGIES", "Guidance", "Strategy"]
