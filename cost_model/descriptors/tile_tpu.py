"""Descriptors of TPU tiles: the loop that a tile makes, relative to the kernel and in units of hardware tiles.

Dimensions stand in physical order, the minor-most first: what a tile does to the two dimensions that memory is tiled
along carries over from one kernel to another, whatever their number in the program.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.roofline import operations
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_tpu import TiledTensor, TileTerms, tpu_tile_terms
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.devices import DeviceDescription
from cost_model.graph import ProgramGraph, TileConfigs

_DIMENSIONS: Final = 4
"""Minor-most dimensions that have columns of their own; all others count together in the last."""

_OF_DIMENSION: Final = ("log_units", "log_iterations", "share", "waste")

SUMMARY_COLUMNS: Final = (
    *("is_convolution", "is_dot", "has_reduce", "element_bytes", "rank", "log_operations", "log_bytes"),
    *("log_iterations", "log_compute", "log_transfer", "log_intensity", "overhead_share", "log_seconds"),
    *("log_output_elements", "log_kernel_elements", "is_one_tile", "has_kernel_bounds", "log_input_elements"),
    *(f"output_{place}_{name}" for place in range(_DIMENSIONS) for name in _OF_DIMENSION),
    *(f"kernel_{place}_{name}" for place in range(_DIMENSIONS) for name in _OF_DIMENSION),
)
"""Names of the columns of a tile."""


class TpuTileDescriber:
    """Describes tiles of one kernel for one device.

    Args:
        graph: the kernel.
        device: a TPU.
    """

    def __init__(self, graph: ProgramGraph, device: DeviceDescription) -> None:
        self._tensors = GraphTensors(graph)
        self._device = device

    def describe(self, configs: TileConfigs) -> Descriptors:
        """The columns of a batch of tiles, `SUMMARY_COLUMNS`; a tile has no items."""
        terms = tpu_tile_terms(self._tensors, configs, self._device)
        output_tile = terms.output.tiles(terms.output_bounds).prod(axis=1)
        kernel_tile = np.ones(len(configs))
        if terms.kernel is not None:
            kernel_tile = terms.kernel.tiles(terms.kernel_bounds).prod(axis=1)
        per_iteration = np.maximum(terms.compute, terms.transfer) + terms.overhead
        inputs = configs.config_feat[:, features.INPUT_BOUNDS.entries].astype(np.float64)
        columns = [
            *self._kernel_columns(terms, len(configs)),
            np.log2(terms.iterations),
            _log10(terms.compute),
            _log10(terms.transfer),
            _log10(terms.compute) - _log10(terms.transfer),
            terms.overhead / per_iteration,
            _log10(terms.seconds),
            np.log2(output_tile),
            np.log2(kernel_tile),
            (terms.iterations <= 1).astype(np.float64),
            (terms.kernel_bounds > 0).any(axis=1).astype(np.float64),
            np.log2(np.where(inputs > 0, inputs, 1).prod(axis=1)),
            *_dimension_columns(terms.output, terms.output_bounds),
            *_dimension_columns(terms.kernel, terms.kernel_bounds),
        ]
        return without_items(np.stack(columns, axis=1).astype(np.float32))

    def _kernel_columns(self, terms: TileTerms, count: int) -> list[NDArray[np.float64]]:
        tensors = self._tensors
        kinds = [
            float(tensors.is_opcode(*names).any())
            for names in (("convolution",), ("dot",), ("reduce", "reduce-window"))
        ]
        facts = [
            *kinds,
            terms.output.element_bytes / 4,
            len(terms.output.sizes) / 4,
            float(_log10(operations(tensors).sum())),
            float(_log10(tensors.bytes.max())),
        ]
        return [np.full(count, fact) for fact in facts]


def _dimension_columns(tensor: TiledTensor | None, bounds: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """What a tile does along each dimension, the minor-most first; the last place stands for all that are left."""
    result = [np.zeros(len(bounds)) for _ in range(_DIMENSIONS * len(_OF_DIMENSION))]
    if tensor is None:
        return result
    tiles, iterations = tensor.tiles(bounds), tensor.iterations(bounds)
    padded = np.ceil(tensor.sizes / tensor.units) * tensor.units
    for place, dimension in enumerate(reversed(range(len(tensor.sizes)))):
        start = min(place, _DIMENSIONS - 1) * len(_OF_DIMENSION)
        result[start] = result[start] + np.log2(tiles[:, dimension] / tensor.units[dimension])
        result[start + 1] = result[start + 1] + np.log2(iterations[:, dimension])
        result[start + 2] = result[start + 2] + np.log2(tiles[:, dimension] / padded[dimension])
        result[start + 3] = result[start + 3] + (iterations[:, dimension] * tiles[:, dimension] / padded[dimension] - 1)
    return result


def _log10(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log10(np.maximum(values, 1e-12)))
