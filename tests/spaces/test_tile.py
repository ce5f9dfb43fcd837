"""The tile space of XLA:CPU's tiled matrix product."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.spaces.tile import DotKernel, GemmTileSpace, TileConfig, find_dot_kernel, tile_stays_in_bounds
from tests import programs


def test_the_kernel_of_a_product() -> None:
    assert find_dot_kernel(programs.product(100, 300, 77).proto) == DotKernel(100, 300, 77, "f32")
    assert find_dot_kernel(programs.product(64, 32, 16, True).proto) == DotKernel(64, 32, 16, "f32")


def test_programs_without_a_tile_choice_say_why() -> None:
    assert "2 dots" in str(find_dot_kernel(programs.two_dots().proto))
    assert "0 dots" in str(find_dot_kernel(programs.lookup().proto))
    assert "matrix-vector" in str(find_dot_kernel(programs.product(64, 32, 1).proto))


@pytest.mark.parametrize(
    ("columns", "vectors", "lanes", "inside"),
    [
        (256, 4, 8, True),  # 8 tiles of 32 columns, nothing left
        (256, 3, 8, True),  # 10 tiles of 24 end at 240, one of 16 at 256
        (77, 1, 8, True),  # 9 x 8, then 4, then 1
        (77, 4, 8, False),
        (24, 3, 8, True),
    ],
)
def test_tiles_that_write_out_of_bounds(columns: int, vectors: int, lanes: int, inside: bool) -> None:
    """Walked by hand: widths lanes*vectors, lanes*(vectors-1), ..., lanes, lanes/2, ...; each end must be reachable.

    77 columns, 4 vectors of 8: 64 by 32s; then 24s end at 72, 8 columns after 64, no multiple of 24: out of bounds.
    """
    assert tile_stays_in_bounds(columns, vectors, lanes) is inside


def test_encoding_by_hand() -> None:
    space = GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    library, tile = space.encode([TileConfig("eigen"), TileConfig("tiled", 8, 4, 2, 512)]).config_feat
    assert (library == 0).all()
    # n = 2 vectors of 512 / 32 = 16 lanes: 32 columns; kernel [n, k, lanes], output [n, m], input [k, m];
    # sum and product
    expected = np.zeros(24)
    expected[[0, 1, 2, 6, 7]] = 32, 4, 16, 52, 2048
    expected[[8, 9, 14, 15]] = 32, 8, 40, 256
    expected[[16, 17, 22, 23]] = 4, 8, 12, 32
    assert np.array_equal(tile, expected)


def test_constraints() -> None:
    space = GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    assert space.contains(TileConfig("tiled", 8, 4, 4, 256))
    assert not space.contains(TileConfig("tiled", 16, 32, 1, 256)), "512 > 192 would take the compiler minutes"
    assert not space.contains(TileConfig("tiled", 5, 4, 4, 256)), "not a row count of the space"
    assert not space.contains(TileConfig("eigen", 8, 4, 4, 256))
    assert all(
        tile_stays_in_bounds(77, config.vectors, config.vector_bits // 32)
        for config in GemmTileSpace(DotKernel(100, 300, 77, "f32")).enumerate()
        if config.implementation == "tiled"
    )
