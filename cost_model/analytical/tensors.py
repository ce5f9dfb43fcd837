"""The tensors of a graph: sizes, default orders and who reads whom, worked out from the feature columns.

What the features do not hold is inferred here, in one place: the rank of a tensor, which edges are calls, and which of
two operands comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.features import OPCODE_IDS
from cost_model.graph import ProgramGraph

Order = tuple[int, ...]
"""Dimensions from the minor-most to the major-most."""

_BYTES = np.array(list(features.ELEMENT_TYPE_BYTES.values()), dtype=np.float64)


@dataclass(frozen=True)
class ConvolutionShapes:
    """What a convolution or dot multiplies.

    Attributes:
        first: node of the first operand (input, left-hand side).
        second: node of the second operand (kernel, right-hand side).
        multiplications: multiply-adds for one element of the output.
    """

    first: int
    second: int
    multiplications: float


@dataclass(frozen=True)
class DotDimensions:
    """Sizes of the dimensions of a dot, whose output is [*batch, *first, *second].

    Attributes:
        batch: in both operands and the output.
        first: in the first operand and the output.
        second: in the second operand and the output.
        contracted: in both operands, ascending.
    """

    batch: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    contracted: tuple[int, ...]


class GraphTensors:
    """Facts about the output tensor of every node of one graph.

    Attributes:
        graph: the graph.
        elements: number of elements, float64[n]; 0 for tuples and tokens.
        element_bytes: bytes of one element, float64[n]; 1 for types that have no column (8 bits and less).
        is_call: whether an edge leads to the root of a called computation rather than to an operand, bool[m].
    """

    def __init__(self, graph: ProgramGraph) -> None:
        self.graph = graph
        types = graph.node_feat[:, features.ELEMENT_TYPE]
        known = types.any(axis=1)
        self.element_bytes: NDArray[np.float64] = np.where(known, types @ _BYTES, 1.0)
        products = np.abs(graph.node_feat[:, features.SHAPE_DIMENSIONS.product]).astype(np.float64)
        self.elements: NDArray[np.float64] = np.where(self.element_bytes > 0, products, 0.0)
        # The root of a computation has no user inside it, except in odd programs, so an edge to a root is a call
        # (unless the user is of a kind that calls nothing).
        users, producers = graph.edge_index.T
        self.is_call: NDArray[np.bool_] = (graph.node_feat[producers, features.IS_ROOT] > 0) & ~self.is_opcode(
            *features.CONFIGURABLE_OPCODES
        )[users]
        self._starts = np.searchsorted(graph.edge_index[:, 0], np.arange(len(graph) + 1))

    @cached_property
    def bytes(self) -> NDArray[np.float64]:
        """Bytes without any padding, float64[n]."""
        return self.elements * self.element_bytes

    def is_opcode(self, *names: str) -> NDArray[np.bool_]:
        """Which nodes have one of these opcodes, bool[n]."""
        return np.isin(self.graph.node_opcode, [OPCODE_IDS[name] for name in names])

    def dimensions(self, node: int) -> tuple[int, ...]:
        """The dimensions of a node's output, the first six if there are more."""
        columns = self.graph.node_feat[node, features.SHAPE_DIMENSIONS.entries]
        rank = int(np.max(np.flatnonzero(columns), initial=-1)) + 1
        return tuple(int(size) for size in columns[:rank])

    def row_major(self, node: int) -> Order:
        """The last dimension is minor-most."""
        return tuple(reversed(range(len(self.dimensions(node)))))

    def default_order(self, node: int) -> Order:
        """The order in the program: its minor_to_major columns, or row-major where they say nothing."""
        rank = len(self.dimensions(node))
        columns = self.graph.node_feat[node, features.MINOR_TO_MAJOR.start : features.MINOR_TO_MAJOR.start + rank]
        order = tuple(int(dimension) for dimension in columns)
        return order if sorted(order) == list(range(rank)) else self.row_major(node)

    def operands(self, node: int) -> list[int]:
        """The distinct operands of a node, by node index (the order of the operands is not in the graph)."""
        rows = slice(self._starts[node], self._starts[node + 1])
        return [int(producer) for producer in self.graph.edge_index[rows, 1][~self.is_call[rows]]]

    def called(self, node: int) -> list[int]:
        """The roots of the computations that a node calls."""
        rows = slice(self._starts[node], self._starts[node + 1])
        return [int(root) for root in self.graph.edge_index[rows, 1][self.is_call[rows]]]

    def first_operands(self, node: int) -> tuple[int | None, int | None]:
        """First and second operand of a convolution, dot or reshape; None where there is none."""
        product = self.product(node)
        if product is not None:
            return product.first, product.second
        producers = self.operands(node)
        return (producers[0] if producers else None), (producers[1] if len(producers) > 1 else None)

    def product(self, node: int) -> ConvolutionShapes | None:
        """What a convolution or dot multiplies; None for other nodes and where the operands do not fit."""
        opcode = self.graph.node_opcode[node]
        producers = self.operands(node)
        if not producers or len(producers) > 2:
            return None
        low, high = producers[0], producers[-1]
        for first, second in ((low, high), (high, low)):
            if opcode == OPCODE_IDS["convolution"]:
                depth = self._convolution_depth(node, first, second)
            elif opcode == OPCODE_IDS["dot"]:
                depth = self._dot_depth(node, first, second)
            else:
                return None
            if depth is not None:
                return ConvolutionShapes(first, second, depth)
        return None

    def _convolution_depth(self, node: int, first: int, second: int) -> float | None:
        """Multiply-adds per output element if `first` is the input and `second` the kernel; None if they cannot be."""
        row = self.graph.node_feat[node]
        groups = max(float(row[features.FEATURE_GROUP_COUNT]), 1.0)
        batch_groups = max(float(row[features.BATCH_GROUP_COUNT]), 1.0)
        source, kernel, output = (_Sizes(self.dimensions(each)) for each in (first, second, node))
        window = [size for size in row[features.WINDOW_SIZE.entries] if size > 0]
        spatial = row[features.KERNEL_SPATIAL.entries][: len(window)]
        fits = (
            source[row[features.INPUT_BATCH]] == output[row[features.OUTPUT_BATCH]] * batch_groups
            and source[row[features.INPUT_FEATURE]] == kernel[row[features.KERNEL_INPUT_FEATURE]] * groups
            and kernel[row[features.KERNEL_OUTPUT_FEATURE]] == output[row[features.OUTPUT_FEATURE]]
            and all(kernel[dimension] == size for dimension, size in zip(spatial, window, strict=False))
        )
        if not fits:
            return None
        # Holes of a dilated input are not multiplied; padding is (it is thin in all but odd convolutions).
        dilation = max(float(row[features.WINDOW_BASE_DILATION.product]), 1.0)
        return float(kernel[row[features.KERNEL_INPUT_FEATURE]]) * float(row[features.WINDOW_SIZE.product]) / dilation

    def _dot_depth(self, node: int, first: int, second: int) -> float | None:
        """Product of the contracted dimensions if the operands stand in this order; None if they cannot."""
        split = self._split_dot(node, first, second)
        return None if split is None else float(np.prod(split.contracted, dtype=np.float64))

    def dot_dimensions(self, node: int) -> DotDimensions | None:
        """The dimensions of a dot by role; None where the operands do not fit."""
        first, second = self.first_operands(node)
        return None if first is None or second is None else self._split_dot(node, first, second)

    def _split_dot(self, node: int, first: int, second: int) -> DotDimensions | None:
        """The dimensions by role if the operands stand in this order; None if they cannot.

        The contracted dimensions themselves are not among the features. An output is made of batch dimensions, then
        those of the first operand alone, then those of the second alone; how many there are of each follows from the
        ranks once the number of contracted dimensions is known, and that is one in nearly all programs.
        """
        left, right, output = (self.dimensions(each) for each in (first, second, node))
        for contracted in range(1, min(len(left), len(right)) + 1):
            batch = len(left) + len(right) - len(output) - 2 * contracted
            own = len(left) - batch - contracted
            if batch < 0 or own < 0:
                continue
            shared, kept, others = output[:batch], output[batch : batch + own], output[batch + own :]
            remaining = _without(left, shared + kept)
            if remaining is not None and remaining == _without(right, shared + others):
                return DotDimensions(shared, kept, others, tuple(remaining))
        return None

    def inside(self, node: int) -> set[int]:
        """The nodes of the computations that a node calls, as far as their roots depend on them."""
        found = set(self.called(node))
        left = list(found)
        while left:
            new = [each for each in self.operands(left.pop()) if each not in found]
            found.update(new)
            left += new
        return found

    def inside_fusions(self) -> NDArray[np.bool_]:
        """Which nodes belong to a computation that a fusion calls (or to one that is called from there), bool[n]."""
        users, producers = self.graph.edge_index.T
        inside = np.zeros(len(self.graph), dtype=np.bool_)
        inside[producers[self.is_opcode("fusion")[users] & self.is_call]] = True
        reached = int(inside.sum())
        while True:
            inside[producers[inside[users]]] = True
            if int(inside.sum()) == reached:
                return inside
            reached = int(inside.sum())

    def configurable(self) -> Iterator[tuple[int, int, int]]:
        """Every tensor that a layout config may decide: (row of the config, place 0 to 2, node that produces it)."""
        for row, node in enumerate(self.graph.node_config_ids.tolist()):
            first, second = self.first_operands(node)
            for place, producer in enumerate((node, first, second)):
                if producer is not None:
                    yield row, place, producer


class _Sizes:
    """Dimensions that answer 1 where they end, as a degenerate convolution expects."""

    def __init__(self, dimensions: tuple[int, ...]) -> None:
        self._dimensions = dimensions

    def __getitem__(self, place: float) -> int:
        index = int(place)
        return self._dimensions[index] if 0 <= index < len(self._dimensions) else 1


def _without(sizes: tuple[int, ...], taken: tuple[int, ...]) -> list[int] | None:
    """The sizes left, sorted, after taking some away; None if one of those is not there."""
    left = list(sizes)
    for size in taken:
        if size not in left:
            return None
        left.remove(size)
    return sorted(left)
