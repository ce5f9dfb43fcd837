from __future__ import annotations

import pytest

from cost_model import ProgramGraph
from cost_model.analytical.layout_cpu import RoundTrips
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.analytical.devices import CPU
from tests.cost_model.graphs import Node, layout_configs, make_graph

OUTPUT, FIRST, SECOND = 0, 1, 2
DOT, RESHAPE = 0, 1
ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)


def _seconds(graph: ProgramGraph, *configs: dict[tuple[int, int], tuple[int, ...]]) -> list[float]:
    return [float(value) for value in RoundTrips(GraphTensors(graph), CPU).seconds(layout_configs(graph, *configs))]


def test_cpu_counts_round_trips() -> None:
    costs = _seconds(
        make_graph(
            Node("parameter", (16, 256)),
            Node("parameter", (256, 128)),
            Node("dot", (16, 128), (0, 1)),
            Node("tanh", (16, 128), (2,)),
            Node("reshape", (2048,), (3,), root=True),
        ),
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
    keeps, changes = _seconds(graph, {(0, FIRST): (2, 0, 1)}, {(0, FIRST): (1, 2, 0)})
    assert keeps == pytest.approx(0.25 * 4 * 96 / 10)
    assert changes == pytest.approx(4 * 96 / 10)


def test_cpu_ignores_the_order_in_the_program() -> None:
    # Frameworks write a transpose as a change of order; XLA:CPU makes it row-major again.
    graph = make_graph(Node("parameter", (2, 4), order=COLUMN_MAJOR), Node("reshape", (8,), (0,), root=True))
    assert _seconds(graph, {(0, FIRST): ROW_MAJOR}, {(0, FIRST): COLUMN_MAJOR}) == pytest.approx([0, 12.8])


def test_dimensions_of_size_one_do_not_matter() -> None:
    graph = make_graph(Node("parameter", (5, 1, 4)), Node("reshape", (20,), (0,), root=True))
    assert _seconds(graph, {(0, FIRST): (2, 0, 1)}, {(0, FIRST): (1, 2, 0)}) == [0, 0]


def test_no_config_and_no_configurable_node() -> None:
    graph = make_graph(Node("parameter", (4,)), Node("negate", (4,), (0,), root=True))
    assert _seconds(graph) == []
    assert _seconds(graph, {}, {}) == [0, 0]
