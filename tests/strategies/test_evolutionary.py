"""Does evolution climb?"""

from __future__ import annotations

import math

import numpy as np

from autotune.evaluation import Evaluation, Measured
from autotune.spaces.base import Config
from autotune.spaces.tile import DotKernel, GemmTileSpace, TileConfig
from autotune.strategies.evolutionary import EvolutionaryStrategy
from autotune.strategies.random import RandomStrategy


def _cost(config: Config) -> float:
    """A smooth valley whose bottom is at (8, 4, 4, 512)."""
    assert isinstance(config, TileConfig)
    best = {"rows": 8, "steps": 4, "vectors": 4, "vector_bits": 512}
    return 0.5 + sum(abs(math.log2(getattr(config, axis) / value)) for axis, value in best.items())


def _best_after(strategy: EvolutionaryStrategy | RandomStrategy, evaluations: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    best = math.inf
    for _ in range(evaluations):
        (config,) = strategy.propose(1, rng)
        best = min(best, _cost(config))
        strategy.observe([Evaluation(config, Measured(_cost(config), 0.0, 1.0, 0.0, 0.0, 4, 24))])
    return best


def test_evolution_beats_random_search_on_a_smooth_valley() -> None:
    space = GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    evolution = [_best_after(EvolutionaryStrategy(space), 60, seed) for seed in range(10)]
    random = [_best_after(RandomStrategy(space), 60, seed) for seed in range(10)]
    assert np.mean(evolution) < np.mean(random)


def test_offspring_of_a_good_parent_are_near_it() -> None:
    space = GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    strategy = EvolutionaryStrategy(space)
    parent = TileConfig("tiled", 8, 4, 4, 512)
    strategy.observe([Evaluation(parent, Measured(0.5, 0.0, 1.0, 0.0, 0.0, 4, 24))])
    proposals = strategy.propose(200, np.random.default_rng(0))
    near = sum(_cost(config) <= 0.5 + 1.5 for config in proposals)
    fresh = [space.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert near > 2 * sum(_cost(config) <= 0.5 + 1.5 for config in fresh)
