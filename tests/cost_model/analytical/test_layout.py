from __future__ import annotations

import numpy as np
import pytest

from cost_model import ProgramGraph
from cost_model.analytical.layout import LayoutCosts
from cost_model.analytical.tensors import GraphTensors
from cost_model.devices import DeviceDescription
from tests.cost_model.analytical.devices import CPU, TPU
from tests.cost_model.graphs import Node, layout_configs, make_graph

OUTPUT, FIRST, SECOND = 0, 1, 2
DOT, RESHAPE = 0, 1
ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)


def _chain() -> ProgramGraph:
    """A dot of [16, 256] and [256, 128], an element-wise instruction, and a reshape of its result."""
    return make_graph(
        Node("parameter", (16, 256)),
        Node("parameter", (256, 128)),
        Node("dot", (16, 128), (0, 1)),
        Node("tanh", (16, 128), (2,)),
        Node("reshape", (2048,), (3,), root=True),
    )


def _seconds(
    graph: ProgramGraph, device: DeviceDescription, *configs: dict[tuple[int, int], tuple[int, ...]]
) -> list[float]:
    seconds = LayoutCosts(GraphTensors(graph), device).seconds(layout_configs(graph, *configs))
    return [float(value) for value in seconds]


# ---- CPU: every unusual order is a copy in and a copy out -----------------------------------------------------------


def test_cpu_counts_round_trips() -> None:
    costs = _seconds(
        _chain(),
        CPU,
        {},
        {(DOT, FIRST): ROW_MAJOR, (DOT, SECOND): ROW_MAJOR, (DOT, OUTPUT): ROW_MAJOR},
        {(DOT, FIRST): COLUMN_MAJOR},
        {(DOT, SECOND): COLUMN_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR},
        {(DOT, OUTPUT): COLUMN_MAJOR},
        {(RESHAPE, OUTPUT): (0,)},
    )
    # Two copies, each reading and writing: 4 * bytes / 10. The tensors have 16,384, 131,072 and 8,192 bytes.
    first, second, output = 4 * 16_384 / 10, 4 * 131_072 / 10, 4 * 8_192 / 10
    assert costs == pytest.approx([0, 0, first, second + output, output, 0])


def test_cpu_copies_that_keep_the_minor_dimension_are_cheaper() -> None:
    graph = make_graph(Node("parameter", (2, 3, 4)), Node("reshape", (24,), (0,), root=True))
    keeps, changes = _seconds(graph, CPU, {(0, FIRST): (2, 0, 1)}, {(0, FIRST): (1, 2, 0)})
    assert keeps == pytest.approx(0.25 * 4 * 96 / 10)
    assert changes == pytest.approx(4 * 96 / 10)


def test_cpu_ignores_the_order_in_the_program() -> None:
    # Frameworks write a transpose as a change of order; XLA:CPU makes it row-major again.
    graph = make_graph(Node("parameter", (2, 4), order=COLUMN_MAJOR), Node("reshape", (8,), (0,), root=True))
    assert _seconds(graph, CPU, {(0, FIRST): ROW_MAJOR}, {(0, FIRST): COLUMN_MAJOR}) == pytest.approx([0, 12.8])


def test_dimensions_of_size_one_do_not_matter() -> None:
    graph = make_graph(Node("parameter", (5, 1, 4)), Node("reshape", (20,), (0,), root=True))
    assert _seconds(graph, CPU, {(0, FIRST): (2, 0, 1)}, {(0, FIRST): (1, 2, 0)}) == [0, 0]


# ---- TPU: neighbours follow ------------------------------------------------------------------------------------------

# Padded bytes of [16, 128] in float32: 16 * 128 * 4 row-major; 128 * 128 * 4 with the 16 along the lanes.
ROWS, COLUMNS = 8_192, 65_536


def test_tpu_undecided_follows() -> None:
    row_major, column_major, consumer = _seconds(
        _chain(),
        TPU,
        {(DOT, OUTPUT): ROW_MAJOR},
        {(DOT, OUTPUT): COLUMN_MAJOR},
        {(RESHAPE, FIRST): COLUMN_MAJOR},
    )
    assert row_major == 0
    assert column_major == COLUMNS - ROWS  # no copy, only padding
    assert consumer == COLUMNS - ROWS


def test_tpu_copies_where_two_decisions_meet() -> None:
    agree, differ = _seconds(
        _chain(),
        TPU,
        {(DOT, OUTPUT): COLUMN_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR},
        {(DOT, OUTPUT): ROW_MAJOR, (RESHAPE, FIRST): COLUMN_MAJOR},
    )
    assert agree == 2 * (COLUMNS - ROWS)
    assert differ == (COLUMNS - ROWS) + (ROWS + COLUMNS)  # padding of one use; one copy reads and writes


def test_tpu_arguments_are_fixed() -> None:
    row_major, column_major = _seconds(_chain(), TPU, {(DOT, FIRST): ROW_MAJOR}, {(DOT, FIRST): COLUMN_MAJOR})
    # [16, 256]: 16 * 256 * 4 bytes row-major, 128 * 256 * 4 with the 16 along the lanes.
    assert row_major == 0
    assert column_major == (131_072 - 16_384) + (131_072 + 16_384)


def test_tpu_takes_the_order_that_needs_the_fewest_copies() -> None:
    graph = make_graph(
        Node("parameter", (128, 128)),
        Node("dot", (128, 128), (0,)),
        Node("tanh", (128, 128), (1,)),
        Node("reshape", (16_384,), (2,)),
        Node("reshape", (16_384,), (2,), root=True),
    )
    size = 128 * 128 * 4
    one, tie, three = _seconds(
        graph,
        TPU,
        {(0, OUTPUT): ROW_MAJOR, (1, FIRST): COLUMN_MAJOR, (2, FIRST): COLUMN_MAJOR},
        {(1, FIRST): COLUMN_MAJOR, (2, FIRST): ROW_MAJOR},
        {(0, OUTPUT): COLUMN_MAJOR, (1, FIRST): COLUMN_MAJOR, (2, FIRST): COLUMN_MAJOR},
    )
    assert (one, tie, three) == (2 * size, 2 * size, 0)


def test_tpu_partly_decided_orders_are_completed_from_the_default() -> None:
    graph = make_graph(Node("parameter", (8, 16, 128)), Node("reshape", (16_384,), (0,), root=True))
    partly, fully = _seconds(graph, TPU, {(0, FIRST): (1, 2)}, {(0, FIRST): (1, 2, 0)})
    assert partly == fully > 0
    assert _seconds(graph, TPU, {(0, FIRST): (2, 1)}) == [0]


def test_no_config_and_no_configurable_node() -> None:
    assert _seconds(_chain(), TPU) == []
    graph = make_graph(Node("parameter", (4,)), Node("negate", (4,), (0,), root=True))
    costs = LayoutCosts(GraphTensors(graph), TPU).seconds(layout_configs(graph, {}, {}))
    assert np.array_equal(costs, [0, 0])
