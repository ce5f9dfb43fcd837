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
from cost_model.analytical.tile_tpu import TiledTensor, TileTerms, kernel_interface, tpu_tile_terms
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.devices import DeviceDescription
from cost_model.graph import ProgramGraph, TileConfigs

_DIMENSIONS: Final = 4
"""Minor-most dimensions that have columns of their own; all others count together in the last."""

_SHORTEST: Final = 1e-9
"""Seconds; a kernel that computes or moves nothing is not divided by zero."""

_OF_DIMENSION: Final = ("log_units", "log_iterations", "share", "waste")

SUMMARY_COLUMNS: Final = (
    *("is_convolution", "is_dot", "has_reduce", "element_bytes", "rank", "log_ideal", "log_kernel_intensity"),
    *("log_output_iterations", "log_own_iterations", "log_iterations", "log_own_seconds"),
    *("log_seconds", "log_padded_seconds", "log_padded_compute", "log_transfer"),
    *("log_intensity", "overhead_share", "log_iteration_compute", "log_iteration_transfer"),
    *("log_output_elements", "log_kernel_elements", "is_one_tile", "has_kernel_bounds", "log_input_elements"),
    *(f"output_{place}_{name}" for place in range(_DIMENSIONS) for name in _OF_DIMENSION),
    *(f"kernel_{place}_{name}" for place in range(_DIMENSIONS) for name in _OF_DIMENSION),
)
"""Names of the columns of a tile. Seconds are shares of what the kernel takes without any loss, those of one iteration
shares of what it takes to start its transfers."""


class TpuTileDescriber:
    """Describes tiles of one kernel for one device.

    Args:
        graph: the kernel.
        device: a TPU.
    """

    def __init__(self, graph: ProgramGraph, device: DeviceDescription) -> None:
        self._tensors = GraphTensors(graph)
        self._device = device
        inputs, outputs = kernel_interface(self._tensors)
        self._moved = float(self._tensors.bytes[inputs + outputs].sum())

    def describe(self, configs: TileConfigs) -> Descriptors:
        """The columns of a batch of tiles, `SUMMARY_COLUMNS`; a tile has no items."""
        terms = tpu_tile_terms(self._tensors, configs, self._device)
        output_tile = terms.output.tiles(terms.output_bounds).prod(axis=1)
        kernel_tile = np.ones(len(configs))
        if terms.kernel is not None:
            kernel_tile = terms.kernel.tiles(terms.kernel_bounds).prod(axis=1)
        per_iteration = np.maximum(terms.padded_compute, terms.transfer) + terms.overhead
        inputs = configs.config_feat[:, features.INPUT_BOUNDS.entries].astype(np.float64)
        ideal_compute = max(operations(self._tensors).sum() / self._device.peak_bfloat16, _SHORTEST)
        ideal_transfer = max(self._moved / self._device.memory_bandwidth, _SHORTEST)
        ideal = max(ideal_compute, ideal_transfer)
        own_iterations = terms.output_iterations * _own_steps(terms)
        padded_seconds = terms.iterations * per_iteration + terms.transfer
        columns = [
            *self._kernel_columns(terms, len(configs), ideal, ideal_compute / ideal_transfer),
            np.log2(terms.output_iterations),
            np.log2(own_iterations),
            np.log2(terms.iterations),
            _log10((own_iterations * per_iteration + terms.transfer) / ideal),
            _log10(terms.seconds / ideal),
            _log10(padded_seconds / ideal),
            _log10(terms.iterations * terms.padded_compute / ideal_compute),
            _log10(terms.iterations * terms.transfer / ideal_transfer),
            _log10(terms.padded_compute) - _log10(terms.transfer),
            terms.overhead / per_iteration,
            _log10(terms.padded_compute / terms.overhead),
            _log10(terms.transfer / terms.overhead),
            np.log2(output_tile),
            np.log2(kernel_tile),
            (terms.iterations <= 1).astype(np.float64),
            (terms.kernel_bounds > 0).any(axis=1).astype(np.float64),
            np.log2(np.where(inputs > 0, inputs, 1).prod(axis=1)),
            *_dimension_columns(terms.output, terms.output_bounds),
            *_dimension_columns(terms.kernel, terms.kernel_bounds),
        ]
        return without_items(np.stack(columns, axis=1).astype(np.float32))

    def _kernel_columns(
        self, terms: TileTerms, count: int, ideal: float, intensity: float
    ) -> list[NDArray[np.float64]]:
        opcodes = (("convolution",), ("dot",), ("reduce", "reduce-window"))
        kinds = [float(self._tensors.is_opcode(*names).any()) for names in opcodes]
        sizes = [terms.output.element_bytes / 4, len(terms.output.sizes) / 4]
        facts = [*kinds, *sizes, np.log10(ideal / terms.overhead), np.log10(intensity)]
        return [np.full(count, fact) for fact in facts]


def _own_steps(terms: TileTerms) -> NDArray[np.float64]:
    """Steps along dimensions of the kernel that no dimension of the output walks along with, float64[c].

    A batch dimension of a dot that was written as a convolution is a dimension of the window and of the output: of one
    size, with one bound.
    """
    steps = np.ones(len(terms.iterations))
    if terms.kernel is None:
        return steps
    counts = terms.kernel.iterations(terms.kernel_bounds)
    for place, summed in enumerate(terms.summed):
        if summed:
            size = terms.kernel.sizes[place]
            bound = terms.kernel_bounds[:, place]
            together = [terms.output_bounds[:, other] == bound for other in np.flatnonzero(terms.output.sizes == size)]
            tied = np.any(together, axis=0) if together else np.zeros(len(steps), bool)
            steps = steps * np.where(tied, 1.0, counts[:, place])
    return steps


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
