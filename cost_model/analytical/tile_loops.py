"""The loops of XLA:CPU's own tiled matrix product: what is left over at the edges is done in smaller tiles.

Columns are walked in tiles of n vectors, then of n - 1, ... 1 vectors, of half a vector, a quarter, ... down to four
elements, and last one by one; within each, what is left of k, and then of m, has a loop of its own. So a product whose
extents no tile divides has up to a few dozen loops, and a few single columns can cost more than all the others.

Source: openxla, xla/service/cpu/tiled_dot_emitter.cc (TiledSmallGemmEmitter) and dot_op_emitter.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEAST_VECTOR: Final = 4.0
"""Elements of the smallest vector; narrower columns are single ones."""

Sizes = NDArray[np.float64]


@dataclass(frozen=True)
class MatrixProduct:
    """Extents of a product [batch] x m x k by k x n.

    Attributes:
        batch: how many products.
        m: rows of the left-hand side.
        k: contracted.
        n: columns of the right-hand side.
    """

    batch: float
    m: float
    k: float
    n: float


@dataclass(frozen=True, eq=False)
class Loop:
    """One of the loops over tiles of the output, for c configs; float64[c] each.

    Attributes:
        tiles: of the output that it works on, of one product; 0 where a config has no such loop.
        rows: of a tile.
        columns: of a tile.
        depth: of the contracted dimension that it goes through.
        steps: of these at once.
        vectors: that hold the columns of a row.
    """

    tiles: Sizes
    rows: Sizes
    columns: Sizes
    depth: Sizes
    steps: Sizes
    vectors: Sizes

    @property
    def accumulators(self) -> Sizes:
        """Vectors of a tile."""
        return self.rows * self.vectors

    def accumulators_beyond(self, registers: int) -> Sizes:
        """Those that have no register beside a row of the right-hand side and one value of the left-hand side."""
        return np.maximum(self.accumulators + self.vectors + 1 - registers, 0.0)


def tile_loops(product: MatrixProduct, rows: Sizes, steps: Sizes, columns: Sizes, lanes: Sizes) -> Iterator[Loop]:
    """The loops of one product. Together they do every multiply-add once.

    Args:
        product: its extents.
        rows: of the tiles asked for, float64[c]; all at least 1.
        steps: likewise.
        columns: likewise; a multiple of `lanes`.
        lanes: elements of a vector, a power of two.
    """
    whole_depth = product.k - product.k % steps
    whole_rows = product.m - product.m % rows
    parts = (
        (whole_depth, steps, whole_rows / rows, rows),
        (whole_depth, steps, *_rest(product.m - whole_rows)),
        (product.k - whole_depth, product.k - whole_depth, whole_rows / rows, rows),
        (product.k - whole_depth, product.k - whole_depth, *_rest(product.m - whole_rows)),
    )
    for across, width in _column_tiles(product.n, columns, lanes):
        vectors = np.ceil(width / lanes)
        for depth, step, down, height in parts:
            tiles = np.where(depth > 0, across * down, 0.0)
            yield Loop(tiles, height, width, depth, np.maximum(step, 1.0), vectors)


def _rest(rows: Sizes) -> tuple[Sizes, Sizes]:
    """One tile of what is left, if anything is."""
    return (rows > 0).astype(np.float64), np.maximum(rows, 1.0)


def _column_tiles(columns: float, widest: Sizes, lanes: Sizes) -> Iterator[tuple[Sizes, Sizes]]:
    """How many tiles of each width there are, and the width."""
    done = np.zeros_like(widest)
    width = widest.copy()
    while (width >= _LEAST_VECTOR).any():
        end = np.where(width >= _LEAST_VECTOR, columns - columns % width, done)
        end = np.maximum(end, done)
        yield (end - done) / width, width
        done = end
        width = np.where(width > lanes, width - lanes, width / 2)
    yield columns - done, np.ones_like(width)
