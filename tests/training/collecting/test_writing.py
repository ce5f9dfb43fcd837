"""Tiles of XLA:CPU as a file: libraries have no tile, and runtimes are divided by that of XLA's own tile."""

from __future__ import annotations

import pytest

from autotune.evaluation import Estimated, Evaluation
from autotune.hlo.tuning_data import tile_configs_from_tuning
from autotune.spaces.base import Config
from autotune.spaces.tile import EMITTER_DEFAULT, TILED, GemmTileSpace, TileConfig, find_dot_kernel
from protos import tuning_pb2
from tests import programs
from training.collecting.rows import Drawn, merge
from training.collecting.writing import arrays_of, proto_of
from training.errors import TrainingError

PROGRAM = programs.product(64, 64, 64)
TILE = TileConfig(TILED, 8, 4, 2, 512)


def _space() -> GemmTileSpace:
    kernel = find_dot_kernel(PROGRAM.proto)
    assert not isinstance(kernel, str)
    return GemmTileSpace(kernel)


def _drawn(*costs: tuple[Config, float]) -> list[Drawn]:
    return [Drawn(Evaluation(config, Estimated(cost, 100.0)), "random") for config, cost in costs]


def test_libraries_are_left_out_and_the_default_is_the_first_tile() -> None:
    space = _space()
    drawn = _drawn((space.default, 100.0), (TileConfig("eigen"), 90.0), (EMITTER_DEFAULT, 80.0), (TILE, 40.0))
    arrays, kept = arrays_of(PROGRAM.proto, space, merge(drawn))
    assert [row.config for row in kept] == [EMITTER_DEFAULT, TILE]
    assert arrays.runtimes is not None
    assert arrays.normalizers is not None
    assert (arrays.runtimes.tolist(), arrays.normalizers.tolist()) == ([80, 40], [80, 80])
    data = tuning_pb2.ModuleTuningData.FromString(proto_of(PROGRAM.proto, PROGRAM.fingerprint, space, drawn))
    runs = tile_configs_from_tuning(data)
    assert (runs.runtimes.tolist(), runs.normalizers.tolist()) == ([80, 40], [80, 80])
    assert data.fingerprint == int(PROGRAM.fingerprint[:16], 16)


def test_without_a_default_tile_there_is_nothing_to_divide_by() -> None:
    with pytest.raises(TrainingError, match="none of the tiles evaluated is a default"):
        arrays_of(PROGRAM.proto, _space(), merge(_drawn((TILE, 40.0))))
