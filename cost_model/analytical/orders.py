"""How an order of dimensions passes from one tensor to another: through a transpose, a reshape, a product."""

from __future__ import annotations

from collections.abc import Sequence

from cost_model.analytical.memory import physical_order
from cost_model.analytical.tensors import Order

_TILED = 2
"""Minor-most dimensions that make up the tiles of a TPU, which is all that its convolutions and dots choose."""


def permuted(order: Order, places: Sequence[int]) -> Order:
    """The same order where the dimensions have other numbers: dimension d becomes `places[d]`."""
    return tuple(places[dimension] for dimension in order)


def inverse(places: Sequence[int]) -> Order:
    """The numbering that undoes `permuted` by `places`."""
    return tuple(sorted(range(len(places)), key=places.__getitem__))


def reshaped(order: Order, source: tuple[int, ...], result: tuple[int, ...], default: Order) -> Order | None:
    """The order that makes a reshape free: the bytes stay where they are.

    Args:
        order: of the tensor that is reshaped.
        source: its dimensions.
        result: the dimensions afterwards.
        default: an order of the result; where its dimensions of size 1 stand.

    Returns:
        The order of the result; None if there is none, because dimensions that are merged or split do not lie side by
        side.
    """
    parts = _common_parts(source, result)
    if parts is None:
        return None
    part_of = {dimension: part for part in parts for dimension in part[0]}
    left = list(physical_order(order, source))
    found: list[int] = []
    while left:
        own, others = part_of[left[0]]
        if left[: len(own)] != own:
            return None
        del left[: len(own)]
        found += others
    return (*found, *(dimension for dimension in default if result[dimension] == 1))


def kept_by_product(asked: Order, default: Order, dimensions: Sequence[int], *, refuses: bool = False) -> Order:
    """The order that a convolution or dot of a TPU has for one of its tensors when another is asked for.

    Two dimensions are minor-most by default, and they stay so; which of them comes first is all that a request changes.
    (Found with libtpu 0.0.52 on v5e: of 703 outputs for which another order was asked, 91 % had the one that this
    says, 32 % the one that was asked for; `python -m benchmarks.forced_layouts`.)

    Args:
        asked: minor to major.
        default: what the compiler takes by itself.
        dimensions: sizes.
        refuses: take the default if other dimensions are minor-most, as where nobody asks but a neighbour has that
            order; otherwise keep the one that may be minor-most in its place.
    """
    usual, wanted = (physical_order(order, dimensions)[:_TILED] for order in (default, asked))
    if len(usual) < _TILED or set(wanted) == set(usual):
        return asked
    first, second = usual
    swapped = wanted[0] == second or (wanted[0] not in usual and wanted[1] == first)
    if refuses or not swapped:
        return default
    return (second, first, *(dimension for dimension in default if dimension not in usual))


def _common_parts(source: tuple[int, ...], result: tuple[int, ...]) -> list[tuple[list[int], list[int]]] | None:
    """Runs of dimensions of equal product, minor-most first in each, without those of size 1."""
    left, right = ([d for d, size in enumerate(shape) if size != 1] for shape in (source, result))
    parts: list[tuple[list[int], list[int]]] = []
    while left and right:
        own, others = [left.pop()], [right.pop()]
        size, other_size = source[own[0]], result[others[0]]
        while size != other_size:
            if size < other_size and left:
                own.append(left.pop())
                size *= source[own[-1]]
            elif size > other_size and right:
                others.append(right.pop())
                other_size *= result[others[-1]]
            else:
                return None
        parts.append((own, others))
    return None if left or right else parts
