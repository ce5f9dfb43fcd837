"""What every space must do, run over every implementation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest

from autotune.errors import SpaceError
from autotune.evaluation import Evaluation, Measured
from autotune.hlo.window_config import TileCandidate
from autotune.recorded.kept import recorded_space
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutSpace
from autotune.spaces.tile import DotKernel, GemmTileSpace, TileConfig
from autotune.spaces.tpu_tile import TpuTileSpace
from tests import programs
from tests.spaces.test_tpu_tile import CANDIDATES, kernel

SPACES: dict[str, Callable[[], Space]] = {
    "layout of a program without choice": lambda: LayoutSpace(programs.lookup().proto),
    "layout of two dots": lambda: LayoutSpace(programs.two_dots().proto),
    "layout of two dots on a TPU": lambda: LayoutSpace(programs.two_dots().proto, places=2),
    "tile of a TPU kernel": lambda: TpuTileSpace(
        kernel(), [TileCandidate(3 * i + j, (i, j), (j,)) for i in range(1, 20) for j in range(1, 9)]
    ),
    "tile of a TPU kernel of one tile": lambda: TpuTileSpace(kernel(), CANDIDATES[:1]),
    "tile of a 256 x 256 x 256 product": lambda: GemmTileSpace(DotKernel(256, 256, 256, "f32")),
    "tile of an odd bfloat16 product": lambda: GemmTileSpace(DotKernel(100, 77, 300, "bf16")),
    "recorded layouts": lambda: recorded(LayoutSpace(programs.two_dots().proto), 300),
    "recorded tiles": lambda: recorded(GemmTileSpace(DotKernel(256, 256, 256, "f32")), 40),
    "one recorded layout": lambda: recorded(LayoutSpace(programs.two_dots().proto), 1),
}


def recorded(space: Space, count: int) -> Space:
    """The first configs of a space, as if no others had been evaluated."""
    searched = [Evaluation(config, Measured(1.0, 0.0, 1.0, 0.0, 0.0, 1, 1)) for config in space.enumerate()]
    return recorded_space(space, searched[:count])


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    return SPACES[request.param]()


def _but_for_libraries(config: Config) -> object:
    if isinstance(config, TileConfig):
        return config.rows, config.steps, config.vectors, config.vector_bits
    return config


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_everything_proposed_belongs_to_the_space(space: Space, rng: np.random.Generator) -> None:
    first, second = space.sample(rng), space.default
    for _ in range(300):
        for config in (space.sample(rng), space.mutate(first, rng), space.crossover(first, second, rng)):
            assert space.contains(config), config.to_json()
        first, second = space.mutate(second, rng), space.sample(rng)


def test_the_same_seed_gives_the_same_configs(space: Space) -> None:
    generators = (np.random.default_rng(3), np.random.default_rng(3))
    first, second = ([config_id(space.sample(generator)) for _ in range(20)] for generator in generators)
    assert first == second
    assert len(set(first)) > 5 or space.size == 1


def test_json_round_trip_keeps_the_identity(space: Space, rng: np.random.Generator) -> None:
    for config in (space.default, *space.references.values(), *(space.sample(rng) for _ in range(50))):
        again = space.from_json(json.loads(json.dumps(config.to_json())))
        assert again == config
        assert hash(again) == hash(config)
        assert config_id(again) == config_id(config)


@pytest.mark.parametrize("value", [{}, {"tile": 3}, {"layouts": [{"node": 99999, "tensor": 0, "minor_to_major": [0]}]}])
def test_foreign_json_is_refused(space: Space, value: dict[str, object]) -> None:
    with pytest.raises(SpaceError, match="config"):
        space.from_json(value)


def test_landmarks_are_few_and_belong_to_the_space(space: Space) -> None:
    landmarks = space.landmarks
    assert len(landmarks) <= 8
    assert len({config_id(config) for config in landmarks}) == len(landmarks)
    assert all(space.contains(config) for config in landmarks)
    assert space.default not in landmarks


def test_default_and_references_belong_to_the_space(space: Space) -> None:
    assert space.contains(space.default)
    assert all(space.contains(config) for config in space.references.values())


def test_mutation_leaves_its_argument_alone_and_moves(space: Space, rng: np.random.Generator) -> None:
    config = space.sample(rng)
    before = config_id(config)
    moved = {config_id(space.mutate(config, rng)) for _ in range(30)}
    assert config_id(config) == before
    assert len(moved - {before}) >= min(2, space.size - 1)


def test_enumeration_is_lazy_without_repetition_and_starts_at_the_default(space: Space) -> None:
    head = list(itertools.islice(space.enumerate(), 200))
    assert head[0] == space.default
    assert len({config_id(config) for config in head}) == len(head) == min(200, space.size)


def test_encoding_has_a_row_per_config_and_tells_configs_apart(space: Space) -> None:
    head = list(itertools.islice(space.enumerate(), 60))
    together = space.encode(head)
    assert len(together) == len(head)
    arrays = [np.concatenate([np.ravel(a) for a in vars(space.encode([config])).values()]) for config in head]
    # In the tile space libraries share the all-zero row; every other config has a row of its own.
    assert len({array.tobytes() for array in arrays}) == len({_but_for_libraries(config) for config in head})
    assert len(space.encode([])) == 0


def test_factors_have_a_row_per_config_and_are_zero_for_the_default(space: Space, rng: np.random.Generator) -> None:
    configs = [space.default, *(space.sample(rng) for _ in range(20))]
    if space.factors is None:
        return
    factors, decisions = space.factors.of(configs), space.factors.decisions
    assert all(space.contains(decision) for decision in decisions)
    assert space.factors.of(configs, np.full(len(decisions), 1e9)) == pytest.approx(factors)
    assert factors.shape[0] == len(configs)
    assert not factors[0].any()
    assert factors.any() or space.size == 1
    assert np.array_equal(space.factors.of(configs[::-1]), factors[::-1])


def test_explanation_names_every_decision(space: Space, rng: np.random.Generator) -> None:
    config = space.sample(rng)
    explained = space.explain(config)
    assert bool(explained) is (space.size > 1)
    assert json.loads(json.dumps(explained)) == explained
