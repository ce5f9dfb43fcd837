"""Random search: the baseline of every other strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, Space
from autotune.strategies.base import Guidance


class RandomStrategy:
    """Draws from the space and learns nothing.

    Args:
        space: to draw from.
    """

    name = "random"
    guidance = Guidance.NONE

    def __init__(self, space: Space) -> None:
        self._space = space

    def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
        """Independent samples."""
        return [self._space.sample(rng) for _ in range(count)]

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing to learn."""
