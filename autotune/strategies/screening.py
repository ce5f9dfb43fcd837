"""Screening: one decision at a time, then the good ones together.

Where few of many decisions matter, configs that take many at once tell little about each. So what is proposed is one
decision beside the default or beside the best configs so far (an order for one tensor, or for all tensors of its role),
the best of them together, and the best without one of their decisions. Which of these to evaluate is for the ranking,
which learns what each role does (`autotune.ranking.effects`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from autotune.errors import SpaceError
from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.strategies.base import Guidance
from autotune.strategies.population import Population

_PARENTS: Final = 3
_BETTER: Final = 0.9995
"""Cost relative to the default below which a config is a parent."""

_TAKEN_BACK: Final = 16
"""Decisions of a parent without which it is proposed."""

_EXTENDED: Final = 0.3
"""Chance that a decision is also proposed beside a parent."""

_FEW: Final = 6
"""New proposals below which some are drawn and mutated as by other strategies."""


class ScreeningStrategy:
    """Keeps the best evaluated configs as parents.

    Args:
        space: of layouts, with roles.

    Raises:
        SpaceError: the space has none.
    """

    name = "screening"
    guidance = Guidance.EFFECTS

    def __init__(self, space: Space) -> None:
        if not isinstance(space, LayoutSpace) or space.roles is None:
            raise SpaceError(f"strategy {self.name}: expected a space of layouts of a TPU, found one of {space.kind}s")
        self._space = space
        self._roles = space.roles
        self._known: set[str] = {config_id(space.default)}
        self._population = Population()

    def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
        """New configs only."""
        found: dict[str, Config] = {}
        for config in self._configs(rng):
            if len(found) >= count:
                break
            identity = config_id(config)
            if identity not in self._known:
                found.setdefault(identity, config)
        if len(found) < min(_FEW, count):
            parents = [*self._parents(), self._space.default]
            for _ in range(count):
                parent = parents[rng.integers(len(parents))]
                config = self._space.sample(rng) if rng.random() < 0.5 else self._space.mutate(parent, rng)
                found.setdefault(config_id(config), config)
        return list(found.values())[:count]

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Failures have no offspring; of repeated evaluations the latest counts."""
        self._known |= {config_id(evaluation.config) for evaluation in evaluations}
        self._population.observe(evaluations)

    def _parents(self) -> list[LayoutConfig]:
        best = self._population.best(_PARENTS)
        return [config for cost, config in best if cost < _BETTER and isinstance(config, LayoutConfig)]

    def _configs(self, rng: np.random.Generator) -> Iterator[LayoutConfig]:
        """Mixtures of parents first, then decision after decision in random order."""
        parents = self._parents()
        for number, parent in enumerate(parents):
            orders = parent.as_mapping()
            for other in parents[:number]:
                yield LayoutConfig.of(orders | other.as_mapping())
            if len(orders) > 1:
                for key in rng.permutation(list(orders))[:_TAKEN_BACK]:
                    yield LayoutConfig.of({each: order for each, order in orders.items() if each != tuple(key)})
        for column in rng.permutation(len(self._roles)):
            order, places = self._roles.roles[column].order, self._roles.places[column]
            one = places[rng.integers(len(places))]
            for decision in ({one: order}, dict.fromkeys(places, order)):
                yield LayoutConfig.of(decision)
                for parent in parents:
                    if rng.random() < _EXTENDED:
                        yield LayoutConfig.of(parent.as_mapping() | decision)
