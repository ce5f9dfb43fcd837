"""What a tile costs in a TPU kernel: the scratchpad is filled tile by tile while the previous tile is computed.

Bounds are given per dimension in physical order, the major-most first; the two minor-most count hardware tiles (8 x 128
elements, 1,024 of a vector) instead of elements. This is how the published configs read: for an output
[32, 12, 12, 384] in the order {3, 0, 2, 1}, [12, 4, 4, 3] stands for 12 x 4 x (4 * 8) x (3 * 128).

Against runtimes measured on TPU v3 (eight kernels of TpuGraphs with 2 to 579 tiles, which also gave the one fitted
figure, `transfer_overhead`): Kendall tau .62 to 1.00, .84 in the mean. Counting iterations has the same mean; on the
kernel with 579 tiles it has .80 and this .86.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.roles import Role, dimension_roles
from cost_model.analytical.roofline import operations
from cost_model.analytical.tensors import GraphTensors
from cost_model.devices import DeviceDescription
from cost_model.graph import TileConfigs

VECTOR_TILE = 1024
"""Elements of a hardware tile of a vector, 8 x 128: as many as the vector unit takes at once."""

_MATRIX_UNIT = 128
"""Features in and out that a matrix unit takes at once (256 on v6e and later)."""


@dataclass(frozen=True)
class TiledTensor:
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
        tiles: NDArray[np.float64] = np.where(given > 0, np.minimum(given * self.units, padded), padded)
        return tiles

    def iterations(self, bounds: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many tiles there are along every dimension, float64[c, rank]."""
        counts: NDArray[np.float64] = np.ceil(self.sizes / self.tiles(bounds))
        return counts


@dataclass(frozen=True)
class TileTerms:
    """What a kernel does under each of c tiles.

    Attributes:
        output_iterations: tiles of the output, float64[c].
        iterations: the same times steps of the kernel, float64[c].
        compute: seconds of arithmetic in one iteration, float64[c].
        padded_compute: the same if the matrix unit is filled up to 128 features in and out, float64[c].
        transfer: seconds to move the operands of one iteration, float64[c].
        overhead: seconds to start the transfers of one iteration.
        output: what the output bounds are of.
        output_bounds: units along its dimensions, float64[c, 6].
        kernel: what the kernel bounds are of (the second operand of a convolution or dot); None without any.
        kernel_bounds: float64[c, 6].
        summed: for every dimension of the kernel whether it is summed over, so that it makes steps.
    """

    output_iterations: NDArray[np.float64]
    iterations: NDArray[np.float64]
    compute: NDArray[np.float64]
    padded_compute: NDArray[np.float64]
    transfer: NDArray[np.float64]
    overhead: float
    output: TiledTensor
    output_bounds: NDArray[np.float64]
    kernel: TiledTensor | None
    kernel_bounds: NDArray[np.float64]
    summed: tuple[bool, ...]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """What all iterations take, and the transfer before the first and after the last, which nothing hides."""
        return self.iterations * (np.maximum(self.compute, self.transfer) + self.overhead) + self.transfer


def tpu_tile_terms(tensors: GraphTensors, configs: TileConfigs, device: DeviceDescription) -> TileTerms:
    """Take a kernel apart under each tile.

    Args:
        tensors: a program that is one kernel.
        configs: c tiles; a row of zeros is one tile that holds everything.
        device: a TPU.
    """
    values = configs.config_feat.astype(np.float64)
    output_bounds = values[:, features.OUTPUT_BOUNDS.entries]
    kernel_bounds = values[:, features.KERNEL_BOUNDS.entries]
    inputs, outputs = kernel_interface(tensors)
    product = _main_product(tensors, outputs)
    kernel: TiledTensor | None = None
    summed: tuple[bool, ...] = ()
    if product is not None:
        node = product
        shapes = tensors.product(node)
        if shapes is not None:
            kernel = _tensor(tensors, shapes.second, device)
            summed = _summed(tensors, node, kernel)
        costs = _product_costs(tensors, node, inputs, output_bounds, kernel_bounds, device)
    else:
        node = _looped(tensors, outputs)
        costs = _loop_costs(tensors, node, inputs + outputs, output_bounds, device)
    output = _tensor(tensors, node, device)
    return TileTerms(
        output.iterations(output_bounds).prod(axis=1),
        costs.iterations,
        costs.operations / device.peak_bfloat16,
        costs.padded_operations / device.peak_bfloat16,
        costs.transfer / device.memory_bandwidth,
        device.transfer_overhead * len(inputs + outputs),
        output,
        output_bounds,
        kernel,
        kernel_bounds,
        summed,
    )


def tpu_tile_seconds(tensors: GraphTensors, configs: TileConfigs, device: DeviceDescription) -> NDArray[np.float64]:
    """Seconds of a kernel for each tile; arguments as for `tpu_tile_terms`, float64[c]."""
    return tpu_tile_terms(tensors, configs, device).seconds


def kernel_interface(tensors: GraphTensors) -> tuple[list[int], list[int]]:
    """The nodes that a kernel reads from memory and those that it writes: of the entry, which is the last computation.

    Returns:
        Inputs and outputs.
    """
    roots = np.flatnonzero(tensors.graph.node_feat[:, features.IS_ROOT])
    root = int(roots[-1]) if roots.size else len(tensors.graph) - 1
    inputs = tensors.operands(root)
    result = next(iter(tensors.called(root)), root)
    if tensors.graph.node_opcode[result] == features.OPCODE_IDS["tuple"]:
        return inputs, tensors.operands(result)
    return inputs, [result]


def _main_product(tensors: GraphTensors, outputs: list[int]) -> int | None:
    """The convolution or dot that the loop is made for; None without any.

    The largest of those that make what the kernel writes; if there are none, the largest.
    """
    products = np.flatnonzero(tensors.is_opcode(*features.PRODUCT_OPCODES))
    if not products.size:
        return None
    written = {tensors.dimensions(node) for node in outputs}
    writes = np.array([tensors.dimensions(int(node)) in written for node in products])
    chosen = products[writes] if writes.any() else products
    return int(chosen[np.argmax(operations(tensors)[chosen])])


def _looped(tensors: GraphTensors, outputs: list[int]) -> int:
    """The tensor that a kernel without a product goes through: the largest.

    Of equally large ones, what the kernel writes (so that a copy is walked in the order in which it is written), or
    what it reduces.
    """
    reduced = [
        tensors.operands(int(node))[0]
        for node in np.flatnonzero(tensors.is_opcode("reduce", "reduce-window"))
        if tensors.operands(int(node))
    ]
    candidates = [*outputs, *reduced, len(tensors.elements) - 1 - int(np.argmax(tensors.elements[::-1]))]
    return max(candidates, key=lambda node: float(tensors.elements[node]))  # the first of equal ones


class _Costs(NamedTuple):
    """Iterations, and of one of them: operations, operations of full matrix units, bytes moved. Each float64[c]."""

    iterations: NDArray[np.float64]
    operations: NDArray[np.float64]
    padded_operations: NDArray[np.float64]
    transfer: NDArray[np.float64]


def _product_costs(
    tensors: GraphTensors,
    node: int,
    inputs: list[int],
    output_bounds: NDArray[np.float64],
    kernel_bounds: NDArray[np.float64],
    device: DeviceDescription,
) -> _Costs:
    """A convolution or dot: the output tile stays while the tiles of the kernel pass."""
    shapes = tensors.product(node)
    output = _tensor(tensors, node, device)
    output_tile = output.tiles(output_bounds)
    iterations = output.iterations(output_bounds).prod(axis=1)
    output_elements = output_tile.prod(axis=1)
    if shapes is None:
        return _Costs(iterations, 2 * output_elements, 2 * output_elements, output_elements * output.element_bytes)
    kernel = _tensor(tensors, shapes.second, device)
    kernel_tile = kernel.tiles(kernel_bounds)
    # Dimensions of the kernel that are summed over multiply the iterations; its others are also the output's.
    roles = dimension_roles(tensors, node, 2)
    summed = np.array(_summed(tensors, node, kernel), bool)
    depth_tile = kernel_tile[:, summed].prod(axis=1)
    steps = kernel.iterations(kernel_bounds)[:, summed].prod(axis=1)
    source = _tensor(tensors, shapes.first, device)
    # The part of the input under one tile, in proportion to the work, but never more than all of the input.
    work = output.sizes.prod() * shapes.multiplications
    share = np.minimum(output_elements * depth_tile / work, 1.0)
    source_elements = np.minimum(source.sizes.prod(), share * work / _reuse(kernel_tile, summed))
    # Further inputs of the output's dimensions come tile by tile with it.
    operands = (shapes.first, shapes.second)
    beside = [each for each in inputs if tensors.dimensions(each) == tensors.dimensions(node)]
    ours = sum(tensors.dimensions(each) == tensors.dimensions(node) for each in operands)
    along = sum(sorted(float(tensors.element_bytes[each]) for each in beside)[: max(len(beside) - ours, 0)])
    transfer = (
        output_elements * (output.element_bytes + along) / steps
        + kernel_tile.prod(axis=1) * kernel.element_bytes
        + source_elements * source.element_bytes
    )
    contracted = np.array([roles[dimension] is Role.CONTRACTED for dimension in kernel.logical], bool)
    output_roles = dimension_roles(tensors, node, 0)
    kept = np.array([output_roles[dimension] is Role.KEPT for dimension in output.logical], bool)
    if tensors.graph.node_opcode[node] == features.OPCODE_IDS["dot"]:
        # Both operands keep dimensions of the output; those of the second stand last.
        first = len(output.logical) - sum(roles[dimension] is Role.KEPT for dimension in kernel.logical)
        kept &= np.array([dimension >= first for dimension in output.logical], bool)
    padded = 2 * output_elements * depth_tile
    for tensor, tile, chosen in ((kernel, kernel_tile, contracted), (output, output_tile, kept)):
        real = np.minimum(tile[:, chosen], tensor.sizes[chosen]).prod(axis=1)
        padded = padded * np.ceil(real / _MATRIX_UNIT) * _MATRIX_UNIT / np.maximum(tile[:, chosen].prod(axis=1), 1.0)
    return _Costs(iterations * steps, 2 * output_elements * depth_tile, padded, transfer)


def _summed(tensors: GraphTensors, node: int, kernel: TiledTensor) -> tuple[bool, ...]:
    """Whether each dimension of the kernel, in physical order, is summed over."""
    roles = dimension_roles(tensors, node, 2)
    return tuple(roles[dimension] in (Role.CONTRACTED, Role.SPATIAL) for dimension in kernel.logical)


def _reuse(kernel_tile: NDArray[np.float64], summed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often an element of the input is used within a tile: once per output feature, float64[c]."""
    reuse: NDArray[np.float64] = np.maximum(kernel_tile[:, ~summed].prod(axis=1), 1.0)
    return reuse


def _loop_costs(
    tensors: GraphTensors,
    node: int,
    moved: list[int],
    output_bounds: NDArray[np.float64],
    device: DeviceDescription,
) -> _Costs:
    """A loop over one large tensor: every instruction is done, and all of the tensors moved, in shares of the tile."""
    tensor = _tensor(tensors, node, device)
    share = tensor.tiles(output_bounds).prod(axis=1) / max(tensor.sizes.prod(), 1.0)
    iterations = tensor.iterations(output_bounds).prod(axis=1)
    done = operations(tensors).sum() * share
    return _Costs(iterations, done, done, tensors.bytes[moved].sum() * share)


def _tensor(tensors: GraphTensors, node: int, device: DeviceDescription) -> TiledTensor:
    dimensions = tensors.dimensions(node)
    logical = tuple(reversed(tensors.default_order(node)))
    sizes = np.array([dimensions[dimension] for dimension in logical], dtype=np.float64)
    units = np.ones(len(sizes))
    if len(sizes) == 1:
        units[0] = VECTOR_TILE
    elif len(sizes) > 1:
        units[-2:] = device.sublanes, device.lanes
    return TiledTensor(sizes, units, logical, float(tensors.element_bytes[node]))
