"""What a layout config costs beyond the default: copies between orders, and padding.

Two kinds of compilers. XLA:CPU keeps everything row-major but the tensor that was constrained, so each unusual order
costs a copy in and a copy out. XLA:TPU lets neighbours follow, so a copy is needed only where two decisions meet, and
the order decides how much of each hardware tile is filled.

Everything is worked out per distinct order of one tensor, of which there are few, and then looked up for all configs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.memory import complete_order, padded_bytes, physical_order
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.devices import DeviceDescription
from cost_model.graph import LayoutConfigs

# Element-wise instructions pass a layout on unchanged.
_PASS_LAYOUT_ON = (
    "abs", "add", "and", "atan2", "cbrt", "ceil", "clamp", "compare", "complex", "convert", "copy", "cosine",
    "count-leading-zeros", "divide", "exponential", "exponential-minus-one", "floor", "imag", "is-finite", "log",
    "log-plus-one", "logistic", "map", "maximum", "minimum", "multiply", "negate", "not", "or", "popcnt", "power",
    "real", "reduce-precision", "remainder", "round-nearest-afz", "round-nearest-even", "rsqrt", "select",
    "shift-left", "shift-right-arithmetic", "shift-right-logical", "sign", "sine", "sqrt", "stochastic-convert",
    "subtract", "tan", "tanh", "xor", "opt-barrier",
)  # fmt: skip
_UNDECIDED_ID = -1
_COLUMN_BITS = 7


@dataclass(frozen=True)
class _Decisions:
    """What a batch decides about one tensor.

    Attributes:
        node: the node that produces the tensor.
        orders: the distinct full orders in the batch.
        choice: position in `orders` for every config, -1 where the compiler decides; int64[c].
    """

    node: int
    orders: tuple[Order, ...]
    choice: NDArray[np.int64]

    def look_up(self, value: Callable[[Order], float]) -> NDArray[np.float64]:
        """A value of the order for every config, 0 where the compiler decides; float64[c]."""
        table = np.array([*(value(order) for order in self.orders), 0.0])
        return table[self.choice]


def layout_seconds(tensors: GraphTensors, configs: LayoutConfigs, device: DeviceDescription) -> NDArray[np.float64]:
    """Seconds that each config adds to the default (less than 0 where less is padded).

    Args:
        tensors: the program.
        configs: c configs.
        device: what it runs on.

    Returns:
        float64[c]; 0 for a config that leaves everything to the compiler.
    """
    default = tensors.default_order if device.follows_layouts else tensors.row_major
    decisions = [
        _decisions(node, default(node), configs.node_config_feat[:, row, features.LAYOUT_TENSORS[place].entries])
        for row, place, node in tensors.configurable()
    ]
    decided = [each for each in decisions if each.orders]
    result = np.zeros(len(configs))
    if device.follows_layouts:
        for each in decided:
            result += _padding_seconds(tensors, each, device)
        result += _disagreement_seconds(tensors, decided, len(configs), device)
    else:
        for each in decided:
            result += _round_trip_seconds(tensors, each, device)
    return result


def _decisions(node: int, default: Order, columns: NDArray[np.float32]) -> _Decisions:
    """Reads one tensor's columns, float32[c, 6]: partly decided orders are completed from the default."""
    entries = columns.astype(np.int64)
    shifts = _COLUMN_BITS * np.arange(entries.shape[1], dtype=np.int64)
    codes = ((entries - features.UNDECIDED) << shifts).sum(axis=1)
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    orders: dict[Order, int] = {}
    table = np.full(len(distinct), _UNDECIDED_ID, dtype=np.int64)
    for position, (code, example) in enumerate(zip(distinct.tolist(), first.tolist(), strict=True)):
        if code:
            order = complete_order(entries[example].tolist(), default)
            table[position] = orders.setdefault(order, len(orders))
    return _Decisions(node, tuple(orders), table[inverse.reshape(-1)])


# ---- Neighbours stay row-major (XLA:CPU) ----------------------------------------------------------------------------


def _round_trip_seconds(tensors: GraphTensors, decisions: _Decisions, device: DeviceDescription) -> NDArray[np.float64]:
    """A copy in and a copy out, each reading and writing the tensor once, for every order but row-major.

    The orders in the program say nothing here: they are those of the framework that wrote it (a transpose is often
    written as a mere change of order), and XLA:CPU assigns its own.
    """
    dimensions = tensors.dimensions(decisions.node)
    default = physical_order(tensors.row_major(decisions.node), dimensions)
    traffic = 2 * 2 * float(tensors.bytes[decisions.node])

    def seconds(order: Order) -> float:
        physical = physical_order(order, dimensions)
        if physical == default:
            return 0.0
        penalty = device.copy_penalty if physical[0] == default[0] else device.transposition_penalty
        return traffic * penalty / device.memory_bandwidth

    return decisions.look_up(seconds)


# ---- Neighbours follow (XLA:TPU) ------------------------------------------------------------------------------------


def _padding_seconds(tensors: GraphTensors, decisions: _Decisions, device: DeviceDescription) -> NDArray[np.float64]:
    """More bytes to move than in the default order, for one use of the tensor."""
    size = _padded(tensors, decisions.node, device)
    default = size(tensors.default_order(decisions.node))
    return decisions.look_up(lambda order: (size(order) - default) / device.memory_bandwidth)


def _disagreement_seconds(
    tensors: GraphTensors, decided: list[_Decisions], configs: int, device: DeviceDescription
) -> NDArray[np.float64]:
    """Copies where decisions about tensors that would share an order differ."""
    groups = _groups(tensors)
    members: dict[int, list[_Decisions]] = defaultdict(list)
    for each in decided:
        members[int(groups[each.node])].append(each)
    for parameter in np.flatnonzero(tensors.is_opcode("parameter")).tolist():
        if int(groups[parameter]) in members:
            # The layout of an argument is fixed from outside.
            fixed = _Decisions(parameter, (tensors.default_order(parameter),), np.zeros(configs, dtype=np.int64))
            members[int(groups[parameter])].append(fixed)
    result = np.zeros(configs)
    for group in members.values():
        if len(group) > 1:
            result += _group_copy_bytes(tensors, group, configs, device) / device.memory_bandwidth
    return result


def _group_copy_bytes(
    tensors: GraphTensors, group: list[_Decisions], configs: int, device: DeviceDescription
) -> NDArray[np.float64]:
    """Bytes read and written by the copies within one group.

    The undecided tensors of the group take the order of that member from which the least has to be copied; every other
    member with a different order costs one copy: its own padded bytes and those of the common order.

    Returns:
        float64[c].
    """
    ids: dict[Order, int] = {}
    agreed = []
    sizes = []
    for member in group:
        dimensions = tensors.dimensions(member.node)
        numbers = [ids.setdefault(physical_order(order, dimensions), len(ids)) for order in member.orders]
        agreed.append(np.array([*numbers, _UNDECIDED_ID])[member.choice])
        sizes.append(member.look_up(_padded(tensors, member.node, device)))
    order, size = np.stack(agreed), np.stack(sizes)
    best = np.full(configs, np.inf)
    for candidate in range(len(group)):
        differs = (order != order[candidate]) & (order != _UNDECIDED_ID)
        copied = np.where(differs, size + size[candidate], 0.0).sum(axis=0)
        best = np.where(order[candidate] == _UNDECIDED_ID, best, np.minimum(best, copied))
    return np.where(np.isfinite(best), best, 0.0)


def _groups(tensors: GraphTensors) -> NDArray[np.int64]:
    """Tensors that share an order unless decided otherwise: joined by element-wise nodes of the same dimensions.

    Returns:
        The lowest node of each node's group, int64[n].
    """
    feat = tensors.graph.node_feat
    users, producers = tensors.graph.edge_index.T
    columns = [*range(len(feat[0]))[features.SHAPE_DIMENSIONS.entries], features.SHAPE_DIMENSIONS.product]
    same = (feat[users][:, columns] == feat[producers][:, columns]).all(axis=1)
    joined = same & ~tensors.is_call & tensors.is_opcode(*_PASS_LAYOUT_ON)[users]
    users, producers = users[joined], producers[joined]
    labels = np.arange(len(feat), dtype=np.int64)
    while True:
        lowest = labels.copy()
        np.minimum.at(lowest, users, labels[producers])
        np.minimum.at(lowest, producers, labels[users])
        lowest = lowest[lowest]  # a label is a node: following it shortens long chains
        if (lowest == labels).all():
            return labels
        labels = lowest


def _padded(tensors: GraphTensors, node: int, device: DeviceDescription) -> Callable[[Order], float]:
    dimensions, width = tensors.dimensions(node), float(tensors.element_bytes[node])
    return lambda order: padded_bytes(dimensions, order, width, device)
