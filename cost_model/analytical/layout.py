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
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.memory import complete_order, padded_bytes, physical_order
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.devices import DeviceDescription
from cost_model.graph import LayoutConfigs

# Element-wise instructions pass a layout on unchanged.
PASS_LAYOUT_ON = (
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
class TensorDecisions:
    """What a batch of configs decides about one tensor.

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


class LayoutCosts:
    """What layout configs of one graph cost on one device; keeps what does not depend on the configs.

    Args:
        tensors: the program.
        device: what it runs on.

    Attributes:
        groups: tensors that share an order unless decided otherwise: the lowest node of each node's group, int64[n].
    """

    def __init__(self, tensors: GraphTensors, device: DeviceDescription) -> None:
        self._tensors = tensors
        self._device = device
        self._configurable = list(tensors.configurable())
        self.groups = _groups(tensors)
        self._parameter_of_group: dict[int, int] = {}
        for node in np.flatnonzero(tensors.is_opcode("parameter")).tolist():
            self._parameter_of_group.setdefault(int(self.groups[node]), node)

    def seconds(self, configs: LayoutConfigs) -> NDArray[np.float64]:
        """Seconds that each config adds to the default (below 0 where it pads less).

        Args:
            configs: c configs.

        Returns:
            float64[c]; 0 for a config that leaves everything to the compiler.
        """
        default = self._tensors.default_order if self._device.follows_layouts else self._tensors.row_major
        decisions = (decide(node, default(node), configs, row, place) for row, place, node in self._configurable)
        decided = [each for each in decisions if each.orders]
        result = np.zeros(len(configs))
        for each in decided:
            result += self._padding(each) if self._device.follows_layouts else self._round_trip(each)
        if self._device.follows_layouts:
            result += self._disagreement(decided, len(configs))
        return result

    # ---- Neighbours stay row-major (XLA:CPU) ------------------------------------------------------------------------

    def _round_trip(self, decisions: TensorDecisions) -> NDArray[np.float64]:
        """A copy in and a copy out, each reading and writing the tensor once, for every order but row-major.

        The orders in the program say nothing here: they are those of the framework that wrote it (a transpose is often
        written as a mere change of order), and XLA:CPU assigns its own.
        """
        dimensions = self._tensors.dimensions(decisions.node)
        default = physical_order(self._tensors.row_major(decisions.node), dimensions)
        traffic = 2 * 2 * float(self._tensors.bytes[decisions.node])

        def seconds(order: Order) -> float:
            physical = physical_order(order, dimensions)
            if physical == default:
                return 0.0
            kept = physical[0] == default[0]
            penalty = self._device.copy_penalty if kept else self._device.transposition_penalty
            return traffic * penalty / self._device.memory_bandwidth

        return decisions.look_up(seconds)

    # ---- Neighbours follow (XLA:TPU) --------------------------------------------------------------------------------

    def _padding(self, decisions: TensorDecisions) -> NDArray[np.float64]:
        """More bytes to move than in the default order, for one use of the tensor."""
        default = self._size(decisions.node, self._tensors.default_order(decisions.node))
        return decisions.look_up(
            lambda order: (self._size(decisions.node, order) - default) / self._device.memory_bandwidth
        )

    def _disagreement(self, decided: list[TensorDecisions], configs: int) -> NDArray[np.float64]:
        """Copies where decisions about tensors that would share an order differ."""
        members: dict[int, list[TensorDecisions]] = defaultdict(list)
        for each in decided:
            members[int(self.groups[each.node])].append(each)
        result = np.zeros(configs)
        for label, group in members.items():
            parameter = self._parameter_of_group.get(label)
            if parameter is not None:
                # The layout of an argument is fixed from outside.
                order = self._tensors.default_order(parameter)
                group.append(TensorDecisions(parameter, (order,), np.zeros(configs, dtype=np.int64)))
            if len(group) > 1:
                result += self._copied_bytes(label, group, configs) / self._device.memory_bandwidth
        return result

    def _copied_bytes(self, label: int, group: list[TensorDecisions], configs: int) -> NDArray[np.float64]:
        """Bytes read and written by the copies within one group.

        The undecided tensors of a group take the order of those members from which the least has to be copied; every
        other member with a different order costs one copy: its own padded bytes and those of the common order.

        Args:
            label: the node that stands for the group.
            group: what is decided about its members.
            configs: c.

        Returns:
            float64[c].
        """
        dimensions = self._tensors.dimensions(label)
        ids: dict[Order, int] = {}
        table = [[ids.setdefault(physical_order(o, dimensions), len(ids)) for o in each.orders] for each in group]
        count = np.zeros((len(ids), configs))
        size = np.zeros((len(ids), configs))
        every = np.arange(configs)
        for member, numbers in zip(group, table, strict=True):
            decided = every[member.choice != _UNDECIDED_ID]
            order = np.array(numbers)[member.choice[decided]]
            count[order, decided] += 1
            size[order, decided] += member.look_up(partial(self._size, member.node))[decided]
        total_count, total_size = count.sum(axis=0), size.sum(axis=0)
        best = np.full(configs, np.inf)
        for order, number in ids.items():
            full = order + tuple(d for d in range(len(dimensions)) if d not in order)
            common = self._size(label, full)
            copied = total_size - size[number] + (total_count - count[number]) * common
            best = np.where(count[number] > 0, np.minimum(best, copied), best)
        return np.where(np.isfinite(best), best, 0.0)

    def _size(self, node: int, order: Order) -> float:
        """Padded bytes of a node's output in an order."""
        width = float(self._tensors.element_bytes[node])
        return padded_bytes(self._tensors.dimensions(node), order, width, self._device)


def decide(node: int, default: Order, configs: LayoutConfigs, row: int, place: int) -> TensorDecisions:
    """Reads what a batch says about one tensor; partly decided orders are completed from the default.

    Args:
        node: that produces the tensor.
        default: its order where nothing is decided.
        configs: the batch.
        row: of the configurable node in it.
        place: 0 for its output, 1 and 2 for its inputs.
    """
    entries = configs.node_config_feat[:, row, features.LAYOUT_TENSORS[place].entries].astype(np.int64)
    shifts = _COLUMN_BITS * np.arange(entries.shape[1], dtype=np.int64)
    codes = ((entries - features.UNDECIDED) << shifts).sum(axis=1)
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    orders: dict[Order, int] = {}
    table = np.full(len(distinct), _UNDECIDED_ID, dtype=np.int64)
    for position, (code, example) in enumerate(zip(distinct.tolist(), first.tolist(), strict=True)):
        if code:
            order = complete_order(entries[example].tolist(), default)
            table[position] = orders.setdefault(order, len(orders))
    return TensorDecisions(node, tuple(orders), table[inverse.reshape(-1)])


def _groups(tensors: GraphTensors) -> NDArray[np.int64]:
    """Tensors that share an order unless decided otherwise: joined by element-wise nodes of the same dimensions.

    Returns:
        The lowest node of each node's group, int64[n].
    """
    feat = tensors.graph.node_feat
    users, producers = tensors.graph.edge_index.T
    columns = [*range(len(feat[0]))[features.SHAPE_DIMENSIONS.entries], features.SHAPE_DIMENSIONS.product]
    same = (feat[users][:, columns] == feat[producers][:, columns]).all(axis=1)
    joined = same & ~tensors.is_call & tensors.is_opcode(*PASS_LAYOUT_ON)[users]
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
