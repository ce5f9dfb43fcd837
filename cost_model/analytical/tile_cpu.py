"""What a register tile costs in XLA:CPU's own tiled matrix product (the LLVM-IR GEMM).

The emitter walks the output in tiles of m rows and n vectors; within one tile it steps through the contracted
dimension, k steps at a time, keeping the m x n accumulators in registers. A step of k loads n vectors of the right-hand
side, broadcasts m values of the left-hand side and does m x n multiply-adds.

Source of the loop structure: openxla, xla/service/cpu/tiled_dot_emitter.cc (TiledSmallGemmEmitter). The port model is
that of a core that does 64 bytes of multiply-adds a cycle: two vectors of 256 bits, or one of 512 (AMD Zen 4). The
constants called fitted were chosen on 219 products of drawn sizes under 25 tiles each, measured on one core of an AMD
EPYC. How well they rank the tiles of other products is in benchmarks/results/tau_vs_analytical.json.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_loops import Loop, MatrixProduct, Sizes, tile_loops
from cost_model.devices import DeviceDescription
from cost_model.errors import GraphError
from cost_model.graph import TileConfigs

_MULTIPLY_ADD_BYTES = 64  # per cycle
_LATENCY = 5  # cycles until an accumulator can be added to again; fitted
_BROADCAST = 0.6  # cycles, fitted: of a value of the left-hand side
_LOAD_PER_BYTE = 3 / 64  # cycles, fitted: the right-hand side comes from the second cache
_SPILL = 2  # cycles per step, fitted: an accumulator without a register is stored and loaded again
_BROADCAST_SPILL = 0.1  # cycles, fitted: a broadcast value without a register
_CYCLES_PER_TILE = 1  # fitted: of the loops around a tile
_UNEVEN = 15  # fitted: LLVM takes vectors apart whose number of elements is no power of two (3 vectors as one)


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
    asked = asked_tiles(configs, element_bytes, device)
    vector_bytes = asked.lanes * max(element_bytes, 4.0)
    cycles = np.zeros(len(configs.config_feat))
    for loop in tile_loops(product, asked.rows, asked.steps, asked.columns, asked.lanes):
        cycles += loop.tiles * _tile_cycles(loop, vector_bytes, device.vector_registers)
    tiled = product.batch * cycles / device.frequency
    operations = 2 * product.batch * product.m * product.k * product.n
    library = operations / device.peak(int(element_bytes))
    return np.where(asked.is_library, library, tiled)


@dataclass(frozen=True, eq=False)
class AskedTiles:
    """What c configs ask for; float64[c] each but the first.

    Attributes:
        is_library: whether they ask for a library's product instead, bool[c]; its tile is 1 x 1 x 1.
        rows: of a tile.
        steps: through the contracted dimension, at once.
        columns: of a tile.
        lanes: elements of a vector.
    """

    is_library: NDArray[np.bool_]
    rows: Sizes
    steps: Sizes
    columns: Sizes
    lanes: Sizes


def asked_tiles(configs: TileConfigs, element_bytes: float, device: DeviceDescription) -> AskedTiles:
    """Reads configs as `cpu_tile_seconds` describes them.

    16-bit operands are widened: they fill as many registers as float32 would.
    """
    values = configs.config_feat.astype(np.float64)
    columns, rows, steps = (
        np.maximum(values[:, place], 1.0)
        for place in (features.OUTPUT_BOUNDS.start, features.OUTPUT_BOUNDS.start + 1, features.INPUT_BOUNDS.start)
    )
    given = values[:, features.CPU_TILE_LANES]
    lanes = np.where(given > 0, given, max(device.lanes * 4.0 / max(element_bytes, 4.0), 1.0))
    return AskedTiles(np.asarray(~values.any(axis=1)), rows, steps, columns, lanes)


def _tile_cycles(loop: Loop, vector_bytes: Sizes, registers: int) -> NDArray[np.float64]:
    """Cycles of one tile of the output."""
    multiply_adds = loop.accumulators * vector_bytes / _MULTIPLY_ADD_BYTES
    loads = loop.vectors * vector_bytes * _LOAD_PER_BYTE + loop.rows * _BROADCAST
    step = np.maximum(np.maximum(multiply_adds, loads), _LATENCY)
    step += _SPILL * loop.accumulators_beyond(registers)
    # The emitter makes all broadcasts of k steps before it uses them.
    step += _BROADCAST_SPILL * np.maximum(loop.rows * loop.steps - registers, 0.0) / loop.steps
    is_uneven = np.log2(loop.columns) % 1 != 0
    # Every accumulator is loaded before and stored after the steps, at two of those per cycle.
    cycles: Sizes = loop.depth * step * np.where(is_uneven, _UNEVEN, 1) + loop.accumulators + _CYCLES_PER_TILE
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
