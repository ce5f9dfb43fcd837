from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from cost_model import ProgramGraph
from cost_model.analytical.layout_tpu import FollowedLayouts
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.analytical.devices import TPU
from tests.cost_model.graphs import Node, layout_configs, make_graph

OUTPUT, FIRST, SECOND = 0, 1, 2
DOT, RESHAPE = 0, 1
ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)

ROWS, COLUMNS = 8_192, 65_536
MOVED = COLUMNS + ROWS
"""Padded bytes of [16, 128] in float32: 16 * 128 * 4 row-major; 128 * 128 * 4 with the 16 along the lanes.
A copy reads the one and writes the other; [2048] has as many as [16, 128] row-major."""


def _seconds(graph: ProgramGraph, *configs: Mapping[tuple[int, int], tuple[int, ...]]) -> list[float]:
    """One byte takes one second."""
    seconds = FollowedLayouts(GraphTensors(graph), TPU).seconds(layout_configs(graph, *configs))
    return [float(value) for value in seconds]


def _chain(element_wise: int = 1) -> ProgramGraph:
    """A dot of [16, 256] and [256, 128], element-wise instructions, and a reshape of the result."""
    return make_graph(
        Node("parameter", (16, 256), order=ROW_MAJOR),
        Node("parameter", (256, 128), order=ROW_MAJOR),
        Node("dot", (16, 128), (0, 1), order=ROW_MAJOR),
        *(Node("tanh", (16, 128), (2 + number,), order=ROW_MAJOR) for number in range(element_wise)),
        Node("reshape", (2048,), (2 + element_wise,), root=True),
    )


def test_the_default_costs_nothing() -> None:
    same = {(DOT, FIRST): ROW_MAJOR, (DOT, OUTPUT): ROW_MAJOR, (RESHAPE, FIRST): ROW_MAJOR}
    assert _seconds(_chain(), {}, same) == [0, 0]
    assert _seconds(_chain()) == []


@pytest.mark.parametrize("element_wise", [1, 2, 5])
def test_padding_spreads_to_all_that_follow(element_wise: int) -> None:
    output, consumer = _seconds(_chain(element_wise), {(DOT, OUTPUT): COLUMN_MAJOR}, {(RESHAPE, FIRST): COLUMN_MAJOR})
    # The dot swaps its dimensions; the reshape to a vector has to move the data.
    assert output == (1 + element_wise) * (COLUMNS - ROWS) + MOVED
    # The dot does not follow a neighbour: its output is copied.
    assert consumer == element_wise * (COLUMNS - ROWS) + MOVED + MOVED


def test_orders_that_meet_are_copied() -> None:
    agree, differ = _seconds(
        _chain(),
        {(DOT, OUTPUT): COLUMN_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR},
        {(DOT, OUTPUT): COLUMN_MAJOR, (RESHAPE, FIRST): ROW_MAJOR},
    )
    assert agree == 2 * (COLUMNS - ROWS) + MOVED
    # The later request wins the region, so the dot's output is copied into the order that was there by default.
    assert differ == (COLUMNS - ROWS) + MOVED


def test_what_reads_an_argument_needs_no_copy_of_it() -> None:
    assert _seconds(_chain(), {(DOT, FIRST): COLUMN_MAJOR}, {(DOT, SECOND): COLUMN_MAJOR}) == [0, 0]


def _batched(default: tuple[int, ...] = (2, 1, 0)) -> ProgramGraph:
    """[8, 16, 128] times [128, 128], whose first operand is computed."""
    return make_graph(
        Node("broadcast", (8, 16, 128), (), order=(2, 1, 0)),
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("dot", (8, 16, 128), (0, 1), order=default, root=True),
    )


def test_a_dot_copies_what_it_refuses() -> None:
    rows, others = 8 * 16 * 128 * 4, 16 * 8 * 128 * 4
    swapped, refused, elsewhere = _seconds(
        _batched(), {(DOT, FIRST): (1, 2, 0)}, {(DOT, FIRST): (2, 0, 1)}, {(DOT, OUTPUT): (2, 0, 1)}
    )
    in_lanes = 8 * 128 * 128 * 4  # with the 16 along the lanes
    assert swapped == in_lanes - rows  # only what is computed is padded more
    assert refused == (others - rows) + 0.5 * (others + rows)
    # The dot keeps its own order: its output is copied, and copied back, as the program returns it.
    assert elsewhere == 2 * (rows + others)


def test_an_undecided_dot_copies_an_operand_whose_order_it_does_not_take() -> None:
    graph = make_graph(
        Node("broadcast", (8, 16, 128), (), order=(2, 1, 0)),
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("dot", (8, 16, 128), (0, 1), order=(2, 1, 0)),
        Node("dot", (8, 16, 128), (0, 1), order=(2, 1, 0)),
        Node("add", (8, 16, 128), (2, 3), order=(2, 1, 0), root=True),
    )
    rows = others = 8 * 16 * 128 * 4
    (refused,) = _seconds(graph, {(1, FIRST): (2, 0, 1)})
    assert refused == 2 * 0.5 * (others + rows)  # the other dot, too


def test_a_reshape_that_moves_nothing_passes_an_order_on() -> None:
    graph = make_graph(
        Node("broadcast", (16, 128), (), order=ROW_MAJOR),
        Node("reshape", (16, 8, 16), (0,), order=(2, 1, 0)),
        Node("negate", (16, 8, 16), (1,), order=(2, 1, 0)),
        Node("reduce", (), (2,), root=True),
    )
    asked, wrong = _seconds(graph, {(0, FIRST): COLUMN_MAJOR}, {(0, OUTPUT): (1, 2, 0)})
    # [16, 8, 16]: 16 * 8 * 128 * 4 bytes row-major; 8 * 16 * 128 * 4 with the first dimension along the lanes.
    before, after = 16 * 8 * 128 * 4, 8 * 16 * 128 * 4
    assert asked == (COLUMNS - ROWS) + (after - before)
    # No order of the operand goes with it, so data is moved once, and negated in another order.
    other = 16 * 16 * 128 * 4
    assert wrong == (other - before) + (ROWS + before)


def test_later_requests_win_a_region() -> None:
    graph = make_graph(
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("dot", (128, 128), (0,), order=ROW_MAJOR),
        Node("tanh", (128, 128), (1,), order=ROW_MAJOR),
        Node("reshape", (16_384,), (2,)),
        Node("reshape", (16_384,), (2,), root=True),
    )
    size = 128 * 128 * 4
    both, first, last = _seconds(
        graph,
        {(1, FIRST): COLUMN_MAJOR, (2, FIRST): COLUMN_MAJOR},
        {(1, FIRST): COLUMN_MAJOR, (2, FIRST): ROW_MAJOR},
        {(1, FIRST): ROW_MAJOR, (2, FIRST): COLUMN_MAJOR},
    )
    copy = 2 * size
    assert both == copy + 2 * copy  # of the dot's output, and both reshapes move data
    assert first == 2 * copy  # of what the first reshape reads, which moves data then
    assert last == 3 * copy  # of the dot's output, of what the first reshape reads, and the second moves data


def test_arguments_have_an_order_of_their_own() -> None:
    graph = make_graph(
        Node("parameter", (16, 128), order=ROW_MAJOR),
        Node("tanh", (16, 128), (0,), order=ROW_MAJOR),
        Node("reshape", (2048,), (1,), root=True),
    )
    assert _seconds(graph, {(0, FIRST): COLUMN_MAJOR}) == [(COLUMNS - ROWS) + MOVED + MOVED]


def test_results_have_an_order_of_their_own() -> None:
    graph = make_graph(
        Node("broadcast", (16, 128), (), order=ROW_MAJOR),
        Node("reshape", (16, 128), (0,), order=ROW_MAJOR),
        Node("negate", (16, 128), (1,), order=ROW_MAJOR),
        Node("tuple", (), (2,), element_type="TUPLE", root=True),
    )
    assert _seconds(graph, {(0, OUTPUT): COLUMN_MAJOR}) == [2 * (COLUMNS - ROWS) + MOVED]


def test_what_the_default_copies_may_be_saved() -> None:
    graph = make_graph(
        Node("parameter", (128, 128), order=COLUMN_MAJOR),
        Node("tanh", (128, 128), (0,), order=ROW_MAJOR),
        Node("reshape", (1, 128, 128), (1,), order=(2, 1, 0)),
        Node("reduce", (), (2,), root=True),
    )
    size = 128 * 128 * 4
    assert _seconds(graph, {(0, FIRST): COLUMN_MAJOR}, {(0, FIRST): ROW_MAJOR}) == [-2 * size, 0]


def test_partly_decided_orders_are_completed_from_the_default() -> None:
    graph = make_graph(
        Node("broadcast", (8, 16, 128), (), order=(2, 1, 0)), Node("reshape", (16_384,), (0,), root=True)
    )
    partly, fully, default = _seconds(graph, {(0, FIRST): (1, 2)}, {(0, FIRST): (1, 2, 0)}, {(0, FIRST): (2, 1)})
    assert partly == fully > 0
    assert default == 0


def test_configs_are_independent_of_each_other() -> None:
    graph = _chain(3)
    rng = np.random.default_rng(0)
    places = [(DOT, OUTPUT), (DOT, FIRST), (DOT, SECOND), (RESHAPE, FIRST)]
    configs: list[dict[tuple[int, int], tuple[int, ...]]] = [
        {place: (ROW_MAJOR, COLUMN_MAJOR)[choice] for place, choice in zip(places, choices, strict=True) if choice < 2}
        for choices in itertools.islice((rng.integers(3, size=4).tolist() for _ in itertools.count()), 40)
    ]
    assert _seconds(graph, *configs) == [_seconds(graph, config)[0] for config in configs]


def test_no_configurable_node() -> None:
    graph = make_graph(Node("parameter", (4, 4)), Node("negate", (4, 4), (0,), root=True))
    assert _seconds(graph, {}, {}) == [0, 0]


def test_what_a_config_changes() -> None:
    layouts = FollowedLayouts(GraphTensors(_chain(2)), TPU)
    configs = layout_configs(
        _chain(2), {}, {(DOT, OUTPUT): COLUMN_MAJOR}, {(RESHAPE, FIRST): COLUMN_MAJOR}, {(DOT, OUTPUT): ROW_MAJOR}
    )
    default, output, consumer, same = layouts.changed(configs)
    assert (default, same) == ({}, {})
    assert output == dict.fromkeys((2, 3, 4), COLUMN_MAJOR)
    assert consumer == dict.fromkeys((3, 4), COLUMN_MAJOR)


def test_a_fusion_reads_in_the_order_of_its_parameter() -> None:
    graph = make_graph(
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("gather", (64, 128), (0,), order=ROW_MAJOR, root=True),
        Node("parameter", (128, 128), order=ROW_MAJOR),
        Node("dot", (128, 128), (2,), order=COLUMN_MAJOR),
        Node("fusion", (64, 128), (3,), (1,), order=ROW_MAJOR),
        Node("tanh", (64, 128), (4,), order=COLUMN_MAJOR),
        Node("reduce", (), (5,), root=True),
    )
    copy = 2 * 128 * 128 * 4
    # By default the dot's output is copied for the fusion, and the fusion's for what reads it.
    assert _seconds(graph, {(0, OUTPUT): ROW_MAJOR}, {(0, OUTPUT): COLUMN_MAJOR}) == [-copy, 0]
