"""Bitcasts against a second implementation: the address of every element, worked out one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.hlo import bitcast
from autotune.hlo.bitcast import Step
from protos import xla_data_pb2

Tiles = tuple[tuple[int, ...], ...]


def _shape(dimensions: tuple[int, ...], minor_to_major: tuple[int, ...], tiles: Tiles = ()) -> xla_data_pb2.ShapeProto:
    shape = xla_data_pb2.ShapeProto(element_type=xla_data_pb2.F32, dimensions=dimensions)
    shape.layout.minor_to_major[:] = minor_to_major
    for tile in tiles:
        shape.layout.tiles.add(dimensions=tile)
    return shape


def _addresses(shape: xla_data_pb2.ShapeProto) -> dict[int, tuple[int, ...]]:
    """Address in memory -> index of the element there, by the rules of openxla's "Tiled layout"."""
    found = {}
    for index in itertools.product(*(range(size) for size in shape.dimensions)):
        sizes = [shape.dimensions[d] for d in reversed(shape.layout.minor_to_major)]
        place = [index[d] for d in reversed(shape.layout.minor_to_major)]
        for tile in shape.layout.tiles:
            missing = max(0, len(tile.dimensions) - len(sizes))
            sizes, place = [1] * missing + sizes, [0] * missing + place
            first = len(sizes) - len(tile.dimensions)
            cut = list(zip(sizes[first:], place[first:], tile.dimensions, strict=True))
            sizes = sizes[:first] + [-(-size // t) for size, _, t in cut] + list(tile.dimensions)
            place = place[:first] + [p // t for _, p, t in cut] + [p % t for _, p, t in cut]
        found[int(np.ravel_multi_index(place, sizes)) if sizes else 0] = index
    return found


def _apply(steps: list[Step], value: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> object:
    for step in steps:
        value = value.reshape(step.dimensions) if step.opcode == "reshape" else value.transpose(step.permutation)
        assert value.shape == step.dimensions
    return value


def _check(operand: xla_data_pb2.ShapeProto, result: xla_data_pb2.ShapeProto, steps: list[Step]) -> None:
    value = np.arange(math.prod(operand.dimensions)).reshape(tuple(operand.dimensions))
    before, after = _addresses(operand), _addresses(result)
    expected = np.empty(tuple(result.dimensions), np.int64)
    for address, index in after.items():
        expected[index] = value[before[address]]
    np.testing.assert_array_equal(_apply(steps, value), expected)


@pytest.mark.parametrize(
    ("operand", "result", "opcodes"),
    [
        # untiled: a reshape, a transpose, nothing, all three
        (_shape((4, 6), (1, 0)), _shape((24,), (0,)), "reshape"),
        (_shape((4, 6), (1, 0)), _shape((6, 4), (0, 1)), "transpose"),
        (_shape((4, 6), (1, 0)), _shape((4, 6), (1, 0)), ""),
        (_shape((4, 6), (0, 1)), _shape((3, 8), (0, 1)), "transpose reshape transpose"),
        (_shape((2, 3, 4), (0, 2, 1)), _shape((4, 6), (0, 1)), "transpose reshape transpose"),
        (_shape((), ()), _shape((1, 1), (1, 0)), "reshape"),
        # a dimension of size 1 may stand anywhere
        (_shape((4, 1, 6), (2, 1, 0)), _shape((1, 4, 6), (2, 0, 1)), "reshape"),
        # full tiles: 16 x 256 as rows of 8 x 128 blocks is [2, 2, 8, 128] in memory
        (
            _shape((16, 256), (1, 0), ((8, 128),)),
            _shape((2, 2, 8, 128), (3, 2, 1, 0), ((8, 128),)),
            "reshape transpose",
        ),
        (_shape((8, 128), (1, 0), ((8, 128),)), _shape((1024,), (0,), ((1024,),)), "reshape"),
        (_shape((16, 256), (1, 0), ((8, 128), (2, 1))), _shape((256, 16), (0, 1), ((8, 128), (2, 1))), "transpose"),
        # tiles that are not full, cut alike on both sides
        (_shape((12, 192), (1, 0), ((8, 128),)), _shape((192, 12), (0, 1), ((8, 128),)), "transpose"),
        (_shape((5, 12, 192), (2, 1, 0), ((8, 128),)), _shape((5, 1, 12, 192), (3, 2, 1, 0), ((8, 128),)), "reshape"),
        # one tile that is not full: its elements come in order
        (_shape((128,), (0,), ((256,),)), _shape((1, 128), (1, 0), ((2, 128),)), "reshape"),
    ],
)
def test_by_hand(operand: xla_data_pb2.ShapeProto, result: xla_data_pb2.ShapeProto, opcodes: str) -> None:
    steps = bitcast.steps(operand, result)
    assert steps is not None
    assert " ".join(step.opcode for step in steps) == opcodes
    _check(operand, result, steps)


@pytest.mark.parametrize(
    ("operand", "result"),
    [
        # 12 rows in tiles of 8 leave a gap in the middle of memory
        (_shape((12, 256), (1, 0), ((8, 128),)), _shape((3072,), (0,))),
        # 1024 elements in memory against 2048
        (_shape((4, 128), (1, 0), ((8, 128),)), _shape((512,), (0,), ((2048,),))),
        (_shape((4, 6), (1, 0)), _shape((5, 5), (1, 0))),
        # a tile that joins two dimensions
        (_shape((4, 6), (1, 0), ((-(2**63), 8),)), _shape((24,), (0,))),
    ],
)
def test_what_has_no_such_form(operand: xla_data_pb2.ShapeProto, result: xla_data_pb2.ShapeProto) -> None:
    assert bitcast.steps(operand, result) is None


_TILES: tuple[Tiles, ...] = ((), ((2,),), ((2, 3),), ((4, 2),), ((4, 2), (2, 1)), ((8,),), ((2, 4), (2, 2)))


@st.composite
def _arrays(draw: st.DrawFn) -> xla_data_pb2.ShapeProto:
    dimensions = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8]), min_size=1, max_size=3)))
    order = tuple(draw(st.permutations(range(len(dimensions)))))
    return _shape(dimensions, order, draw(st.sampled_from(_TILES)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(operand=_arrays(), result=_arrays())
def test_against_addresses(operand: xla_data_pb2.ShapeProto, result: xla_data_pb2.ShapeProto) -> None:
    for second in (operand, result):  # an array is always a bitcast of itself, two arrays seldom are
        steps = bitcast.steps(operand, second)
        if steps is not None and _addresses(operand).keys() == _addresses(second).keys():
            _check(operand, second, steps)
