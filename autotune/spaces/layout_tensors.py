"""The tensors of a module whose order of dimensions can be chosen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from autotune.hlo.modules import instructions
from autotune.hlo.rewrite import Order
from cost_model.features import CONFIGURABLE_OPCODES
from protos import hlo_pb2, xla_data_pb2

MAXIMUM_RANK: Final = 6
"""Dimensions that the encoding has room for."""


@dataclass(frozen=True)
class LayoutTensor:
    """One tensor whose order can be chosen.

    Attributes:
        node: node id of the instruction in its module.
        tensor: OUTPUT, FIRST_INPUT or SECOND_INPUT.
        instruction: its name, for people.
        opcode: of the instruction.
        dimensions: of the tensor.
        default: the order that it has when nobody asks for another.
        places: how many of the minor-most places are a choice; the other dimensions follow in descending order.
    """

    node: int
    tensor: int
    instruction: str
    opcode: str
    dimensions: tuple[int, ...]
    default: Order
    places: int = MAXIMUM_RANK

    @cached_property
    def free_dimensions(self) -> tuple[int, ...]:
        """Dimensions larger than one, minor to major: only their order changes what lies in memory."""
        rank = len(self.dimensions)
        return tuple(d for d in reversed(range(rank)) if self.dimensions[d] > 1)

    @cached_property
    def row_major(self) -> Order:
        """The order that XLA:CPU and most programs use."""
        return tuple(reversed(range(len(self.dimensions))))

    @property
    def orders(self) -> int:
        """How many orders there are."""
        return len(self._choices)

    @cached_property
    def _choices(self) -> tuple[Order, ...]:
        """Every order, the row-major one first."""
        free = self.free_dimensions
        heads = itertools.permutations(free, min(self.places, len(free)))
        return tuple(dict.fromkeys(self.complete((*head, *(d for d in free if d not in head))) for head in heads))

    def enumerate(self) -> Iterator[Order]:
        """Every order, the row-major one first."""
        return iter(self._choices)

    def complete(self, free_order: Sequence[int]) -> Order:
        """A full order from one of the free dimensions: those of size one come last (most major)."""
        if tuple(free_order) == self.free_dimensions:
            return self.row_major
        rest = [d for d in reversed(range(len(self.dimensions))) if self.dimensions[d] == 1]
        return (*free_order, *rest)

    def random_order(self, rng: np.random.Generator) -> Order:
        """One of the orders, uniformly."""
        return self._choices[rng.integers(len(self._choices))]

    def is_order(self, order: Order) -> bool:
        """Whether this is a permutation of the dimensions."""
        return sorted(order) == list(range(len(self.dimensions)))


def find_tensors(module: hlo_pb2.HloModuleProto, places: int) -> tuple[list[int], list[LayoutTensor]]:
    """Node ids of all configurable nodes, and those of their tensors that have a choice.

    Args:
        module: just before layout assignment, its arrays in their default layouts (row-major where none is written).
        places: as in `LayoutTensor`.
    """
    node_ids: list[int] = []
    tensors: list[LayoutTensor] = []
    shapes = {instruction.id: instruction.shape for instruction in instructions(module)}
    for node, instruction in enumerate(instructions(module)):
        if instruction.opcode not in CONFIGURABLE_OPCODES:
            continue
        node_ids.append(node)
        operands = [shapes[operand] for operand in instruction.operand_ids[:2]]
        for tensor, shape in enumerate([instruction.shape, *operands]):
            dimensions = tuple(shape.dimensions)
            default = tuple(shape.layout.minor_to_major) or tuple(reversed(range(len(dimensions))))
            candidate = LayoutTensor(node, tensor, instruction.name, instruction.opcode, dimensions, default, places)
            if _has_choice(shape) and candidate.orders > 1:
                tensors.append(candidate)
    return node_ids, tensors


def _has_choice(shape: xla_data_pb2.ShapeProto) -> bool:
    """Whether the compiler would accept a constraint: an array of static shape whose order fits the encoding."""
    return (
        shape.element_type != xla_data_pb2.TUPLE
        and len(shape.dimensions) <= MAXIMUM_RANK
        and all(size > 0 for size in shape.dimensions)
        and not any(shape.is_dynamic_dimension)
    )
