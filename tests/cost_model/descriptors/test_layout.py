"""Descriptors of layouts, against programs small enough to describe by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from cost_model import ProgramGraph
from cost_model.descriptors.base import Descriptors
from cost_model.descriptors.layout import ITEM_COLUMNS, SUMMARY_COLUMNS, LayoutDescriber
from tests.cost_model.analytical.devices import TPU
from tests.cost_model.graphs import Node, layout_configs, make_graph

OUTPUT, FIRST, SECOND = 0, 1, 2
DOT, RESHAPE = 0, 1
ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)


def _chain(default: tuple[int, ...] = ROW_MAJOR) -> ProgramGraph:
    """A dot of [16, 256] and [256, 128], an element-wise instruction, and a reshape of its result."""
    return make_graph(
        Node("parameter", (16, 256), order=ROW_MAJOR),
        Node("parameter", (256, 128), order=ROW_MAJOR),
        Node("dot", (16, 128), (0, 1), order=default),
        Node("tanh", (16, 128), (2,), order=default),
        Node("reshape", (2048,), (3,), root=True, order=(0,)),
    )


def _describe(graph: ProgramGraph, *configs: Mapping[tuple[int, int], tuple[int, ...]]) -> Descriptors:
    return LayoutDescriber(graph, TPU).describe(layout_configs(graph, *configs))


def _items(described: Descriptors, *names: str) -> list[list[float]]:
    rows: list[list[float]] = described.items[described.decisions][
        :, [ITEM_COLUMNS.index(name) for name in names]
    ].tolist()
    return rows


def _summary(described: Descriptors, name: str) -> list[float]:
    values: list[float] = described.summary[:, SUMMARY_COLUMNS.index(name)].tolist()
    return values


def test_an_item_per_decided_tensor() -> None:
    described = _describe(
        _chain(), {}, {(DOT, OUTPUT): COLUMN_MAJOR}, {(DOT, FIRST): ROW_MAJOR, (RESHAPE, FIRST): ROW_MAJOR}
    )
    assert described.owner.tolist() == [1, 2, 2]
    kinds = _items(described, "dot_output", "dot_first", "dot_second", "reshape_first")
    assert kinds == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert _summary(described, "log_decided") == pytest.approx(np.log1p([0, 1, 2]).tolist())


def test_orders_are_compared_with_the_default() -> None:
    asked = {(DOT, OUTPUT): COLUMN_MAJOR}
    names = ("changed", "minor_changed", "log_padding")
    # [16, 128] in float32: 16 * 128 * 4 bytes row-major, 128 * 128 * 4 with the 16 along the lanes.
    assert _items(_describe(_chain(), asked), *names) == [[1, 1, 3]]
    assert _items(_describe(_chain(COLUMN_MAJOR), asked), *names) == [[0, 0, 0]]
    assert _summary(_describe(_chain(), asked), "log_changed") == pytest.approx([np.log(2)])
    assert _summary(_describe(_chain(COLUMN_MAJOR), asked), "log_changed") == [0]


def test_dimensions_go_by_their_role() -> None:
    described = _describe(_chain(), {(DOT, FIRST): COLUMN_MAJOR}, {(DOT, SECOND): COLUMN_MAJOR})
    names = ("asked_minor_kept", "asked_minor_contracted", "default_minor_kept", "default_minor_contracted")
    # [m, k]: m is kept and k contracted; [k, n]: the other way round.
    assert _items(described, *names) == [[1, 0, 0, 1], [0, 1, 1, 0]]


def test_requests_of_a_region_are_compared() -> None:
    names = ("neighbour_agrees", "neighbour_disagrees", "last_of_region")
    agree = _describe(_chain(), {(DOT, OUTPUT): COLUMN_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR})
    assert _items(agree, *names) == [[1, 0, 0], [1, 0, 1]]
    differ = _describe(_chain(), {(DOT, OUTPUT): ROW_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR})
    assert _items(differ, *names) == [[0, 1, 0], [0, 1, 1]]
    assert _items(_describe(_chain(), {(DOT, FIRST): ROW_MAJOR}), *names) == [[0, 0, 1]]


def test_regions_are_described() -> None:
    names = ("region_size", "region_has_parameter")
    alone, with_others = _items(
        _describe(_chain(), {(DOT, FIRST): COLUMN_MAJOR}, {(DOT, OUTPUT): COLUMN_MAJOR}), *names
    )
    assert alone == [0, 0]  # an argument has an order of its own
    assert with_others == [0.25, 0]
    graph = make_graph(
        Node("parameter", (16, 128), order=ROW_MAJOR),
        Node("tanh", (16, 128), (0,), order=ROW_MAJOR),
        Node("reshape", (2048,), (1,), root=True, order=(0,)),
    )
    assert _items(_describe(graph, {(0, FIRST): COLUMN_MAJOR}), *names) == [[0.25, 1]]


def test_how_far_an_order_spreads() -> None:
    asked, default = _items(
        _describe(_chain(), {(DOT, OUTPUT): COLUMN_MAJOR}, {(DOT, OUTPUT): ROW_MAJOR}),
        *("spread_share", "log_spread_share", "refused"),
    )
    # The element-wise instruction writes 128 * 128 * 4 bytes instead of 16 * 128 * 4. The program moves the arguments,
    # which the dot reads once more, the dot's output, and reads and writes of the two that follow.
    arguments, output = 4 * (16 * 256 + 256 * 128), 4 * 16 * 128
    share = (65_536 - output) / (2 * arguments + output + 4 * output)
    assert asked == pytest.approx([share, 1 + np.log10(share) / 6, 0], rel=1e-4)
    assert default == [0, 0, 0]


def test_what_a_dot_refuses() -> None:
    graph = make_graph(
        Node("broadcast", (8, 16, 128), (), order=(2, 1, 0)),
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("dot", (8, 16, 128), (0, 1), order=(2, 1, 0), root=True),
    )
    described = _describe(graph, {(0, FIRST): (1, 2, 0)}, {(0, FIRST): (0, 2, 1)}, {(0, OUTPUT): (2, 0, 1)})
    assert _items(described, "refused") == [[0], [1], [1]]


def test_a_config_does_not_depend_on_the_others() -> None:
    graph = _chain()
    configs = [
        {(DOT, OUTPUT): COLUMN_MAJOR, (RESHAPE, FIRST): ROW_MAJOR},
        {},
        {(DOT, FIRST): COLUMN_MAJOR, (DOT, SECOND): ROW_MAJOR},
        {(DOT, OUTPUT): ROW_MAJOR},
    ]
    together = _describe(graph, *configs)
    for number, config in enumerate(configs):
        alone, taken = _describe(graph, config), together.take(np.array([number]))
        for name in ("items", "shares"):
            decided = [getattr(each, name)[each.decisions] for each in (alone, taken)]
            np.testing.assert_array_equal(*decided)
        np.testing.assert_array_equal(alone.offsets, taken.offsets)
        np.testing.assert_allclose(alone.summary, taken.summary, rtol=1e-6)


def test_equal_decisions_are_described_once() -> None:
    described = _describe(_chain(), *[{(DOT, OUTPUT): COLUMN_MAJOR, (DOT, FIRST): ROW_MAJOR}] * 5)
    assert len(described.items) == 2
    assert described.decisions.tolist() == [0, 1] * 5 or described.decisions.tolist() == [1, 0] * 5


def test_take_in_any_order() -> None:
    described = _describe(_chain(), {(DOT, OUTPUT): ROW_MAJOR}, {(DOT, FIRST): ROW_MAJOR, (DOT, SECOND): ROW_MAJOR}, {})
    taken = described.take(np.array([2, 1, 0, 1]))
    assert taken.owner.tolist() == [1, 1, 2, 3, 3]
    assert _items(taken, "dot_output") == [[0], [0], [1], [0], [0]]
    assert len(described.take(np.zeros(0, np.int64))) == 0
