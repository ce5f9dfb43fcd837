"""Which configs to evaluate: uniformly random ones, and those of a genetic search that starts at the default.

TpuGraphs drew its configs in these two ways (arXiv 2308.13490, "random" and "default"). Here both take turns, so that a
collection that runs out of time has as many of one as of the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, Factors, JsonObject, Space, config_id
from autotune.strategies import STRATEGIES, Strategy
from cost_model import ConfigBatch

GENERATION: Final = 6
"""Most configs drawn in one way before it is the other's turn; the genetic search learns of them afterwards."""

_ATTEMPTS: Final = 50
"""Draws per config that is wanted; who then has not found a new one has found them all, or nearly so."""

NEAR, RANDOM, FIXED = "near", "random", "default"
WAYS: Final[Mapping[str, tuple[str, ...]]] = {"both": (NEAR, RANDOM), "genetic": (NEAR,), "random": (RANDOM,)}
"""What `--draw` may be, and the ways of drawing that it stands for."""


class _FromDefault:
    """A space in which whoever draws afresh gets a neighbour of the default; otherwise the space that it is given.

    The evolutionary strategy draws some of its offspring afresh. In a search from the default these would be random
    configs that pass for near ones.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.kind = space.kind
        self.default = space.default
        self.references: Mapping[str, Config] = space.references
        self.landmarks: Sequence[Config] = space.landmarks
        self.size = space.size

    @property
    def factors(self) -> Factors | None:
        return self._space.factors

    def sample(self, rng: np.random.Generator) -> Config:
        return self._space.mutate(self.default, rng)

    def mutate(self, config: Config, rng: np.random.Generator) -> Config:
        return self._space.mutate(config, rng)

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> Config:
        return self._space.crossover(first, second, rng)

    def enumerate(self) -> Iterator[Config]:
        return self._space.enumerate()

    def contains(self, config: Config) -> bool:
        return self._space.contains(config)

    def encode(self, configs: Sequence[Config]) -> ConfigBatch:
        return self._space.encode(configs)

    def explain(self, config: Config) -> list[JsonObject]:
        return self._space.explain(config)

    def from_json(self, value: JsonObject) -> Config:
        return self._space.from_json(value)


def draw(
    space: Space,
    ways: Sequence[str],
    count: int,
    seed: Sequence[int],
    evaluate: Callable[[Sequence[Config], str], Sequence[Evaluation]],
) -> bool:
    """Draw configs and have them evaluated until there are enough.

    Args:
        space: to draw from.
        ways: NEAR, RANDOM or both; they take turns.
        count: configs in all, besides the default and the references. Failed ones count.
        seed: whole numbers of at least 0; the same, with the same evaluations, draw the same configs.
        evaluate: called with the default and the references first, then with each generation and the way it was drawn;
            returns the evaluations. Each way of drawing learns from its own and from the default.

    Returns:
        Whether there were enough; False if there are no further configs.
    """
    fixed = list({config_id(config): config for config in (space.default, *space.references.values())}.values())
    known = {config_id(config) for config in fixed}
    default = [each for each in evaluate(fixed, FIXED) if each.config == space.default]
    strategies: dict[str, Strategy] = {
        way: STRATEGIES["evolutionary"](_FromDefault(space)) if way == NEAR else STRATEGIES["random"](space)
        for way in ways
    }
    rngs = {way: np.random.default_rng([*seed, place]) for place, way in enumerate((NEAR, RANDOM))}
    for strategy in strategies.values():
        strategy.observe(default)
    drawn = 0
    while drawn < count and strategies:
        share = min(GENERATION, math.ceil((count - drawn) / len(strategies)))
        for way, strategy in list(strategies.items()):
            wanted = min(share, count - drawn)
            configs = _new_configs(space, strategy, wanted, known, rngs[way])
            if len(configs) < wanted:
                del strategies[way]  # it has nothing left to draw
            if configs:
                strategy.observe(evaluate(configs, way))
                drawn += len(configs)
    return drawn >= count


def _new_configs(
    space: Space, strategy: Strategy, count: int, known: set[str], rng: np.random.Generator
) -> list[Config]:
    """Up to `count` configs that nobody has drawn so far; they are then known."""
    found: list[Config] = []
    for _ in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        (config,) = strategy.propose(1, rng)
        if config_id(config) not in known and space.contains(config):
            known.add(config_id(config))
            found.append(config)
    return found
