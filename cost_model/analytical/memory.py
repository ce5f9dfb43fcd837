"""What lies in memory: orders of dimensions, and bytes including padding to hardware tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cost_model.analytical.tensors import Order
from cost_model.devices import DeviceDescription

_SMALLEST_FLAT_TILE = 256
_LARGEST_FLAT_TILE = 1024


def complete_order(decided: Sequence[int], default: Order) -> Order:
    """A full order from a partly decided one: the other dimensions follow as in the default.

    Args:
        decided: the minor-most dimensions; -1 and whatever is no dimension of the tensor is left out.
        default: a full order.

    Returns:
        A full order; the default when nothing is decided.
    """
    known = set(default)
    kept = tuple(dict.fromkeys(dimension for dimension in decided if dimension in known))
    return kept + tuple(dimension for dimension in default if dimension not in kept)


def physical_order(order: Order, dimensions: Sequence[int]) -> Order:
    """The order without dimensions of size 1: two orders that agree in this are the same bytes."""
    return tuple(dimension for dimension in order if dimensions[dimension] != 1)


def same_bytes(first: Order, second: Order, dimensions: Sequence[int]) -> bool:
    """Whether two orders of a tensor lay it out alike."""
    return physical_order(first, dimensions) == physical_order(second, dimensions)


def padded_bytes(dimensions: Sequence[int], order: Order, element_bytes: float, device: DeviceDescription) -> float:
    """Bytes of a tensor in memory.

    On a TPU the two minor-most physical dimensions are padded to tiles of (sublanes, lanes). The tiles of modules that
    XLA:TPU has laid out are T(8,128) for 32 bits, T(8,128)(2,1) for 16 and T(8,128)(4,1) for 8 bits; with few rows the
    tile shrinks to T(4,128), T(2,128), T(1,128) (but holds at least 32 bits of packed rows); vectors have T(256),
    T(512) or T(1024).

    Args:
        dimensions: sizes.
        order: minor to major.
        element_bytes: bytes of an element.
        device: where the tensor lies.

    Returns:
        Bytes; without padding where memory has no tiles.
    """
    elements = float(math.prod(dimensions))
    if device.sublanes == 1 or elements == 0 or element_bytes == 0:
        return elements * element_bytes
    if len(dimensions) < 2:
        tile = min(max(_power_of_two(elements), _SMALLEST_FLAT_TILE), _LARGEST_FLAT_TILE)
        return _round_up(elements, tile) * element_bytes
    minor, second = dimensions[order[0]], dimensions[order[1]]
    packed = max(1, int(4 // element_bytes))
    rows = min(max(_power_of_two(second), packed), device.sublanes)
    return elements / (minor * second) * _round_up(minor, device.lanes) * _round_up(second, rows) * element_bytes


def _round_up(size: float, multiple: int) -> float:
    return math.ceil(size / multiple) * multiple


def _power_of_two(size: float) -> int:
    """The smallest power of two that is not below a size."""
    return 1 << max(0, math.ceil(size) - 1).bit_length()
