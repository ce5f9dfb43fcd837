"""Which decisions about layouts are alike: tensors of the same shape in the same place, and an order for them.

The layers of a network repeat their tensors, and the compiler carries an order that one tensor was given on to its
neighbours. So of the thousands of configs that decide one tensor only a few differ in what is compiled: on a graph
network 7 of 63 such configs make the best program that 200 random configs find, on a deep-and-cross network 17 of 48.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.hlo.rewrite import Order
from autotune.spaces.layout_tensors import LayoutTensor
from cost_model.analytical.orders import kept_by_product
from cost_model.features import PRODUCT_OPCODES

Floats = NDArray[np.float64]
Place = tuple[int, int]
"""Node id and tensor."""


@dataclass(frozen=True)
class Role:
    """One order for tensors that are alike.

    Attributes:
        opcode: of their instructions.
        tensor: OUTPUT, FIRST_INPUT or SECOND_INPUT.
        dimensions: theirs.
        default: dimensions larger than one of the order that they have by default, minor to major.
        order: another one.
    """

    opcode: str
    tensor: int
    dimensions: tuple[int, ...]
    default: Order
    order: Order


_REFUSED: Final[Mapping[str, float]] = {"convolution": 0.75, "dot": 0.35}
"""How much of an effect a request has beforehand that a convolution or dot refuses (`kept_by_product`), beside that of
others. Of 98 requests that dots met 12 were gains, mostly close to the largest, of 434 that they refused 31, mostly
small; convolutions refuse those that gain most in the backward pass of a depthwise one (single requests, v5e)."""

_ALONE: Final = 0.5
"""How much of the variance of an effect is each tensor's by itself, where several are alike: of one of two inputs of a
mixer .72 of the cost is left, of both .83. What all of them do together varies as much however many they are; when it
varied more the more there were, those of `resnet50` with many were all tried before the single one that is a gain."""

_STILL: Final = 0.002
_LEAST: Final = 0.3
"""By how little a request to a convolution or dot must change what a cost model says, relative to others, to have half
the effect of others beforehand, and how much of one it has at least. (A reshape follows its neighbours in ways that the
model does not see.)"""

_ALIKE: Final[tuple[tuple[float, Callable[[Role], Hashable]], ...]] = ((0.5, lambda role: (role.opcode, role.tensor)),)
"""How far what is known of one role tells of another: what they have in common, and how much of an effect that has, as
a share of the role's own."""


class Roles:
    """All roles of a program.

    Args:
        tensors: that have a choice.
    """

    def __init__(self, tensors: Sequence[LayoutTensor]) -> None:
        found: dict[Role, list[Place]] = {}
        for each in tensors:
            default = _matters(each, each.default)
            for order in each.enumerate():
                if _matters(each, order) != default:
                    role = Role(each.opcode, each.tensor, each.dimensions, default, order)
                    found.setdefault(role, []).append((each.node, each.tensor))
        self.roles: tuple[Role, ...] = tuple(found)
        self.places: tuple[tuple[Place, ...], ...] = tuple(map(tuple, found.values()))
        """Of each role: the tensors that have it."""
        columns: dict[Hashable, int] = {}
        self._effects: dict[tuple[int, int, Order], tuple[int, list[tuple[int, float]]]] = {}
        """Of each decision: its role, and how much it adds to which columns of the factors."""
        for number, (role, places) in enumerate(found.items()):
            keys = [(math.sqrt(1 - _ALONE), role), *((weight, key(role)) for weight, key in _ALIKE)]
            size = _REFUSED[role.opcode] if _is_refused(role) else 1.0
            shared = [(columns.setdefault(key, len(columns)), weight * size / len(places)) for weight, key in keys]
            own = size * math.sqrt(_ALONE / len(places))
            for place in places:
                decision = (*place, role.order)
                self._effects[decision] = number, [*shared, (columns.setdefault(decision, len(columns)), own)]
        self._width = len(columns)
        self._of_product = np.array([role.opcode in PRODUCT_OPCODES for role in self.roles], bool)

    def __len__(self) -> int:
        return len(self.roles)

    def factors(self, configs: Sequence[Sequence[tuple[int, int, Order]]], changes: Floats | None = None) -> Floats:
        """What configs decide, in terms of roles: the share of the tensors of each role, and what roles share.

        Args:
            configs: of each the node id, tensor and order of every decision; the default orders have no role.
            changes: see `Factors.of`, one for each role.

        Returns:
            float64[c, factors].
        """
        result = np.zeros((len(configs), self._width))
        sizes = np.ones(len(self))
        if changes is not None:
            moving = np.maximum(changes / (changes + _STILL), _LEAST)
            sizes = np.where(self._of_product, moving, sizes)
        for row, decisions in zip(result, configs, strict=True):
            for decision in decisions:
                number, effects = self._effects.get(decision, (0, ()))
                for column, effect in effects:
                    row[column] += sizes[number] * effect
        return result


def _is_refused(role: Role) -> bool:
    if role.opcode not in PRODUCT_OPCODES:
        return False
    return kept_by_product(role.order, role.default, role.dimensions) != role.order


def _matters(tensor: LayoutTensor, order: Order) -> Order:
    """What of an order matters: the dimensions larger than one.

    Not only those that are a choice: where the default has the others in an order of its own, naming its minor-most
    dimensions brings the others into descending order, and that alone took a quarter off an einsum block.
    """
    return tuple(d for d in order if tensor.dimensions[d] > 1)
