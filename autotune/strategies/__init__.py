"""Strategies by name."""

from __future__ import annotations

from collections.abc import Callable

from autotune.spaces.base import Space
from autotune.strategies.base import Strategy
from autotune.strategies.evolutionary import EvolutionaryStrategy
from autotune.strategies.random import RandomStrategy

STRATEGIES: dict[str, Callable[[Space], Strategy]] = {
    "evolutionary": EvolutionaryStrategy,
    "random": RandomStrategy,
}

__all__ = ["STRATEGIES", "Strategy"]
