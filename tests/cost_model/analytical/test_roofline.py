from __future__ import annotations

import pytest

from cost_model.analytical.memory import complete_order, padded_bytes, physical_order
from cost_model.analytical.roofline import base_seconds, operations
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.analytical.devices import CPU, TPU
from tests.cost_model.graphs import Node, make_graph


def test_a_dot_and_an_elementwise_instruction() -> None:
    graph = make_graph(
        Node("parameter", (4, 50)),
        Node("parameter", (50, 4)),
        Node("dot", (4, 4), (0, 1)),
        Node("tanh", (4, 4), (2,), root=True),
    )
    # dot: 2 * 16 * 50 = 1,600 operations at 100 per second; (200 + 200 + 16) * 4 = 1,664 bytes at 10 per second.
    # tanh: 16 operations; (16 + 16) * 4 = 128 bytes.
    assert operations(GraphTensors(graph)).tolist() == [0, 0, 1600, 16]
    assert base_seconds(GraphTensors(graph), CPU) == pytest.approx(166.4 + 12.8)


def test_arithmetic_bounds_a_deep_product() -> None:
    graph = make_graph(Node("parameter", (40, 40)), Node("dot", (40, 40), (0,), root=True))
    # 2 * 40^3 = 128,000 operations, 12,800 bytes: 1,280 seconds either way; in bfloat16 640 seconds either way.
    assert base_seconds(GraphTensors(graph), CPU) == pytest.approx(1280)
    half = make_graph(
        Node("parameter", (40, 40), element_type="BF16"),
        Node("dot", (40, 40), (0,), element_type="BF16", root=True),
    )
    assert base_seconds(GraphTensors(half), CPU) == pytest.approx(640)


def test_free_instructions_and_parts() -> None:
    graph = make_graph(
        Node("parameter", (1000,)),
        Node("reshape", (10, 100), (0,)),
        Node("slice", (10,), (0,)),
        Node("tuple", (), (1, 2), element_type="TUPLE", root=True),
    )
    assert base_seconds(GraphTensors(graph), CPU) == pytest.approx(2 * 40 / 10)  # a slice reads what it gives out


def test_an_update_in_place_moves_the_update() -> None:
    graph = make_graph(
        Node("parameter", (1000,)),
        Node("parameter", (10,)),
        Node("dynamic-update-slice", (1000,), (0, 1), root=True),
    )
    # 1,000 operations at 100 per second would be 10 seconds; 2 * 40 bytes are 8 seconds.
    assert base_seconds(GraphTensors(graph), CPU) == pytest.approx(10)


def test_a_reduction_counts_its_input() -> None:
    graph = make_graph(Node("parameter", (100,)), Node("reduce", (), (0,), root=True))
    assert operations(GraphTensors(graph)).tolist() == [0, 100]


def test_a_fusion_moves_only_what_goes_in_and_out() -> None:
    graph = make_graph(
        Node("parameter", (50,)),
        Node("exponential", (50,), (0,)),
        Node("negate", (50,), (1,), root=True),
        Node("parameter", (50,)),
        Node("fusion", (50,), (3,), calls=(2,), root=True),
    )
    # Two instructions of 50 operations each within, 400 bytes in and out.
    assert base_seconds(GraphTensors(graph), CPU) == pytest.approx(0.5 + 0.5 + 40)


@pytest.mark.parametrize(
    ("dimensions", "order", "element_bytes", "elements"),
    [
        ((32, 1000), (1, 0), 4, 32 * 1024),
        ((32, 1000), (0, 1), 4, 128 * 1000),
        ((12, 32, 200), (2, 1, 0), 2, 12 * 32 * 256),
        ((10, 100), (1, 0), 4, 16 * 128),
        ((3, 128), (1, 0), 2, 4 * 128),  # T(4,128)(2,1)
        ((1, 128), (1, 0), 2, 2 * 128),  # rows are packed in pairs
        ((1, 128), (1, 0), 4, 128),
        ((2, 128), (1, 0), 1, 4 * 128),
        ((4096,), (0,), 4, 4096),
        ((300,), (0,), 4, 512),
        ((32,), (0,), 4, 256),
        ((), (), 4, 256),
    ],
)
def test_padding(dimensions: tuple[int, ...], order: tuple[int, ...], element_bytes: int, elements: int) -> None:
    assert padded_bytes(dimensions, order, element_bytes, TPU) == elements * element_bytes
    size = 1
    for dimension in dimensions:
        size *= dimension
    assert padded_bytes(dimensions, order, element_bytes, CPU) == size * element_bytes


def test_orders() -> None:
    assert complete_order((4, 0), (4, 3, 2, 1, 0)) == (4, 0, 3, 2, 1)
    assert complete_order((-1, -1), (1, 0)) == (1, 0)
    assert complete_order((5, 0, 0), (1, 0)) == (0, 1)
    assert physical_order((0, 2, 1), (4, 1, 3)) == (0, 2)
