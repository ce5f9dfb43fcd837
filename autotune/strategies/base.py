"""What a strategy is: it decides which configs to propose next. A new one is a new module plus one registry line."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config


class Guidance(enum.Enum):
    """Who chooses among the proposals of a strategy."""

    NONE = "none"  # chance
    SCORES = "scores"  # the cost models, adapted to the evaluations
    EFFECTS = "effects"  # what the evaluations teach about each decision, and the cost models: see `Factors`


class Strategy(Protocol):
    """Proposes configs and learns from evaluations. Knows its space, but no target and no cost model."""

    @property
    def name(self) -> str:
        """As given on the command line."""
        ...

    @property
    def guidance(self) -> Guidance:
        """Who chooses among many proposals."""
        ...

    def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
        """At most `count` configs; repetitions are allowed (the tuner drops them)."""
        ...

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from evaluations, those of earlier searches included."""
        ...
