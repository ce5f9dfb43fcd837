"""Descriptors of TPU tiles: the loop that a tile makes, and what each part of it would take by itself.

Nothing here tells one dimension from another: tiles that make the same loop along different dimensions cost the same,
and have the same columns.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model.analytical.roofline import operations
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_tpu import VECTOR_TILE, TileTerms, kernel_interface, tpu_tile_terms
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.devices import DeviceDescription
from cost_model.graph import ProgramGraph, TileConfigs

_SHORTEST: Final = 1e-9
"""Seconds, and shares of seconds: a kernel that computes or moves nothing is not divided by zero."""

_VECTOR_SECONDS: Final = 1e-9

SUMMARY_COLUMNS: Final = (
    *("is_convolution", "is_dot", "has_reduce", "element_bytes", "rank", "operands", "instructions"),
    *("log_ideal", "log_intensity", "log_output_elements"),
    *("log_output_iterations", "log_own_iterations", "log_iterations", "log_kernel_tiles", "log_kernel_loads"),
    *("log_transfer", "log_own_transfer", "log_first_transfer", "log_compute", "log_padded_compute"),
    *("log_first_compute", "log_bound", "log_kernel_transfer", "log_kernel_tile", "log_loaded_kernel"),
    *("log_kept_kernel", "log_whole_kernel", "log_output_transfer", "log_output", "log_other_transfer", "log_other"),
    *("log_vectors", "log_output_vectors"),
)
"""Names of the columns of a tile. From `log_output_iterations` on they are logarithms of seconds, as shares of what the
kernel takes without any loss: of the transfers that so many iterations start, of data that they move, of operations."""


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
        self._operands = len(inputs + outputs)
        self._moved = float(self._tensors.bytes[inputs + outputs].sum())

    def describe(self, configs: TileConfigs) -> Descriptors:
        """The columns of a batch of tiles, `SUMMARY_COLUMNS`; a tile has no items."""
        device = self._device
        terms = tpu_tile_terms(self._tensors, configs, device)
        bandwidth, start = device.memory_bandwidth, device.transfer_overhead
        ideal_compute = max(operations(self._tensors).sum() / device.peak_bfloat16, _SHORTEST)
        ideal_transfer = max(self._moved / bandwidth, _SHORTEST)
        ideal = max(ideal_compute, ideal_transfer)
        output_tile = terms.output.tiles(terms.output_bounds).prod(axis=1)
        kernel_tile, kernel_tiles = np.zeros(len(configs)), np.ones(len(configs))
        if terms.kernel is not None:
            kernel_tile = terms.kernel.tiles(terms.kernel_bounds).prod(axis=1) * terms.kernel.element_bytes / bandwidth
            kernel_tiles = terms.kernel.iterations(terms.kernel_bounds).prod(axis=1)
        every, of_output = terms.iterations, terms.output_iterations
        own = of_output * _own_steps(terms)
        # A kernel of one tile stays; one of several is loaded anew in each iteration, or while it has no steps once.
        loads = np.where(kernel_tiles > 1, every, 1.0)
        fewer_loads = np.where(every > of_output, every, kernel_tiles)
        output_bytes = output_tile * terms.output.element_bytes / bandwidth
        other = np.maximum(terms.transfer - kernel_tile, 0.0)
        vectors = np.ceil(output_tile / VECTOR_TILE) * _VECTOR_SECONDS
        seconds = [
            *(count * start for count in (of_output, own, every, kernel_tiles, loads)),
            *(every * terms.transfer, own * terms.transfer, terms.transfer),
            *(every * terms.compute, every * terms.padded_compute, terms.compute),
            every * np.maximum(terms.padded_compute, terms.transfer),
            *(every * kernel_tile, kernel_tile, loads * kernel_tile, fewer_loads * kernel_tile),
            *(kernel_tiles * kernel_tile, every * output_bytes, of_output * output_bytes),
            *(every * other, of_output * other, every * vectors, of_output * vectors),
        ]
        opcodes = (("convolution",), ("dot",), ("reduce", "reduce-window"))
        facts = [
            *(float(self._tensors.is_opcode(*names).any()) for names in opcodes),
            *(terms.output.element_bytes / 4, len(terms.output.sizes) / 4),
            *(self._operands / 4, len(self._tensors.graph) / 50),
            *(np.log10(ideal / terms.overhead), np.log10(ideal_compute / ideal_transfer)),
        ]
        columns = [
            *(np.full(len(configs), fact) for fact in facts),
            np.log2(output_tile),
            *(np.log(np.maximum(each / ideal, _SHORTEST)) for each in seconds),
        ]
        return without_items(np.stack(columns, axis=1).astype(np.float32))


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
