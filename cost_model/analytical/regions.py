"""Which tensors the TPU compiler lays out alike: what a layout that is forced at one place does elsewhere.

The compiler's layout assignment passes an order on from every instruction whose layout is decided, through element-wise
instructions, transposes, slices and the like, forwards and backwards, until it meets one that is decided already. What
has an order of its own stops it: arguments, convolutions, dots. A region is what lies between, and all of it has one
order but for the numbers of the dimensions. Regions meet at joints: the tensors that a layout config may decide. A
joint that is undecided passes orders on; one that is decided parts its regions and gives its order to all of them.

Where several joints of a region are decided, the last in the order of the program wins: the compiler works on a stack.
(Found with libtpu 0.0.52 on v5e, by its dump just after layout assignment: of 8,991 tensors of 22 programs that
requests moved this says 73 % exactly, and it moves 5 % of the 24,809 that stood still; `python -m
benchmarks.forced_layouts`.)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from cost_model import features
from cost_model.analytical.decisions import TensorDecisions, decide
from cost_model.analytical.memory import same_bytes
from cost_model.analytical.orders import inverse, permuted, reshaped
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.graph import LayoutConfigs

# Element-wise instructions pass a layout on unchanged.
PASS_LAYOUT_ON: Final = (
    "abs", "add", "and", "atan2", "cbrt", "ceil", "clamp", "compare", "complex", "convert", "copy", "cosine",
    "count-leading-zeros", "divide", "exponential", "exponential-minus-one", "floor", "imag", "is-finite", "log",
    "log-plus-one", "logistic", "map", "maximum", "minimum", "multiply", "negate", "not", "or", "popcnt", "power",
    "real", "reduce-precision", "remainder", "round-nearest-afz", "round-nearest-even", "rsqrt", "select",
    "shift-left", "shift-right-arithmetic", "shift-right-logical", "sign", "sine", "sqrt", "stochastic-convert",
    "subtract", "tan", "tanh", "xor", "opt-barrier",
)  # fmt: skip
_PASS_RANK_ON: Final = (
    *("slice", "dynamic-slice", "dynamic-update-slice", "pad", "concatenate", "reverse", "reduce-window"),
    "select-and-scatter",
)
"""These pass an order on to an operand of the same rank."""

_HAVE_THEIR_OWN: Final = (
    *("parameter", "constant", "convolution", "dot", "custom-call", "get-tuple-element", "rng", "rng-bit-generator"),
    "fusion",
)

_NONE: Final = -1
_LEAST_RANK: Final = 2
"""Of a tensor whose order is a choice."""


@dataclass(frozen=True)
class Reshape:
    """The output of a reshape: its node, dimensions and default order."""

    node: int
    dimensions: tuple[int, ...]
    default: Order


@dataclass(frozen=True)
class Side:
    """A region as a joint sees it.

    Attributes:
        region: number of the region.
        axes: the region's axis along each dimension of the tensor next to it.
        reshape: the node of that tensor where it is a reshape of the joint's; otherwise None.
        follows: whether the region takes orders from the joint. It does not where a reshape moves data by default.
    """

    region: int
    axes: Order
    reshape: Reshape | None = None
    follows: bool = True


@dataclass(frozen=True)
class Member:
    """A tensor of a region.

    Attributes:
        node: that produces it.
        axes: the region's axis along each of its dimensions.
    """

    node: int
    axes: Order


@dataclass(frozen=True)
class Border(Member):
    """A tensor that a region has to have, or gets, in a certain order.

    Attributes:
        order: of the tensor.
    """

    order: Order


@dataclass
class Joint:
    """A tensor that a layout config may decide.

    Attributes:
        row: of the config.
        place: of the tensor: 0 for the output of the configurable node, 1 and 2 for its inputs.
        node: the configurable node.
        producer: the node whose output it is.
        dimensions: of the tensor.
        default: its order if nothing is decided.
        before: the region of the producer; None where the producer has an order of its own.
        behind: regions of the users.
    """

    row: int
    place: int
    node: int
    producer: int
    dimensions: tuple[int, ...]
    default: Order
    before: Side | None = None
    behind: list[Side] = field(default_factory=list)

    def decide(self, configs: LayoutConfigs) -> TensorDecisions:
        """What a batch says about the tensor."""
        return decide(self.producer, self.default, configs, self.row, self.place)

    @property
    def sides(self) -> list[Side]:
        """All regions that meet here."""
        return self.behind if self.before is None else [self.before, *self.behind]

    def enter(self, side: Side, order: Order) -> Order | None:
        """The order of a region that goes with one of the joint's tensor; None if none does."""
        if not side.follows:
            return None
        if side.reshape is None:
            return permuted(order, side.axes)
        result = reshaped(order, self.dimensions, side.reshape.dimensions, side.reshape.default)
        return None if result is None else permuted(result, side.axes)

    def leave(self, side: Side, order: Order) -> Order | None:
        """The order of the joint's tensor that goes with one of a region; None if none does."""
        found = permuted(order, inverse(side.axes))
        if side.reshape is None:
            return found
        return reshaped(found, side.reshape.dimensions, self.dimensions, self.default)


class LayoutRegions:
    """The regions of one graph, and the joints where they meet.

    Args:
        tensors: the program; its default orders say which neighbours the compiler lays out alike by itself.

    Attributes:
        members: the tensors of each region; none for the one between two joints of the same tensor.
        borders: for each region the tensors with an order of their own that its members read, and those of its own that
            the program returns or a fusion reads.
        joints: in the order of the program: inputs stand before their node, the output behind it.
        seams: where a tensor is copied by default, as its user wants another order; like joints that nobody decides.
    """

    def __init__(self, tensors: GraphTensors) -> None:
        nodes = range(len(tensors.graph))
        self._tensors = tensors
        self._dimensions = [tensors.dimensions(node) for node in nodes]
        self._default = [tensors.default_order(node) for node in nodes]
        self._passes_on = tensors.is_opcode(*PASS_LAYOUT_ON, *_PASS_RANK_ON)
        self._is_transpose = tensors.is_opcode("transpose")
        is_free = ~tensors.is_opcode(*_HAVE_THEIR_OWN)
        self._is_free = [bool(is_free[node]) and len(self._dimensions[node]) > 0 for node in nodes]
        self.members: list[list[Member]] = []
        self.borders: list[list[Border]] = []
        self._fixed: dict[int, Order] = {}
        self.seams: list[Joint] = []
        self.joints = self._find_joints()
        self._outputs = {joint.node: joint for joint in self.joints if joint.place == 0}
        self._inputs: dict[tuple[int, int], list[Joint]] = defaultdict(list)
        for joint in self.joints:
            if joint.place:
                self._inputs[joint.node, joint.producer].append(joint)
        users, producers = tensors.graph.edge_index[~tensors.is_call].T
        self._edges = [
            (user, producer)
            for user, producer in zip(users.tolist(), producers.tolist(), strict=True)
            if self._dimensions[user] and self._dimensions[producer]
        ]
        self._sides: dict[int, Side] = {}
        """Of the nodes that belong to a region: which, and its axes along their dimensions."""
        self._find_regions()
        self._attach()
        self._attach_results()
        self._attach_fusions()

    def region(self, node: int) -> int:
        """The number of the region that a node's output belongs to; -1 where it has an order of its own."""
        return self._sides[node].region if node in self._sides else _NONE

    def default(self, region: int) -> Order:
        """The order of a region by default, in its own axes; () for the one between two joints of a tensor."""
        if not self.members[region]:
            return self._fixed.get(region, ())
        first = self.members[region][0]
        return permuted(self._default[first.node], first.axes)

    def _find_joints(self) -> list[Joint]:
        found = [
            Joint(
                row, place, int(self._tensors.graph.node_config_ids[row]), producer, dimensions, self._default[producer]
            )
            for row, place, producer in self._tensors.configurable()
            for dimensions in [self._dimensions[producer]]
            if len(dimensions) >= _LEAST_RANK
        ]
        return sorted(found, key=lambda joint: (joint.node, joint.place == 0, joint.place))

    def _find_regions(self) -> None:
        """Walk from tensor to tensor over the edges that pass an order on and have no joint."""
        neighbours: dict[int, list[tuple[int, Order]]] = defaultdict(list)
        for user, producer in self._edges:
            if producer in self._outputs or (user, producer) in self._inputs or not self._is_free[producer]:
                continue
            places = self._along(user, producer)
            if places is not None and self._agree(user, producer, places):
                neighbours[producer].append((user, places))
                neighbours[user].append((producer, inverse(places)))
        for start, free in enumerate(self._is_free):
            if not free or start in self._sides:
                continue
            number = self._new_region()
            self._add(number, start, tuple(range(len(self._dimensions[start]))))
            for member in self.members[number]:  # grows on the way
                for node, places in neighbours[member.node]:
                    if node not in self._sides:
                        # `places` says which dimension of the neighbour each dimension of the member is.
                        self._add(number, node, permuted(inverse(places), member.axes))

    def _attach(self) -> None:
        """Tell joints which regions meet there, and regions where they end."""
        for joint in self._outputs.values():
            joint.before = self._sides.get(joint.node)
        for user, producer in self._edges:
            output, inputs = self._outputs.get(producer), self._inputs.get((user, producer), [])
            for joint in inputs:
                joint.before = self._sides.get(producer) if output is None else self._wire(output, joint)
                if (beyond := self._sides.get(user)) is not None:  # a reshape
                    joint.behind.append(self._beyond_reshape(joint, beyond))
            places = None if inputs else self._along(user, producer)
            if places is None:
                continue
            own = self._sides[user]
            axes = permuted(places, own.axes)
            agree = self._agree(user, producer, places)
            side = Side(own.region, axes, follows=agree)
            if output is not None:
                if side not in output.behind:
                    output.behind.append(side)
            elif self._is_free[producer]:
                if not agree:
                    self.seams.append(self._seam(user, producer, side))
            else:
                self._add_border(own.region, Border(producer, axes, self._default[producer]))

    def _seam(self, user: int, producer: int, side: Side) -> Joint:
        own = replace(self._sides[producer], follows=False)
        return Joint(_NONE, _NONE, user, producer, self._dimensions[producer], self._default[producer], own, [side])

    def _attach_results(self) -> None:
        """What a program returns has the order that it has by default."""
        graph = self._tensors.graph
        called = graph.edge_index[self._tensors.is_call, 1]
        roots = np.setdiff1d(np.flatnonzero(graph.node_feat[:, features.IS_ROOT]), called).tolist()
        is_tuple = self._tensors.is_opcode("tuple")
        for root in roots:
            for node in self._tensors.operands(root) if is_tuple[root] else [root]:
                self._require(node, self._default[node])

    def _attach_fusions(self) -> None:
        """What a fusion reads has the order of the parameter inside, where that is the only one of this shape."""
        is_fusion, is_parameter = self._tensors.is_opcode("fusion"), self._tensors.is_opcode("parameter")
        for node in np.flatnonzero(is_fusion).tolist():
            orders: dict[tuple[int, ...], set[Order]] = defaultdict(set)
            for inner in self._tensors.inside(node):
                if is_parameter[inner]:
                    orders[self._dimensions[inner]].add(self._default[inner])
            for producer in self._tensors.operands(node):
                found = orders[self._dimensions[producer]]
                if len(found) == 1:
                    self._require(producer, *found)

    def _require(self, node: int, order: Order) -> None:
        """A node's output is needed in an order, whatever it has."""
        output, side = self._outputs.get(node), self._sides.get(node)
        if output is not None:
            region = self._new_region()
            self._fixed[region] = order
            output.behind.append(Side(region, tuple(range(len(output.dimensions))), follows=False))
        elif side is not None:
            self._add_border(side.region, Border(node, side.axes, order))

    def _add_border(self, region: int, border: Border) -> None:
        if border not in self.borders[region]:
            self.borders[region].append(border)

    def _beyond_reshape(self, joint: Joint, side: Side) -> Side:
        shape, default = self._dimensions[joint.node], self._default[joint.node]
        free = reshaped(joint.default, joint.dimensions, shape, default)
        follows = free is not None and same_bytes(free, default, shape)
        return Side(side.region, side.axes, Reshape(joint.node, shape, default), follows)

    def _wire(self, output: Joint, following: Joint) -> Side:
        """What lies between two joints of the same tensor."""
        side = Side(self._new_region(), tuple(range(len(following.dimensions))))
        output.behind.append(side)
        return side

    def _new_region(self) -> int:
        self.members.append([])
        self.borders.append([])
        return len(self.members) - 1

    def _add(self, number: int, node: int, axes: Order) -> None:
        self._sides[node] = Side(number, axes)
        self.members[number].append(Member(node, axes))

    def _along(self, user: int, producer: int) -> Order | None:
        """Which dimension of the user each dimension of the producer is; None where they are not the same."""
        rank = len(self._dimensions[producer])
        if not self._is_free[user] or len(self._dimensions[user]) != rank:
            return None
        if self._is_transpose[user]:
            columns = self._tensors.graph.node_feat[user, features.DIMENSIONS.entries][:rank]
            sources = tuple(int(column) for column in columns)
            return inverse(sources) if sorted(sources) == list(range(rank)) else None
        return tuple(range(rank)) if self._passes_on[user] else None

    def _agree(self, user: int, producer: int, places: Order) -> bool:
        """Whether the order of a producer passes to a user by default."""
        return same_bytes(permuted(self._default[producer], places), self._default[user], self._dimensions[user])
