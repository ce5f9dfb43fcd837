"""Descriptors of layouts: each decided tensor beside the layout that the compiler would have given it.

What lets a ranking carry over to programs of another family is that nothing here says which program it is: sizes are
shares of the program's traffic, orders are compared with the default and with those of neighbours, and dimensions go by
their role (batch, kept, contracted, spatial) instead of their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.decisions import TensorDecisions
from cost_model.analytical.layout_cpu import RoundTrips
from cost_model.analytical.layout_tpu import FollowedLayouts
from cost_model.analytical.memory import padded_bytes, physical_order
from cost_model.analytical.orders import permuted
from cost_model.analytical.regions import PASS_LAYOUT_ON, Joint, LayoutRegions, Side
from cost_model.analytical.roles import Role, dimension_roles
from cost_model.analytical.roofline import base_seconds, operations, traffic
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.descriptors.base import Descriptors
from cost_model.devices import DeviceDescription
from cost_model.features import OPCODE_IDS
from cost_model.graph import LayoutConfigs, ProgramGraph

_CLASSES: Final = {
    "argument": ("parameter", "constant", "iota", "get-tuple-element"),
    "product": features.PRODUCT_OPCODES,
    "reduction": ("reduce", "reduce-window", "select-and-scatter", "sort"),
    "movement": (
        *("transpose", "reshape", "broadcast", "bitcast", "slice", "dynamic-slice", "dynamic-update-slice", "pad"),
        *("concatenate", "reverse", "gather", "scatter"),
    ),
    "elementwise": PASS_LAYOUT_ON,
}
"""Kinds of instructions that a forced layout parts from the node: what would have been fused, or folded into it."""

_OPCODES: Final = tuple(OPCODE_IDS[name] for name in features.CONFIGURABLE_OPCODES)
_PLACES: Final = 3
_MINOR: Final = 2  # dimensions that decide how memory is padded and read

ITEM_COLUMNS: Final = (
    *(f"{opcode}_{place}" for opcode in features.CONFIGURABLE_OPCODES for place in ("output", "first", "second")),
    *(f"asked_{place}_{role.name.lower()}" for place in ("minor", "second_minor") for role in Role),
    *(f"default_{place}_{role.name.lower()}" for place in ("minor", "second_minor") for role in Role),
    *(
        "rank",
        "changed",
        "minor_changed",
        "second_minor_changed",
        "log_padding",
        "log_asked_bytes",
        "log_default_bytes",
    ),
    *("log_copy_share", "copy_share", "log_operations_share", "log_traffic_share"),
    *("asked_minor_size", "asked_second_minor_size", "default_minor_size", "default_second_minor_size"),
    *("element_bytes", "region_size", "region_has_parameter", "refused", "spread_share", "log_spread_share"),
    *(f"producer_is_{kind}" for kind in _CLASSES),
    *(f"consumed_by_{kind}" for kind in _CLASSES),
    *("neighbour_agrees", "neighbour_disagrees", "last_of_region"),
)
"""Names of the columns of an item. Shares, sizes and numbers of bytes are scaled to be about one."""

SUMMARY_COLUMNS: Final = (
    *("log_analytical_share", "analytical_share", "analytical_sign"),
    *("decided_share", "changed_share", "log_decided", "log_changed", "log_copy_share"),
)
"""Names of the columns of a config as a whole."""

_NEIGHBOUR_BITS: Final = np.array([1, 2, 4])
_NEIGHBOUR_CODES: Final = 8
"""Of the last three columns, which depend on the orders of neighbours."""

_CHANGED: Final = ITEM_COLUMNS.index("changed")
_COPY_SHARE: Final = ITEM_COLUMNS.index("copy_share")
_SMALLEST_SHARE: Final = 1e-6


@dataclass(frozen=True)
class _Tensor:
    """A configurable tensor.

    Attributes:
        joint: where it meets regions; none of them if it is a vector.
        position: of that, in the order of the program.
        roles: of its dimensions.
    """

    joint: Joint
    position: int
    roles: tuple[Role, ...]

    @property
    def side(self) -> Side | None:
        """The region that is laid out like it, if there is one."""
        return next((side for side in self.joint.sides if side.reshape is None), None)

    def in_region(self, order: Order) -> Order:
        """An order in the axes of that region, without those of size 1."""
        assert self.side is not None
        return permuted(physical_order(order, self.joint.dimensions), self.side.axes)


class LayoutDescriber:
    """Describes layout configs of one graph for one device; keeps what does not depend on the configs.

    Args:
        graph: the program; its `minor_to_major` columns are the layouts that the compiler assigns by default.
        device: what it runs on.
    """

    def __init__(self, graph: ProgramGraph, device: DeviceDescription) -> None:
        tensors = GraphTensors(graph)
        self._device = device
        self._tensors = tensors
        self._costs = FollowedLayouts(tensors, device) if device.follows_layouts else RoundTrips(tensors, device)
        self._base = base_seconds(tensors, device)
        self._traffic = traffic(tensors, device)
        self._operations = operations(tensors)
        self._totals = max(self._traffic.sum(), 1.0), max(self._operations.sum(), 1.0)
        self._kinds = np.stack([tensors.is_opcode(*names) for names in _CLASSES.values()], axis=1)
        self._consumed_by = _consumers(tensors, self._kinds)
        regions = self._costs.regions if isinstance(self._costs, FollowedLayouts) else LayoutRegions(tensors)
        self._region_sizes = [len(members) for members in regions.members]
        is_parameter = tensors.is_opcode("parameter")
        self._with_parameter = [any(is_parameter[each.node] for each in borders) for borders in regions.borders]
        known = {(joint.row, joint.place): (joint, position) for position, joint in enumerate(regions.joints)}
        self._configurable = []
        for row, place, producer in tensors.configurable():
            node = int(graph.node_config_ids[row])
            vector = Joint(row, place, node, producer, tensors.dimensions(producer), tensors.default_order(producer))
            joint, position = known.get((row, place), (vector, 0))
            self._configurable.append(_Tensor(joint, position, dimension_roles(tensors, node, place)))

    def describe(self, configs: LayoutConfigs) -> Descriptors:
        """The columns of a batch.

        Args:
            configs: c configs of the graph.

        Returns:
            Items are `ITEM_COLUMNS`, of the tensors that configs decide; the summary is `SUMMARY_COLUMNS`.
        """
        decided = [
            (tensor, decisions)
            for tensor in self._configurable
            for decisions in [tensor.joint.decide(configs)]
            if decisions.orders
        ]
        rows, decisions, owners = [np.zeros((0, len(ITEM_COLUMNS)), np.float32)], [], []
        known = 0
        for (tensor, choices), beside in zip(decided, _neighbours(decided, len(configs)), strict=True):
            owner = np.flatnonzero(choices.choice >= 0)
            codes, which = np.unique(
                choices.choice[owner] * _NEIGHBOUR_CODES + beside[owner] @ _NEIGHBOUR_BITS, return_inverse=True
            )
            table = np.array([self._alone(tensor, order) for order in choices.orders])
            bits = (codes[:, None] % _NEIGHBOUR_CODES & _NEIGHBOUR_BITS) > 0
            rows.append(np.concatenate([table[codes // _NEIGHBOUR_CODES], bits], axis=1).astype(np.float32))
            decisions.append(known + which.reshape(-1))
            owners.append(owner)
            known += len(codes)
        items = np.concatenate(rows)
        owner = np.concatenate([np.zeros(0, np.int64), *owners])
        by_config = np.argsort(owner, kind="stable")
        decision = np.concatenate([np.zeros(0, np.int64), *decisions])[by_config]
        counts = np.bincount(owner, minlength=len(configs))
        shares = np.minimum(items[:, ITEM_COLUMNS.index("copy_share")], 1.0)
        return Descriptors(
            items,
            shares,
            decision,
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            self._summary(configs, items[decision][:, [_CHANGED, _COPY_SHARE]], owner[by_config]),
        )

    def _alone(self, tensor: _Tensor, order: Order) -> list[float]:
        """The columns that do not depend on other decisions."""
        node, producer = tensor.joint.node, tensor.joint.producer
        dimensions, default = tensor.joint.dimensions, tensor.joint.default
        width = float(self._tensors.element_bytes[producer])
        asked_bytes, default_bytes = (
            max(padded_bytes(dimensions, each, width, self._device), 1.0) for each in (order, default)
        )
        physical, physical_default = physical_order(order, dimensions), physical_order(default, dimensions)
        copied = (asked_bytes + default_bytes) / self._totals[0]
        kind = [0.0] * (len(_OPCODES) * _PLACES)
        kind[_OPCODES.index(self._tensors.graph.node_opcode[node]) * _PLACES + tensor.joint.place] = 1.0
        return [
            *kind,
            *_one_hot_roles(tensor.roles, order),
            *_one_hot_roles(tensor.roles, default),
            len(dimensions) / 4,
            float(physical != physical_default),
            float(physical[:1] != physical_default[:1]),
            float(physical[1:2] != physical_default[1:2]),
            np.log2(asked_bytes / default_bytes),
            np.log10(asked_bytes) / 6,
            np.log10(default_bytes) / 6,
            _log_share(copied),
            copied,
            _log_share(self._operations[node] / self._totals[1]),
            _log_share(self._traffic[node] / self._totals[0]),
            *(_size(dimensions, each, place) for each in (order, default) for place in range(_MINOR)),
            width / 4,
            *self._around(tensor, order),
            *self._kinds[producer].astype(float),
            *self._consumed_by[producer].astype(float),
        ]

    def _around(self, tensor: _Tensor, order: Order) -> list[float]:
        """How far the order spreads if no other meets it, and whether the node refuses it."""
        side, joint = tensor.side, tensor.joint
        size, has_parameter, refused, spread = 0, False, False, 0.0
        if side is not None:
            size, has_parameter = self._region_sizes[side.region], self._with_parameter[side.region]
        if isinstance(self._costs, FollowedLayouts):
            spread = self._costs.spread(joint, order) / self._totals[0]
            refused = self._costs.refuses(joint, order)
        logarithm = np.sign(spread) * (1 + _log_share(abs(spread)) / 2)
        return [np.log2(1 + size) / 4, float(has_parameter), float(refused), spread, logarithm]

    def _summary(
        self, configs: LayoutConfigs, facts: NDArray[np.float32], owner: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Columns of every config.

        Args:
            configs: c configs.
            facts: of every decision whether it changes the order, and the share of the copy; float32[k, 2].
            owner: the config of every decision, int64[k].
        """
        count = len(configs)
        added = self._costs.seconds(configs) / self._base
        decided = np.bincount(owner, minlength=count)
        is_changed = facts[:, 0] > 0
        changed = np.bincount(owner[is_changed], minlength=count)
        copied = np.bincount(owner[is_changed], weights=facts[is_changed, 1], minlength=count)
        tensors = max(len(self._configurable), 1)
        columns = [
            np.log10(np.maximum(added, 0) + 1e-4), added, np.sign(added),
            decided / tensors, changed / tensors, np.log1p(decided), np.log1p(changed), np.log10(copied + 1e-4),
        ]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)


def _consumers(tensors: GraphTensors, kinds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether instructions of a kind read the output of a node, bool[n, kinds]."""
    result = np.zeros_like(kinds)
    users, producers = tensors.graph.edge_index[~tensors.is_call].T
    np.logical_or.at(result, producers, kinds[users])
    return result


def _neighbours(decided: Sequence[tuple[_Tensor, TensorDecisions]], configs: int) -> list[NDArray[np.int64]]:
    """Whether tensors of a region are asked for the same order, for another, and whether none later is asked at all.

    Returns:
        For each of `decided` int64[configs, 3] of zeros and ones.
    """
    result = [
        np.stack([np.zeros(configs, np.int64), np.zeros(configs, np.int64), np.ones(configs, np.int64)], axis=1)
        for _ in decided
    ]
    members: dict[int, list[int]] = defaultdict(list)
    for number, (tensor, _) in enumerate(decided):
        if tensor.side is not None:
            members[tensor.side.region].append(number)
    for numbers in members.values():
        numbers.sort(key=lambda number: decided[number][0].position)
        ids: dict[Order, int] = {}
        orders = np.full((len(numbers), configs), -1)
        for place, number in enumerate(numbers):
            tensor, decisions = decided[number]
            table = [ids.setdefault(tensor.in_region(order), len(ids)) for order in decisions.orders]
            orders[place] = np.array([*table, -1])[decisions.choice]
        is_decided = orders >= 0
        total = is_decided.sum(axis=0)
        later = total - np.cumsum(is_decided, axis=0)
        for identity in range(len(ids)):
            same = orders == identity
            count = same.sum(axis=0)
            for place, number in enumerate(numbers):
                values = np.stack([count > 1, total > count, later[place] == 0], axis=1)
                result[number][same[place]] = values[same[place]]
    return result


def _one_hot_roles(roles: tuple[Role, ...], order: Order) -> list[float]:
    result = [0.0] * (_MINOR * len(Role))
    for place, dimension in enumerate(order[:_MINOR]):
        result[place * len(Role) + roles[dimension]] = 1.0
    return result


def _size(dimensions: tuple[int, ...], order: Order, place: int) -> float:
    return float(np.log2(max(dimensions[order[place]], 1))) / 8 if place < len(order) else 0.0


def _log_share(share: float) -> float:
    return float(np.log10(share + _SMALLEST_SHARE)) / 3
