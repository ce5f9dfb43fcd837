"""What a tile costs in a TPU kernel: the scratchpad is filled tile by tile while the previous tile is computed.

Bounds are given per dimension in physical order, the major-most first; the two minor-most count hardware tiles (8 x 128
elements, 1,024 of a vector) instead of elements. This is how the published configs read: for an output [32, 12, 12, 384]
in the order {3, 0, 2, 1}, the compiler's own bounds [12, 4, 4, 3] are 12 x 12 x (4 * 8) x (3 * 128).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.roofline import operations
from cost_model.analytical.tensors import GraphTensors
from cost_model.devices import DeviceDescription
from cost_model.graph import TileConfigs

_VECTOR_TILE = 1024
_MATRIX_UNIT = 128  # rows and columns of the matrix unit, TPU v2 to v5p; of v6e and TPU7x 256


@dataclass(frozen=True)
class _Tensor:
    """One tensor in physical order.

    Attributes:
        sizes: elements per dimension, the major-most first, float64[rank].
        units: elements per unit of a bound, float64[rank].
        logical: the dimension of the program at each place.
        element_bytes: bytes of an element.
    """

    sizes: NDArray[np.float64]
    units: NDArray[np.float64]
    logical: tuple[int, ...]
    element_bytes: float

    def tiles(self, bounds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Elements of a tile along every dimension; absent bounds (0) take all of it. float64[c, rank]."""
        given = bounds[:, : len(self.sizes)]
        padded = np.ceil(self.sizes / self.units) * self.units
        return np.where(given > 0, np.minimum(given * self.units, padded), padded)

    def iterations(self, bounds: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many tiles there are along every dimension, float64[c, rank]."""
        return np.ceil(self.sizes / self.tiles(bounds))


def tpu_tile_seconds(tensors: GraphTensors, configs: TileConfigs, device: DeviceDescription) -> NDArray[np.float64]:
    """Seconds of a kernel for each tile.

    Args:
        tensors: a program that is one kernel.
        configs: c tiles; a row of zeros is one tile that holds everything.
        device: a TPU.

    Returns:
        float64[c]: the number of iterations, times the larger of compute and transfer in one of them plus its
        overhead, plus the transfer before the first and after the last, which nothing hides.
    """
    values = configs.config_feat.astype(np.float64)
    output_bounds = values[:, features.OUTPUT_BOUNDS.entries]
    kernel_bounds = values[:, features.KERNEL_BOUNDS.entries]
    products = np.flatnonzero(tensors.is_opcode("convolution", "dot"))
    if products.size:
        node = int(products[np.argmax(operations(tensors)[products])])
        iterations, compute, transfer = _product_costs(tensors, node, output_bounds, kernel_bounds, device)
    else:
        iterations, compute, transfer = _loop_costs(tensors, output_bounds, device)
    compute, transfer = compute / device.peak_bfloat16, transfer / device.memory_bandwidth
    return iterations * (np.maximum(compute, transfer) + device.iteration_overhead) + transfer


Costs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Iterations; operations and bytes of one iteration. Each float64[c]."""


def _product_costs(
    tensors: GraphTensors,
    node: int,
    output_bounds: NDArray[np.float64],
    kernel_bounds: NDArray[np.float64],
    device: DeviceDescription,
) -> Costs:
    """A convolution or dot: the output tile stays while the tiles of the kernel pass."""
    shapes = tensors.product(node)
    output = _tensor(tensors, node, device)
    output_tile = output.tiles(output_bounds)
    iterations = output.iterations(output_bounds).prod(axis=1)
    output_elements = output_tile.prod(axis=1)
    if shapes is None:
        return iterations, 2 * output_elements, output_elements * output.element_bytes
    kernel = _tensor(tensors, shapes.second, device)
    kernel_tile = kernel.tiles(kernel_bounds)
    # Dimensions of the kernel that are summed over multiply the iterations; its output features are the output's.
    summed = np.array([dimension != _output_feature(tensors, node, shapes.second) for dimension in kernel.logical])
    depth_tile = kernel_tile[:, summed].prod(axis=1)
    steps = kernel.iterations(kernel_bounds)[:, summed].prod(axis=1)
    source = _tensor(tensors, shapes.first, device)
    # The part of the input under one tile, in proportion to the work, but never more than all of the input.
    work = output.sizes.prod() * shapes.multiplications
    share = np.minimum(output_elements * depth_tile / work, 1.0)
    source_elements = np.minimum(source.sizes.prod(), share * work / _reuse(kernel_tile, summed))
    transfer = (
        output_elements * output.element_bytes / steps
        + kernel_tile.prod(axis=1) * kernel.element_bytes
        + source_elements * source.element_bytes
    )
    return iterations * steps, 2 * output_elements * depth_tile, transfer


def _reuse(kernel_tile: NDArray[np.float64], summed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often an element of the input is used within a tile: once per output feature, float64[c]."""
    return np.maximum(kernel_tile[:, ~summed].prod(axis=1), 1.0)


def _output_feature(tensors: GraphTensors, node: int, kernel: int) -> int:
    """The dimension of the kernel that is a dimension of the output; the last one for a dot."""
    if tensors.graph.node_opcode[node] == features.OPCODE_IDS["convolution"]:
        return int(tensors.graph.node_feat[node, features.KERNEL_OUTPUT_FEATURE])
    return len(tensors.dimensions(kernel)) - 1


def _loop_costs(tensors: GraphTensors, output_bounds: NDArray[np.float64], device: DeviceDescription) -> Costs:
    """A loop over one large tensor: every instruction of that size is done once per element."""
    node = int(np.argmax(tensors.elements))
    tensor = _tensor(tensors, node, device)
    tile = tensor.tiles(output_bounds).prod(axis=1)
    iterations = tensor.iterations(output_bounds).prod(axis=1)
    moved = tensors.bytes[tensors.is_opcode("parameter") & ~tensors.inside_fusions()].sum()
    roots = tensors.graph.node_feat[:, features.IS_ROOT] > 0
    moved += tensors.bytes[np.flatnonzero(roots)[-1]]
    share = tile / math.prod(tensor.sizes.tolist())
    return iterations, operations(tensors).sum() * share, moved * share


def _tensor(tensors: GraphTensors, node: int, device: DeviceDescription) -> _Tensor:
    dimensions = tensors.dimensions(node)
    logical = tuple(reversed(tensors.default_order(node)))
    sizes = np.array([dimensions[dimension] for dimension in logical], dtype=np.float64)
    units = np.ones(len(sizes))
    if len(sizes) == 1:
        units[0] = _VECTOR_TILE
    elif len(sizes) > 1:
        units[-2:] = device.sublanes, device.lanes
    return _Tensor(sizes, units, logical, float(tensors.element_bytes[node]))
