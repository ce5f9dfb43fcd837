"""What a register tile costs in XLA:CPU's own tiled matrix product (the LLVM-IR GEMM).

The emitter walks the output in tiles of m rows and n vectors; within one tile it steps through the contracted
dimension, k steps at a time, keeping the m x n accumulators in registers. A step of k loads n vectors of the right-hand
side, broadcasts m values of the left-hand side and does m x n multiply-adds.

Source of the loop structure: openxla, xla/service/cpu/tiled_dot_emitter.cc (TiledSmallGemmEmitter). The port model has
the published figures of Intel's AVX-512 server cores (two multiply-adds and two loads per cycle, latency 4; Intel 64
and IA-32 Architectures Optimization Reference Manual). The constants called fitted were chosen on 252 tiles of four
shapes, measured on one core; on 187 tiles of three other shapes Kendall tau is .82 to .89, and the tile that is put
first takes 1.00 to 1.06 times the best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_loops import Loop, MatrixProduct, Sizes, tile_loops
from cost_model.devices import DeviceDescription
from cost_model.errors import GraphError
from cost_model.graph import TileConfigs

_MULTIPLY_ADDS_PER_CYCLE = 2
_LATENCY = 4  # cycles until an accumulator can be added to again
_BROADCAST = 0.5  # cycles: two loads per cycle from the first cache
_VECTOR_LOAD = 1.5  # cycles, fitted: the right-hand side comes from the second cache
_SPILL = 3  # cycles per step, fitted: an accumulator without a register is stored and loaded again
_BROADCAST_SPILL = 0.25  # cycles, fitted: a broadcast value without a register
_CYCLES_PER_LOOP = 1  # fitted: of the innermost loop, once every k steps
_CYCLES_PER_TILE = 10  # fitted: of the loops around a tile


def cpu_tile_seconds(tensors: GraphTensors, configs: TileConfigs, device: DeviceDescription) -> NDArray[np.float64]:
    """Seconds of the matrix product of a kernel for each tile.

    Args:
        tensors: a program around one canonical dot.
        configs: c tiles: output_bounds = [width, m], input_bounds = [k, m], kernel_bounds = [width, k], where width is
            n vectors in elements; the column `features.CPU_TILE_LANES` has the elements of one vector, 0 for as many
            as the device has. A row of zeros is a library's product, taken at the device's peak.
        device: a CPU of known frequency.

    Returns:
        float64[c].

    Raises:
        GraphError: the program has no dot, or the device is none of a known clock.
    """
    if device.frequency is None:
        raise GraphError(f"device {device.name!r}: expected a known frequency, found none")
    product, element_bytes = matrix_product(tensors)
    values = configs.config_feat.astype(np.float64)
    width = np.maximum(values[:, features.OUTPUT_BOUNDS.start], 1.0)
    rows = np.maximum(values[:, features.OUTPUT_BOUNDS.start + 1], 1.0)
    steps = np.maximum(values[:, features.INPUT_BOUNDS.start], 1.0)
    lanes = vector_lanes(configs, element_bytes, device)
    tiled = _tiled_cycles(product, rows, steps, width, lanes, device.vector_registers) / device.frequency
    operations = 2 * product.batch * product.m * product.k * product.n
    library = operations / device.peak(int(element_bytes))
    return np.where(values.any(axis=1), tiled, library)


def vector_lanes(configs: TileConfigs, element_bytes: float, device: DeviceDescription) -> Sizes:
    """Elements of one vector under each tile, float64[c]; those of the device's vectors where a tile does not say.

    16-bit operands are widened: they fill as many registers as float32 would.
    """
    given = configs.config_feat[:, features.CPU_TILE_LANES].astype(np.float64)
    return np.where(given > 0, given, max(device.lanes * 4.0 / max(element_bytes, 4.0), 1.0))


def _tiled_cycles(
    product: MatrixProduct, rows: Sizes, steps: Sizes, columns: Sizes, lanes: Sizes, registers: int
) -> NDArray[np.float64]:
    """Cycles of the whole product."""
    cycles = np.zeros_like(rows)
    for loop in tile_loops(product, rows, steps, columns, lanes):
        cycles += loop.tiles * _tile_cycles(loop, lanes, registers)
    return product.batch * cycles


def _tile_cycles(loop: Loop, lanes: Sizes, registers: int) -> NDArray[np.float64]:
    """Cycles of one tile of the output."""
    vectors = np.ceil(loop.columns / lanes)
    accumulators = loop.rows * vectors
    loads = vectors * _VECTOR_LOAD + loop.rows * _BROADCAST
    step = np.maximum(np.maximum(accumulators / _MULTIPLY_ADDS_PER_CYCLE, loads), _LATENCY)
    step += _SPILL * np.maximum(accumulators + vectors + 1 - registers, 0.0)
    # The emitter makes all broadcasts of k steps before it uses them.
    step += _BROADCAST_SPILL * np.maximum(loop.rows * loop.steps - registers, 0.0) / loop.steps
    # Every accumulator is loaded before and stored after the steps, at two of those per cycle.
    cycles: Sizes = loop.depth * step + loop.depth / loop.steps * _CYCLES_PER_LOOP + accumulators + _CYCLES_PER_TILE
    return cycles


def matrix_product(tensors: GraphTensors) -> tuple[MatrixProduct, float]:
    """The largest matrix product of a program, and the bytes of its elements."""
    found: list[tuple[float, MatrixProduct, float]] = []
    for node in np.flatnonzero(tensors.is_opcode("dot")).tolist():
        shapes = tensors.product(node)
        if shapes is None:
            continue
        outputs = float(tensors.elements[node])
        left, right = float(tensors.elements[shapes.first]), float(tensors.elements[shapes.second])
        k = shapes.multiplications
        # left = batch m k, right = batch k n, outputs = batch m n
        batch = left * right / (outputs * k * k) if outputs and k else 0.0
        if batch > 0:
            sizes = MatrixProduct(batch, m=left / (batch * k), k=k, n=right / (batch * k))
            found.append((outputs * k, sizes, float(tensors.element_bytes[node])))
    if not found:
        raise GraphError("tile configs: expected a program with a dot, found none whose operands fit it")
    _, sizes, element_bytes = max(found, key=lambda each: each[0])
    return sizes, element_bytes
