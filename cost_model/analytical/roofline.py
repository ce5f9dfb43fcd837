"""The part of the cost that no config changes: every instruction takes its arithmetic or its traffic, the longer one.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52 (2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.memory import padded_bytes
from cost_model.analytical.tensors import GraphTensors
from cost_model.devices import DeviceDescription

# Nothing is moved or computed; what calls a computation is counted there.
_FREE = (
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "reshape", "after-all", "add-dependency",
    "domain", "opt-barrier", "iota", "partition-id", "replica-id", "call", "while", "conditional", "get-dimension-size",
    "copy-done", "send-done", "recv-done", "all-reduce-done", "all-gather-done", "collective-permute-done",
    "async-update", "async-done",
)  # fmt: skip
# These read only as much of an operand as they give out.
_READ_A_PART = ("slice", "dynamic-slice", "gather")
# These change a part of their largest operand in place.
_WRITE_A_PART = ("dynamic-update-slice", "scatter")


def moves_nothing(tensors: GraphTensors) -> NDArray[np.bool_]:
    """Which instructions neither move nor compute anything, bool[n]."""
    return tensors.is_opcode(*_FREE)


def base_seconds(tensors: GraphTensors, device: DeviceDescription) -> float:
    """Seconds for one run of a program, whatever its config.

    Bodies of loops count once, because the number of turns is not in the graph.

    Args:
        tensors: the program.
        device: what it runs on.

    Returns:
        Sum of `node_seconds`.
    """
    return float(node_seconds(tensors, device).sum())


def node_seconds(tensors: GraphTensors, device: DeviceDescription) -> NDArray[np.float64]:
    """Seconds for one run of every instruction, float64[n].

    Args:
        tensors: the program.
        device: what it runs on.

    Returns:
        The larger of operations / peak and bytes / bandwidth. An instruction within a fusion has no traffic of its own,
        a fusion no operations: its cost is the sum over both. 0 for what moves and computes nothing.
    """
    counted = ~moves_nothing(tensors)
    peaks = np.array([device.peak(int(size)) for size in range(17)])
    peak = peaks[np.minimum(tensors.element_bytes, 16).astype(np.int64)]
    compute = operations(tensors) / peak
    transfer = np.where(tensors.inside_fusions(), 0.0, traffic(tensors, device)) / device.memory_bandwidth
    return np.where(counted, np.maximum(compute, transfer), 0.0)


def operations(tensors: GraphTensors) -> NDArray[np.float64]:
    """Floating point operations of every node, float64[n].

    Two for every multiply-add of a convolution or dot; of all other instructions one for every element of the output
    or, in reductions, of the largest operand. A fusion has none of its own, and parameters and the like have none.
    """
    result = tensors.elements.copy()
    reductions = tensors.is_opcode("reduce", "reduce-window", "select-and-scatter")
    result[reductions] = np.maximum(result, _largest_operand(tensors, tensors.elements))[reductions]
    result[tensors.is_opcode("fusion", *_FREE)] = 0.0
    for node in np.flatnonzero(tensors.is_opcode(*features.PRODUCT_OPCODES)).tolist():
        product = tensors.product(node)
        if product is not None:
            result[node] *= 2.0 * product.multiplications
    return result


def traffic(tensors: GraphTensors, device: DeviceDescription) -> NDArray[np.float64]:
    """Bytes that every node reads and writes, float64[n]."""
    size = tensors.bytes
    if device.sublanes > 1:
        size = np.array(
            [
                padded_bytes(tensors.dimensions(node), tensors.default_order(node), width, device) if amount else 0.0
                for node, (amount, width) in enumerate(zip(size, tensors.element_bytes, strict=True))
            ]
        )
    users, producers = tensors.graph.edge_index[~tensors.is_call].T
    read = np.bincount(users, weights=size[producers], minlength=len(size))
    result = read + size
    partly_read = tensors.is_opcode(*_READ_A_PART)
    result[partly_read] = 2 * size[partly_read]
    partly_written = tensors.is_opcode(*_WRITE_A_PART)
    result[partly_written] = 2 * (read - _largest_operand(tensors, size))[partly_written]
    return result


def _largest_operand(tensors: GraphTensors, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest amount among the operands of every node, 0 without operands, float64[n]."""
    result = np.zeros_like(amounts)
    users, producers = tensors.graph.edge_index[~tensors.is_call].T
    np.maximum.at(result, users, amounts[producers])
    return result
