"""Evolution: the best configs so far have offspring by mutation and crossover; some proposals are drawn afresh.

The tuner asks for many proposals at once and lets a cost model choose among them, so a generation here is large and
only a few of its members are ever compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, Space
from autotune.strategies.base import Guidance
from autotune.strategies.population import Population

_FRESH, _MUTATED = 0.3, 0.5
"""Shares of proposals that are drawn afresh and that are mutations; the rest are crossovers."""


class EvolutionaryStrategy:
    """Keeps the best evaluated configs as parents.

    Args:
        space: to draw from.
        parents: how many configs may have offspring; the better one is the likelier.
    """

    name = "evolutionary"
    guidance = Guidance.SCORES

    def __init__(self, space: Space, *, parents: int = 8) -> None:
        self._space = space
        self._parents = parents
        self._population = Population()

    def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
        """Samples only until something was evaluated, then a mixture."""
        ranked = self._ranked()
        if not ranked:
            return [self._space.sample(rng) for _ in range(count)]
        return [self._offspring(ranked, rng) for _ in range(count)]

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Failures have no offspring; of repeated evaluations the latest counts."""
        self._population.observe(evaluations)

    def _ranked(self) -> list[Config]:
        return [config for _, config in self._population.best(self._parents)]

    def _offspring(self, ranked: list[Config], rng: np.random.Generator) -> Config:
        kind = rng.random()
        if kind < _FRESH:
            return self._space.sample(rng)
        if kind < _FRESH + _MUTATED or len(ranked) < 2:
            return self._space.mutate(_pick(ranked, rng), rng)
        return self._space.crossover(_pick(ranked, rng), _pick(ranked, rng), rng)


def _pick(ranked: list[Config], rng: np.random.Generator) -> Config:
    """A parent, with a chance that falls with its rank (the smaller of two uniform draws)."""
    return ranked[int(rng.integers(len(ranked), size=2).min())]
