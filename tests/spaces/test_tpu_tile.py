"""The tile space of a TPU kernel: the compiler's candidates."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.errors import SpaceError
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import TileCandidate, WindowConfig
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace, tile_features
from protos import hlo_pb2

CANDIDATES = [
    TileCandidate(900, (1, 4), (2, 2), 1000),
    TileCandidate(500, (8, 4), (2, 4), 8000),
    TileCandidate(700, (4, 4), (2, 4), 4000),
    TileCandidate(600, (8, 1), (2, 1), 2000),
]


def kernel(window: WindowConfig | None = None) -> Kernel:
    return Kernel("fusion.1", "fusion", hlo_pb2.HloModuleProto(name="kernel"), window, executions=1)


def space(window: WindowConfig | None = None) -> TpuTileSpace:
    return TpuTileSpace(kernel(window), CANDIDATES)


def test_the_default_stands_for_the_compiler_s_choice() -> None:
    cheapest = space()
    assert [*cheapest.enumerate()] == [
        TpuTileConfig(),
        TpuTileConfig((8, 1), (2, 1)),
        TpuTileConfig((4, 4), (2, 4)),
        TpuTileConfig((1, 4), (2, 2)),
    ]
    assert cheapest.candidate(TpuTileConfig()) == TileCandidate(500, (8, 4), (2, 4))
    chosen = space(WindowConfig(kernel_bounds=(2, 1), output_bounds=(8, 1)))
    assert [config.output_bounds for config in chosen.enumerate()] == [(), (8, 4), (4, 4), (1, 4)]
    assert chosen.candidate(TpuTileConfig()) == TileCandidate(600, (8, 1), (2, 1))
    (said,) = chosen.explain(TpuTileConfig())
    assert (said["chosen_by"], said["output_bounds"], said["estimated_cycles"]) == ("compiler", [8, 1], 600)
    (said,) = chosen.explain(TpuTileConfig((8, 4), (2, 4)))
    assert (said["chosen_by"], said["output_bounds"], said["vmem_bytes"]) == ("tuning", [8, 4], 8000)


def test_a_default_that_the_compiler_does_not_list_for_the_kernel_alone() -> None:
    elsewhere = space(WindowConfig(kernel_bounds=(2, 8), output_bounds=(8, 8)))
    assert elsewhere.size == 5
    assert elsewhere.candidate(TpuTileConfig()) is None
    (said,) = elsewhere.explain(TpuTileConfig())
    assert (said["output_bounds"], said["kernel_bounds"], said["estimated_cycles"]) == ([8, 8], [2, 8], None)
    assert elsewhere.encode([TpuTileConfig()]).config_feat[0, 7] == 16, "product of the kernel bounds"


def test_encoding_by_hand() -> None:
    default, other = space().encode([TpuTileConfig(), TpuTileConfig((1, 4), (2, 2))]).config_feat
    expected = np.zeros(24)
    expected[[0, 1, 6, 7]] = 2, 4, 6, 8  # kernel: entries, sum, product
    expected[[8, 9, 14, 15]] = 8, 4, 12, 32  # output
    assert np.array_equal(default, expected)
    expected[[0, 1, 6, 7, 8, 9, 14, 15]] = 2, 2, 4, 4, 1, 4, 5, 4
    assert np.array_equal(other, expected)


def test_encoding_of_long_and_of_absent_bounds() -> None:
    (row,) = tile_features([TileCandidate(1, (1, 2, 3, 4, 5, 6, 7))]).config_feat
    assert row[8:16].tolist() == [1, 2, 3, 4, 5, 6, 28, 5040], "sum and product are of all seven"
    assert not row[:8].any(), "the product of no bounds is 0 in tile configs"


def test_neighbours_are_similar_tiles() -> None:
    # From (8, 4 | 2, 4) it is 1 doubling to (4, 4 | 2, 4), 4 to each of the others.
    rng = np.random.default_rng(0)
    sizes = [2**place for place in range(12)]
    many = TpuTileSpace(kernel(), [TileCandidate(10 + size, (size,)) for size in sizes])
    moved = {many.mutate(TpuTileConfig((2,)), rng).output_bounds for _ in range(200)}
    assert moved == {(), (4,), (8,), (16,), (32,), (64,), (128,), (256,)}, "8 nearest; the default is (1,)"


def test_a_mixture_is_the_most_similar_tile_of_the_list() -> None:
    rng = np.random.default_rng(0)
    first, second = TpuTileConfig((8, 1), (2, 1)), TpuTileConfig((4, 4), (2, 4))
    children = {space().crossover(first, second, rng) for _ in range(100)}
    assert {first, second, TpuTileConfig()} <= children, "(8, 4 | 2, 4), the default, is one mixture"
    assert space().crossover(first, first, rng) == first


def test_samples_favour_what_the_compiler_finds_cheap() -> None:
    many = TpuTileSpace(kernel(), [TileCandidate(cycles, (cycles,)) for cycles in range(1, 1001)])
    rng = np.random.default_rng(0)
    drawn = np.array([(many.candidate(many.sample(rng)) or CANDIDATES[0]).cycles for _ in range(4000)])
    # With n = 1000**u below 100 for two thirds of the draws: those are below 100, and a tenth or less of the others.
    assert 0.6 < np.mean(drawn <= 100) < 0.85
    assert drawn.max() > 800


def test_only_the_compiler_s_tiles_belong_to_the_space() -> None:
    own = space()
    assert own.from_json({"tile": {"output_bounds": [4, 4], "kernel_bounds": [2, 4]}}) == TpuTileConfig((4, 4), (2, 4))
    for value in ([64, 64], [2, 4]), ([4, 4], []), ([8, 4], [2, 4]):
        foreign = {"tile": {"output_bounds": value[0], "kernel_bounds": value[1]}}
        with pytest.raises(SpaceError, match=r"none of the 4 that the TPU compiler considers for kernel 'fusion.1'"):
            own.from_json(foreign)
    with pytest.raises(SpaceError, match=r"not a tile config of kernel 'fusion.1'"):
        own.encode([TpuTileConfig((64, 64), (2, 4))])


def test_a_kernel_without_tiles_says_so() -> None:
    with pytest.raises(SpaceError, match=r"'fusion.1' \(fusion\) has no choice of tiles"):
        TpuTileSpace(kernel(), [])


def test_a_single_tile_is_no_choice() -> None:
    single = TpuTileSpace(kernel(), CANDIDATES[:1])
    assert single.size == 1
    assert single.mutate(single.default, np.random.default_rng(0)) == single.default
    assert single.explain(single.default) == []
    assert single.landmarks == []
