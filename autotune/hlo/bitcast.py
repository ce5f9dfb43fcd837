"""What a bitcast computes, as reshapes and transposes.

A bitcast keeps the bytes and changes how they are read: element by element in the order of memory. A layout gives that
order as digits: every dimension is one digit, or several where it is tiled. So the value is: split the operand into its
digits, put them in the order of memory, cut that sequence into the digits of the result, put those in the order of its
dimensions, and join them.

Source of tiling: openxla docs, "Tiled layout"; each level tiles the minor-most dimensions left by the one before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from protos import xla_data_pb2


class Memory(NamedTuple):
    """How an array lies in memory.

    Attributes:
        digits: sizes of the digits, those of dimension 0 first, within a dimension the major one first.
        order: indices into `digits`, from the most major in memory to the most minor.
        elements: elements in memory, padding included.
    """

    digits: tuple[int, ...]
    order: tuple[int, ...]
    elements: int


class Step(NamedTuple):
    """One instruction of the replacement.

    Attributes:
        opcode: "reshape" or "transpose".
        dimensions: of the result.
        permutation: for a transpose: result dimension i is operand dimension permutation[i].
    """

    opcode: str
    dimensions: tuple[int, ...]
    permutation: tuple[int, ...] = ()


class _Digit(NamedTuple):
    dimension: int
    size: int
    stride: int  # in elements of the dimension
    padded: int  # digits in memory, >= size


def memory(shape: xla_data_pb2.ShapeProto, *, tiled: bool = True) -> Memory | None:
    """The digits of an array's layout.

    Args:
        shape: an array; without a layout it is row-major.
        tiled: whether the layout's tiles count.

    Returns:
        None where there are no digits: a dimension larger than its tile that the tile does not divide.
    """
    digits = [_Digit(d, shape.dimensions[d], 1, shape.dimensions[d]) for d in _major_to_minor(shape)]
    for tile in shape.layout.tiles if tiled else ():
        sizes = list(tile.dimensions)
        if any(size < 1 for size in sizes):
            return None  # a tile that joins dimensions (XLA's kCombineDimension)
        # A tile of a higher rank than the array sees leading dimensions of size 1; those only pad.
        padding = math.prod(sizes[: max(0, len(sizes) - len(digits))])
        sizes = sizes[max(0, len(sizes) - len(digits)) :]
        kept, cut = digits[: len(digits) - len(sizes)], digits[len(digits) - len(sizes) :]
        outer, inner = [], []
        for digit, size in zip(cut, sizes, strict=True):
            split = _split(digit, size)
            if split is None:
                return None
            outer.append(split[0])
            inner.append(split[1])
        if padding > 1:
            inner.insert(0, _Digit(-1, 1, 1, padding))
        digits = kept + outer + inner
    elements = math.prod(digit.padded for digit in digits)
    digits = [digit for digit in digits if digit.dimension >= 0]
    by_dimension = sorted(range(len(digits)), key=lambda i: (digits[i].dimension, -digits[i].stride, i))
    place = {index: position for position, index in enumerate(by_dimension)}
    return Memory(
        tuple(digits[index].size for index in by_dimension),
        tuple(place[index] for index in range(len(digits))),
        elements,
    )


def _major_to_minor(shape: xla_data_pb2.ShapeProto) -> list[int]:
    return list(reversed(shape.layout.minor_to_major)) or list(range(len(shape.dimensions)))


def _same_tiling(first: xla_data_pb2.ShapeProto, second: xla_data_pb2.ShapeProto) -> bool:
    """Whether two arrays are cut into tiles alike: then tiles do not matter, not even those that are not full."""

    def cut(shape: xla_data_pb2.ShapeProto) -> tuple[list[int], list[list[int]]]:
        sizes = [shape.dimensions[dimension] for dimension in _major_to_minor(shape)]
        tiles = [list(tile.dimensions) for tile in shape.layout.tiles]
        outside = max(0, len(sizes) - len(tiles[0])) if tiles else 0
        return [size for size in sizes[:outside] if size != 1] + sizes[outside:], tiles

    return cut(first) == cut(second)


def _split(digit: _Digit, size: int) -> tuple[_Digit, _Digit] | None:
    """One digit as (which tile, where in the tile)."""
    inner = _Digit(digit.dimension, min(digit.size, size), digit.stride, size)
    outer = digit._replace(stride=digit.stride * size)
    if digit.size % size == 0 and digit.padded % size == 0:
        return outer._replace(size=digit.size // size, padded=digit.padded // size), inner
    if digit.size <= size:
        # One tile, not full: its elements come in order, and after them padding.
        return outer._replace(size=1, padded=-(-digit.padded // size)), inner
    return None


def steps(operand: xla_data_pb2.ShapeProto, result: xla_data_pb2.ShapeProto) -> list[Step] | None:
    """The reshapes and transposes that compute `bitcast(operand)`.

    Args:
        operand: an array with its layout.
        result: an array of the same element type with its layout.

    Returns:
        The steps, those that change nothing left out; the last has the dimensions of `result`. None if the bitcast
        has no such form.
    """
    if math.prod(operand.dimensions) != math.prod(result.dimensions):
        return None
    if math.prod(result.dimensions) == 1:  # one element, wherever the padding is
        same = operand.dimensions == result.dimensions
        return [] if same else [Step("reshape", tuple(result.dimensions))]
    tiled = not _same_tiling(operand, result)
    before, after = memory(operand, tiled=tiled), memory(result, tiled=tiled)
    if before is None or after is None or before.elements != after.elements:
        return None
    in_memory = tuple(before.digits[index] for index in before.order)
    result_in_memory = tuple(after.digits[index] for index in after.order)
    inverse = tuple(after.order.index(index) for index in range(len(after.order)))
    planned = [
        Step("reshape", before.digits),
        Step("transpose", in_memory, before.order),
        Step("reshape", result_in_memory),
        Step("transpose", after.digits, inverse),
        Step("reshape", tuple(result.dimensions)),
    ]
    needed: list[Step] = []
    dimensions = tuple(operand.dimensions)
    for step in planned:
        if step.opcode == "transpose" and _keeps_order(step.permutation, dimensions):
            step = Step("reshape", step.dimensions)
        if step.opcode == "reshape" and needed and needed[-1].opcode == "reshape":
            needed.pop()
            dimensions = needed[-1].dimensions if needed else tuple(operand.dimensions)
        if step.dimensions != dimensions or step.opcode == "transpose":
            needed.append(step)
            dimensions = step.dimensions
    return needed


def _keeps_order(permutation: tuple[int, ...], dimensions: tuple[int, ...]) -> bool:
    """Whether a transpose moves nothing but dimensions of size 1."""
    moved = [index for index in permutation if dimensions[index] != 1]
    return moved == sorted(moved)
