from __future__ import annotations

import itertools

import numpy as np
import pytest

from cost_model.analytical.orders import inverse, kept_by_product, permuted, reshaped


def test_permuted_and_back() -> None:
    places = (2, 0, 1)
    for order in itertools.permutations(range(3)):
        assert permuted(permuted(order, places), inverse(places)) == order
    assert permuted((2, 1, 0), places) == (1, 0, 2)


@pytest.mark.parametrize(
    ("order", "source", "result", "expected"),
    [
        ((1, 0), (4, 6), (4, 2, 3), (2, 1, 0)),  # split
        ((0, 1), (4, 6), (4, 2, 3), (0, 2, 1)),
        ((2, 1, 0), (4, 2, 3), (4, 6), (1, 0)),  # merged
        ((0, 2, 1), (4, 2, 3), (4, 6), (0, 1)),
        ((1, 2, 0), (4, 2, 3), (4, 6), None),  # 2 and 3 lie side by side, but the wrong way round
        ((2, 0, 1), (4, 2, 3), (4, 6), None),
        ((1, 0), (4, 6), (6, 4), (1, 0)),  # all of it together
        ((0, 1), (4, 6), (6, 4), None),
        ((1, 0), (4, 6), (24,), (0,)),
        ((0, 1), (4, 6), (24,), None),
        ((2, 1, 0), (4, 1, 6), (4, 6), (1, 0)),  # sizes of 1 come and go
        ((1, 0), (4, 6), (4, 6, 1), (1, 0, 2)),
        ((1, 0), (4, 6), (1, 4, 6), (2, 1, 0)),
    ],
)
def test_reshapes_that_move_nothing(
    order: tuple[int, ...], source: tuple[int, ...], result: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    default = tuple(reversed(range(len(result))))
    assert reshaped(order, source, result, default) == expected
    if expected is not None:
        _assert_same_bytes(order, source, expected, result)


def _assert_same_bytes(
    order: tuple[int, ...], source: tuple[int, ...], other: tuple[int, ...], result: tuple[int, ...]
) -> None:
    """What numpy finds in memory for the two orders is the same sequence of elements."""
    values = np.arange(np.prod(source)).reshape(source)
    before = values.transpose(order[::-1]).reshape(-1)
    after = values.reshape(result).transpose(other[::-1]).reshape(-1)
    assert np.array_equal(before, after)


def test_reshape_puts_sizes_of_one_where_the_default_has_them() -> None:
    assert reshaped((1, 0), (4, 6), (4, 1, 6), (1, 2, 0)) == (2, 0, 1)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ((2, 1, 0), (2, 1, 0)),
        ((1, 2, 0), (1, 2, 0)),  # the two minor-most swapped
        ((2, 0, 1), (2, 1, 0)),  # 2 may be minor-most, 0 not the next
        ((0, 2, 1), (1, 2, 0)),  # 2 may stand second, and then 1 is minor-most
        ((1, 0, 2), (1, 2, 0)),
        ((0, 1, 2), (2, 1, 0)),
    ],
)
def test_products_keep_their_two_minor_dimensions(asked: tuple[int, ...], kept: tuple[int, ...]) -> None:
    default, dimensions = (2, 1, 0), (4, 8, 16)
    assert kept_by_product(asked, default, dimensions) == kept
    refused = asked if set(asked[:2]) == {1, 2} else default
    assert kept_by_product(asked, default, dimensions, refuses=True) == refused


def test_products_do_not_count_dimensions_of_size_one() -> None:
    assert kept_by_product((1, 2, 0), (2, 1, 0), (8, 1, 16)) == (1, 2, 0)  # 2, then 0, as by default
    assert kept_by_product((0, 1, 2), (2, 1, 0), (8, 1, 16)) == (0, 1, 2)
    assert kept_by_product((0, 1), (1, 0), (1, 16)) == (0, 1)
