"""Descriptors of the register tiles of XLA:CPU's own matrix product."""

from __future__ import annotations

from typing import Final

import numpy as np

from cost_model import features
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_cpu import cpu_tile_seconds, matrix_product, vector_lanes
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.devices import DeviceDescription
from cost_model.graph import ProgramGraph, TileConfigs

SUMMARY_COLUMNS: Final = (
    *("is_library", "log_batch", "log_m", "log_k", "log_n", "element_bytes", "log_operations", "log_seconds"),
    *("rows", "steps", "vectors", "log_lanes", "accumulators", "registers", "log_unrolled"),
    *("rows_waste", "columns_waste", "steps_waste", "log_row_tiles", "log_column_tiles", "log_step_tiles"),
)
"""Names of the columns of a tile."""


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
        values = configs.config_feat.astype(np.float64)
        is_library = ~values.any(axis=1)
        lanes = vector_lanes(configs, element_bytes, self._device)
        width = np.maximum(values[:, features.OUTPUT_BOUNDS.start], 1.0)
        rows = np.maximum(values[:, features.OUTPUT_BOUNDS.start + 1], 1.0)
        steps = np.maximum(values[:, features.INPUT_BOUNDS.start], 1.0)
        vectors = np.where(is_library, 1.0, width / lanes)
        seconds = cpu_tile_seconds(self._tensors, configs, self._device)
        total = product.batch * product.m * product.k * product.n
        constant = [np.log2(size) for size in (product.batch, product.m, product.k, product.n)]
        columns = [
            is_library.astype(np.float64),
            *(np.full(len(values), each) for each in (*constant, element_bytes / 4, np.log10(2 * total))),
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
        ]  # fmt: skip
        return without_items(np.stack(columns, axis=1).astype(np.float32))
