"""The loops of the tiled matrix product, against the emitter's walk in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_model.analytical.tile_loops import MatrixProduct, tile_loops

EXTENTS = st.integers(1, 300)
TILES = st.tuples(
    st.sampled_from([1, 2, 3, 6, 11]), st.sampled_from([1, 4, 9]), st.integers(1, 4), st.sampled_from([8, 16])
)


def _loops(m: int, k: int, n: int, tiles: list[tuple[int, int, int, int]]) -> list[Counter[tuple[float, ...]]]:
    """For every config how many tiles there are of each kind: rows, columns, depth, steps."""
    rows, steps, vectors, lanes = np.array(tiles, dtype=np.float64).T
    found: list[Counter[tuple[float, ...]]] = [Counter() for _ in tiles]
    for loop in tile_loops(MatrixProduct(1, m, k, n), rows, steps, vectors * lanes, lanes):
        for config, count in enumerate(loop.tiles):
            if count:
                kind = (loop.rows[config], loop.columns[config], loop.depth[config], loop.steps[config])
                found[config][kind] += count
    return found


@given(EXTENTS, EXTENTS, EXTENTS, st.lists(TILES, min_size=1, max_size=4))
def test_they_do_every_multiply_add_once(m: int, k: int, n: int, tiles: list[tuple[int, int, int, int]]) -> None:
    for found in _loops(m, k, n, tiles):
        done = sum(count * rows * columns * depth for (rows, columns, depth, _), count in found.items())
        assert done == pytest.approx(m * k * n)


def test_the_edges_of_a_product() -> None:
    """13 rows in tiles of 6; 10 deep in steps of 4; 45 columns in tiles of 2 vectors of 8, then 8, 4 and one by one."""
    (found,) = _loops(13, 10, 45, [(6, 4, 2, 8)])
    across = {16: 2, 8: 1, 4: 1, 1: 1}
    down = {6: 2, 1: 1}
    deep = {8: 4, 2: 2}
    assert found == {
        (rows, columns, depth, steps): count * number
        for columns, count in across.items()
        for rows, number in down.items()
        for depth, steps in deep.items()
    }
