"""What a strategy is: it decides which configs to propose next. A new one is a new module plus one registry line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config


class Strategy(Protocol):
    """Proposes configs and learns from evaluations. Knows its space, but no target and no cost model."""

    @property
    def name(self) -> str:
        """As given on the command line."""
        ...

    @property
    def guided(self) -> bool:
        """Whether the tuner should let a cost model choose among many proposals."""
        ...

    def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
        """At most `count` configs; repetitions are allowed (the tuner drops them)."""
        ...

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from evaluations, those of earlier searches included."""
        ...
