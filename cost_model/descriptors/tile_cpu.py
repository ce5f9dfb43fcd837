"""Descriptors of the register tiles of XLA:CPU's own matrix product."""

from __future__ import annotations

from typing import Final

import numpy as np

from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_cpu import AskedTiles, asked_tiles, cpu_tile_seconds, matrix_product
from cost_model.analytical.tile_loops import MatrixProduct, Sizes, tile_loops
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.devices import DeviceDescription
from cost_model.graph import ProgramGraph, TileConfigs

SUMMARY_COLUMNS: Final = (
    *("is_library", "log_batch", "log_m", "log_k", "log_n", "element_bytes", "log_operations", "log_seconds"),
    *("rows", "steps", "vectors", "log_lanes", "accumulators", "registers", "log_unrolled"),
    *("rows_waste", "columns_waste", "steps_waste", "log_row_tiles", "log_column_tiles", "log_step_tiles"),
    *("log_multiply_adds", "log_loads", "log_broadcasts", "log_loops", "log_accumulators", "log_dependent"),
    *("log_tiles", "log_bytes", "log_lines", "log_single", "log_spills", "log_broadcast_spills"),
)
"""Names of the columns of a tile. Those of the last two lines count what all loops of the product do, per multiply-add
of the widest vectors: multiply-adds, loads of vectors and of single elements, turns of the innermost loop, loads and
stores of accumulators; multiply-adds one after the other where there are too few to overlap; tiles; bytes and cache
lines of the right-hand side; multiply-adds of single columns; and values for which there is no register."""

_WIDEST_BYTES: Final = 64
_LINE_BYTES: Final = 64
_FIRST_CACHE: Final = 32 * 1024
"""Bytes, of server cores of Intel and AMD."""
_OVERLAPPING: Final = 8
"""Independent multiply-adds that hide each other's latency: two a cycle, of four cycles each."""
_LEAST_COUNT: Final = 1e-4


class CpuTileDescriber:
    """Describes tiles of one program around one dot.

    Args:
        graph: the program.
        device: a CPU of known clock.
    """

    def __init__(self, graph: ProgramGraph, device: DeviceDescription) -> None:
        self._tensors = GraphTensors(graph)
        self._device = device

    def describe(self, configs: TileConfigs) -> Descriptors:
        """The columns of a batch of tiles, `SUMMARY_COLUMNS`; a tile has no items."""
        product, element_bytes = matrix_product(self._tensors)
        asked = asked_tiles(configs, element_bytes, self._device)
        is_library, rows, steps, width, lanes = asked.is_library, asked.rows, asked.steps, asked.columns, asked.lanes
        vectors = np.where(is_library, 1.0, width / lanes)
        seconds = cpu_tile_seconds(self._tensors, configs, self._device)
        total = product.batch * product.m * product.k * product.n
        constant = [np.log2(size) for size in (product.batch, product.m, product.k, product.n)]
        columns = [
            is_library.astype(np.float64),
            *(np.full(len(rows), each) for each in (*constant, element_bytes / 4, np.log10(2 * total))),
            np.log10(seconds),
            np.log2(rows),
            np.log2(steps),
            np.log2(vectors),
            np.log2(lanes),
            np.log2(rows * vectors),
            (rows * vectors + vectors + 1) / self._device.vector_registers,
            np.log2(rows * vectors * steps),
            *(np.ceil(size / tile) * tile / size - 1 for size, tile in
              ((product.m, rows), (product.n, width), (product.k, steps))),
            *(np.log2(np.ceil(size / tile)) for size, tile in
              ((product.m, rows), (product.n, width), (product.k, steps))),
            *(np.where(is_library, 0.0, each) for each in self._work(product, asked, max(element_bytes, 4.0))),
        ]  # fmt: skip
        return without_items(np.stack(columns, axis=1).astype(np.float32))

    def _work(self, product: MatrixProduct, asked: AskedTiles, element_bytes: float) -> list[Sizes]:
        """What all loops of a product do, the last lines of `SUMMARY_COLUMNS`."""
        registers = self._device.vector_registers
        counts = np.zeros((12, len(asked.rows)))
        for loop in tile_loops(product, asked.rows, asked.steps, asked.columns, asked.lanes):
            passes = loop.tiles * loop.depth
            accumulators = loop.accumulators
            row_bytes = loop.columns * element_bytes
            # Lines of a column of tiles that leaves the first cache before the next one reads their other half.
            is_read_again = loop.depth * np.maximum(row_bytes, _LINE_BYTES) > _FIRST_CACHE
            lines = np.where(is_read_again, np.ceil(row_bytes / _LINE_BYTES), row_bytes / _LINE_BYTES)
            counts += [
                passes * accumulators,
                passes * loop.vectors,
                passes * loop.rows,
                passes / loop.steps,
                loop.tiles * accumulators,
                passes * np.maximum(accumulators, _OVERLAPPING),
                loop.tiles,
                passes * row_bytes,
                passes * lines,
                np.where(loop.columns == 1, passes * loop.rows, 0.0),
                passes * loop.accumulators_beyond(registers),
                passes / loop.steps * np.maximum(loop.rows * loop.steps + accumulators - registers, 0.0),
            ]
        counts /= product.m * product.k * product.n / max(_WIDEST_BYTES / element_bytes, 1.0)
        return [*np.log2(np.maximum(counts[:9], _LEAST_COUNT)), *np.log2(1 + 8 * counts[9:])]
