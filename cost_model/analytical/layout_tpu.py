"""What a layout config costs on XLA:TPU: padding that spreads to neighbours, and copies where orders meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.decisions import UNDECIDED, TensorDecisions
from cost_model.analytical.memory import padded_bytes, physical_order, same_bytes
from cost_model.analytical.orders import inverse, kept_by_product, permuted
from cost_model.analytical.regions import Joint, LayoutRegions, Member, Side
from cost_model.analytical.roofline import moves_nothing
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.devices import DeviceDescription
from cost_model.graph import LayoutConfigs

_FUSED_COPY: Final = 0.5
"""Of the time of a copy that a convolution or dot makes of its input, as part of its own kernel."""

_ELSEWHERE: Final = -1
"""The number of an order that a reshaped tensor cannot have without being moved."""

_Ids = NDArray[np.int64]


@dataclass
class _Region:
    """What configs do to one region.

    Attributes:
        winner: the joint that gives the order, counted from 1; 0 where the compiler decides; int64[c].
        orders: the distinct orders of the batch, in axes of the region.
        choice: position in `orders`, -1 where the compiler decides; int64[c].
    """

    winner: _Ids
    choice: _Ids
    orders: dict[Order, int] = field(default_factory=dict)

    def number(self, order: Order) -> int:
        return self.orders.setdefault(order, len(self.orders))


@dataclass
class _Orders:
    """Orders of the tensor of one joint, by number; those that are the same bytes share one. The default is 0."""

    joint: Joint
    found: list[Order] = field(default_factory=list)
    _numbers: dict[Order, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.number(self.joint.default)

    def number(self, order: Order) -> int:
        physical = physical_order(order, self.joint.dimensions)
        if physical not in self._numbers:
            self._numbers[physical] = len(self.found)
            self.found.append(order)
        return self._numbers[physical]


class FollowedLayouts:
    """What layout configs of one graph cost; keeps what does not depend on the configs.

    The model: `LayoutRegions` says which order every tensor gets. A tensor costs as many bytes more as it is padded
    more, whether it lies in memory or in registers. Where an order meets another the tensor is copied: read in the one
    and written in the other. A convolution or dot swaps its two minor-most dimensions at will and refuses all else, so
    it copies, too. Arguments are not copied: what reads one does so in the order that was asked for.

    Args:
        tensors: the program; its default orders are those that the compiler gives it without a config.
        device: what it runs on.

    Attributes:
        regions: of the program.
    """

    def __init__(self, tensors: GraphTensors, device: DeviceDescription) -> None:
        self._tensors = tensors
        self._device = device
        self.regions = LayoutRegions(tensors)
        self._is_product = tensors.is_opcode(*features.PRODUCT_OPCODES)
        self._is_parameter = tensors.is_opcode("parameter")
        counted = ~(moves_nothing(tensors) | tensors.inside_fusions())
        self._members = [[member for member in members if counted[member.node]] for members in self.regions.members]
        self._sizes: dict[tuple[int, Order], float] = {}
        self._regions_in_order: dict[tuple[int, Order], float] = {}

    def seconds(self, configs: LayoutConfigs) -> NDArray[np.float64]:
        """Seconds that each config adds to the default (below 0 where it pads less).

        Args:
            configs: c configs.

        Returns:
            float64[c]; 0 for a config that leaves everything to the compiler.
        """
        count = len(configs) + 1  # the last is the default: what it copies, all do
        decisions, regions = self._lay_out(configs)
        total = np.zeros(count)
        for number, region in regions.items():
            total += self._lookup(number, region)
        nothing = TensorDecisions(UNDECIDED, (), np.full(count, UNDECIDED))
        decided_joints = zip(self.regions.joints, decisions, strict=True)
        for joint, decided in [*decided_joints, *((seam, nothing) for seam in self.regions.seams)]:
            if decided.orders or any(side.region in regions for side in joint.sides):
                total += self._copies(joint, decided, regions, count)
        seconds: NDArray[np.float64] = (total[:-1] - total[-1]) / self._device.memory_bandwidth
        return seconds

    def changed(self, configs: LayoutConfigs) -> list[dict[int, Order]]:
        """The tensors that are not laid out as they are by default.

        Args:
            configs: c configs.

        Returns:
            For each config the order of such tensors by the node that produces them, minor to major. Where a request is
            refused, it is the order that the node has by itself, not that of the copy.
        """
        decisions, regions = self._lay_out(configs)
        result: list[dict[int, Order]] = [{} for _ in configs.node_config_feat]
        for number, region in regions.items():
            orders = list(region.orders)
            for config in np.flatnonzero(region.choice[:-1] != UNDECIDED).tolist():
                order = orders[region.choice[config]]
                result[config] |= {each.node: _of_member(each, order) for each in self.regions.members[number]}
        for joint, decided in zip(self.regions.joints, decisions, strict=True):
            if joint.place == 0 and self._is_product[joint.node]:
                kept = [kept_by_product(order, joint.default, joint.dimensions) for order in decided.orders]
                for config in np.flatnonzero(decided.choice[:-1] != UNDECIDED).tolist():
                    result[config][joint.node] = kept[decided.choice[config]]
        return [
            {node: order for node, order in orders.items() if not self._is_default(node, order)} for orders in result
        ]

    def spread(self, joint: Joint, order: Order) -> float:
        """Bytes that a region is padded more if a joint gives it an order, 0 for joints without a region.

        Args:
            joint: one of `regions.joints`.
            order: of its tensor.
        """
        entered = [(side.region, joint.enter(side, order)) for side in joint.sides[:1]]
        return sum(
            self._in_order(n, o) - self._in_order(n, self.regions.default(n)) for n, o in entered if o is not None
        )

    def refuses(self, joint: Joint, order: Order) -> bool:
        """Whether a joint's node does not take an order that is asked for."""
        is_product = bool(self._is_product[joint.node])
        return is_product and kept_by_product(order, joint.default, joint.dimensions) != order

    def _lay_out(self, configs: LayoutConfigs) -> tuple[list[TensorDecisions], dict[int, _Region]]:
        """What is decided at every joint and what becomes of the regions, with the default as one more config."""
        joints, count = self.regions.joints, len(configs) + 1
        decisions = [self._decisions(joint, configs) for joint in joints]
        regions: dict[int, _Region] = {}
        for position, (joint, decided) in enumerate(zip(joints, decisions, strict=True)):
            if decided.orders:
                self._give(joint, position + 1, decided, regions, count)
        self._pass_on(decisions, regions, count)
        return decisions, regions

    def _is_default(self, node: int, order: Order) -> bool:
        return same_bytes(order, self._tensors.default_order(node), self._tensors.dimensions(node))

    @staticmethod
    def _decisions(joint: Joint, configs: LayoutConfigs) -> TensorDecisions:
        decided = joint.decide(configs)
        return replace(decided, choice=np.append(decided.choice, UNDECIDED))

    # ---- Which order every region gets -------------------------------------------------------------------------------

    def _give(
        self, joint: Joint, winner: int, decided: TensorDecisions, regions: dict[int, _Region], configs: int
    ) -> None:
        """Later joints overwrite what earlier ones gave."""
        _enter(joint, decided.orders, decided.choice, np.full(configs, winner), regions)

    def _pass_on(self, decisions: list[TensorDecisions], regions: dict[int, _Region], configs: int) -> None:
        """Joints that are undecided pass orders on, the last joint's before all others."""
        passing = [
            (joint, decided.choice == UNDECIDED)
            for joint, decided in zip(self.regions.joints, decisions, strict=True)
            if len(joint.sides) > 1
        ]
        changed = True
        while changed:
            changed = False
            for joint, undecided in [*passing, *reversed(passing)]:
                if any(side.region in regions for side in joint.sides) and undecided.any():
                    changed |= self._pass_through(joint, undecided, regions, configs)

    def _pass_through(
        self, joint: Joint, undecided: NDArray[np.bool_], regions: dict[int, _Region], configs: int
    ) -> bool:
        orders = _Orders(joint)
        winner, choice = np.zeros(configs, np.int64), np.full(configs, UNDECIDED)
        for side in joint.sides:
            region = regions.get(side.region)
            if region is not None and side.follows:
                seen = self._seen(joint, side, region, orders)
                better = (region.winner > winner) & (seen != UNDECIDED) & undecided
                winner, choice = np.where(better, region.winner, winner), np.where(better, seen, choice)
        return bool(winner.any()) and _enter(joint, orders.found, choice, winner, regions)

    @staticmethod
    def _seen(joint: Joint, side: Side, region: _Region, orders: _Orders) -> _Ids:
        """The region's order as the joint's tensor has it, int64[c]; -1 where undecided or without such an order."""
        left = (joint.leave(side, order) for order in region.orders)
        table = np.array([*(UNDECIDED if order is None else orders.number(order) for order in left), UNDECIDED])
        return table[region.choice]

    # ---- What that costs, in bytes -----------------------------------------------------------------------------------

    def _lookup(self, number: int, region: _Region) -> NDArray[np.float64]:
        usual = self._in_order(number, self.regions.default(number))
        return np.array([*(self._in_order(number, order) for order in region.orders), usual])[region.choice]

    def _in_order(self, number: int, order: Order) -> float:
        """Bytes of a region's tensors in an order, and of the copies of what they read."""
        if (number, order) not in self._regions_in_order:
            total = 0.0
            for member in self._members[number]:
                total += self._size(member.node, _of_member(member, order))
            for border in self.regions.borders[number]:
                total += self._copy(border.node, border.order, _of_member(border, order))
            self._regions_in_order[number, order] = total
        return self._regions_in_order[number, order]

    def _copies(
        self, joint: Joint, decided: TensorDecisions, regions: dict[int, _Region], configs: int
    ) -> NDArray[np.float64]:
        """Where an order meets another at a joint."""
        orders = _Orders(joint)
        is_decided = decided.choice != UNDECIDED
        default = np.zeros(configs, np.int64)
        given = default if joint.before is None else self._beside(joint, joint.before, regions, orders, default)
        table = np.array([*(orders.number(order) for order in decided.orders), 0])
        asked = table[decided.choice]
        if joint.place == 0 and self._is_product[joint.node]:
            given = np.where(is_decided, self._kept(orders)[asked], given)
        taken = np.where(is_decided, asked, given)
        behind = [self._beside(joint, side, regions, orders, default) for side in joint.behind]
        read = taken
        if joint.place and self._is_product[joint.node]:
            read = np.where(is_decided, self._kept(orders)[taken], self._kept(orders, refuses=True)[taken])
        sizes = np.array([self._size(joint.producer, order) for order in orders.found])
        copied = np.where(taken == read, 0.0, _FUSED_COPY * (sizes[taken] + sizes[read]))
        if not self._is_parameter[joint.producer]:
            copied += np.where(given == taken, 0.0, sizes[given] + sizes[taken])
            for side, order in zip(joint.behind, behind, strict=True):
                reshape = side.reshape
                beyond = sizes[order] if reshape is None else self._size(reshape.node, reshape.default)
                copied += np.where(taken == order, 0.0, sizes[taken] + beyond)
        if joint.place == 0 and self._is_product[joint.node]:
            copied += sizes[given]
        return copied

    def _beside(self, joint: Joint, side: Side, regions: dict[int, _Region], orders: _Orders, default: _Ids) -> _Ids:
        """The order of a region as the joint's tensor would have it, int64[c]; _ELSEWHERE if it cannot have it."""
        region = regions.get(side.region)
        in_region = [] if region is None else list(region.orders)
        usual = self.regions.default(side.region)
        left = [joint.leave(side, order) for order in in_region] + [
            joint.leave(side, usual) if usual else joint.default
        ]
        table = np.array([_ELSEWHERE if order is None else orders.number(order) for order in left])
        return table[-1] + default if region is None else table[region.choice]

    @staticmethod
    def _kept(orders: _Orders, *, refuses: bool = False) -> _Ids:
        """What a convolution or dot makes of every order known so far, by number."""
        joint = orders.joint
        known = list(orders.found)
        kept = (kept_by_product(order, joint.default, joint.dimensions, refuses=refuses) for order in known)
        return np.array([orders.number(order) for order in kept])

    def _copy(self, node: int, source: Order, result: Order) -> float:
        if same_bytes(source, result, self._tensors.dimensions(node)):
            return 0.0
        return self._size(node, source) + self._size(node, result)

    def _size(self, node: int, order: Order) -> float:
        """Padded bytes of a node's output in an order."""
        if (node, order) not in self._sizes:
            width = float(self._tensors.element_bytes[node])
            self._sizes[node, order] = padded_bytes(self._tensors.dimensions(node), order, width, self._device)
        return self._sizes[node, order]


def _enter(joint: Joint, orders: Sequence[Order], choice: _Ids, winner: _Ids, regions: dict[int, _Region]) -> bool:
    """Give the regions of a joint an order, where its own comes from a later joint.

    Args:
        joint: where they meet.
        orders: of its tensor.
        choice: position in `orders`, -1 for none; int64[c].
        winner: the joint that the order comes from, as in `_Region`; int64[c].
        regions: what is known of them, changed.

    Returns:
        Whether any config changed.
    """
    changed = False
    for side in joint.sides:
        entered = [joint.enter(side, order) for order in orders]
        if all(order is None for order in entered):
            continue
        unknown = _Region(np.zeros_like(winner), np.full_like(choice, UNDECIDED))
        region = regions.setdefault(side.region, unknown)
        table = np.array([*(UNDECIDED if o is None else region.number(o) for o in entered), UNDECIDED])
        better = (table[choice] != UNDECIDED) & (winner > region.winner)
        region.choice = np.where(better, table[choice], region.choice)
        region.winner = np.where(better, winner, region.winner)
        changed |= bool(better.any())
    return changed


def _of_member(member: Member, order: Order) -> Order:
    """The order of a region in the dimensions of one of its tensors."""
    return permuted(order, inverse(member.axes))
