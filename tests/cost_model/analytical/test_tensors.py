from __future__ import annotations

import pytest

from cost_model import features
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.graphs import Node, make_graph, product_graph

CONVOLUTION = {
    features.INPUT_BATCH: 0,
    features.INPUT_FEATURE: 3,
    features.KERNEL_INPUT_FEATURE: 2,
    features.KERNEL_OUTPUT_FEATURE: 3,
    features.KERNEL_SPATIAL.start: 0,
    features.KERNEL_SPATIAL.start + 1: 1,
    features.OUTPUT_BATCH: 0,
    features.OUTPUT_FEATURE: 3,
    features.FEATURE_GROUP_COUNT: 1,
    features.BATCH_GROUP_COUNT: 1,
    features.WINDOW_SIZE.start: 3,
    features.WINDOW_SIZE.start + 1: 3,
    features.WINDOW_SIZE.product: 9,
}


def test_sizes() -> None:
    graph = make_graph(
        Node("parameter", (4, 8), element_type="BF16"),
        Node("parameter", ()),
        Node("tuple", (), (0, 1), element_type="TUPLE"),
        Node("negate", (4, 8), (0,), element_type="C128", order=(0, 1)),
    )
    tensors = GraphTensors(graph)
    assert tensors.elements.tolist() == [32, 1, 0, 32]
    assert tensors.bytes.tolist() == [64, 4, 0, 512]
    assert tensors.dimensions(0) == (4, 8)
    assert tensors.dimensions(1) == ()
    assert tensors.default_order(0) == (1, 0)  # no order is given: row-major
    assert tensors.default_order(3) == (0, 1)
    assert tensors.row_major(3) == (1, 0)


@pytest.mark.parametrize(
    ("left", "right", "output", "depth"),
    [
        ((4, 8), (8, 16), (4, 16), 8),
        ((8, 4), (8, 16), (4, 16), 8),  # contracts its first dimension
        ((4, 8), (8,), (4,), 8),
        ((8,), (8,), (), 8),
        ((2, 3, 4, 5), (2, 3, 5, 7), (2, 3, 4, 7), 5),  # two batch dimensions
        ((2, 3, 8), (2, 3, 16), (8, 16), 6),  # contracts two
        ((4, 64, 128), (128, 32), (4, 64, 32), 128),
    ],
)
def test_dot_depth_and_order_of_operands(
    left: tuple[int, ...], right: tuple[int, ...], output: tuple[int, ...], depth: int
) -> None:
    for first, second in ((0, 1), (1, 0)):
        shapes = (left, right) if first == 0 else (right, left)
        graph = make_graph(*(Node("parameter", shape) for shape in shapes), Node("dot", output, (0, 1)))
        product = GraphTensors(graph).product(2)
        assert product is not None
        assert product.multiplications == depth
        if left != right and len(output) > 1:
            assert (product.first, product.second) == (first, second)


def test_a_square_of_one_tensor() -> None:
    graph = make_graph(Node("parameter", (8, 8)), Node("dot", (8, 8), (0,)))
    product = GraphTensors(graph).product(1)
    assert product is not None
    assert (product.first, product.second, product.multiplications) == (0, 0, 8)


def test_convolution() -> None:
    source, kernel = Node("parameter", (2, 10, 10, 4)), Node("parameter", (3, 3, 4, 6))
    for nodes, first in (((source, kernel), 0), ((kernel, source), 1)):
        graph = make_graph(*nodes, Node("convolution", (2, 8, 8, 6), (0, 1), columns=CONVOLUTION))
        product = GraphTensors(graph).product(2)
        assert product is not None
        assert (product.first, product.second, product.multiplications) == (first, 1 - first, 36)


def test_grouped_and_dilated_convolution() -> None:
    columns = {**CONVOLUTION, features.FEATURE_GROUP_COUNT: 4, features.WINDOW_BASE_DILATION.product: 9}
    graph = make_graph(
        Node("parameter", (2, 10, 10, 4)),
        Node("parameter", (3, 3, 1, 8)),
        Node("convolution", (2, 8, 8, 8), (0, 1), columns=columns),
    )
    product = GraphTensors(graph).product(2)
    assert product is not None
    assert product.multiplications == 1  # a window of nine, an input feature of one, one in nine is no hole


def test_operands_that_do_not_fit() -> None:
    graph = make_graph(Node("parameter", (3, 5)), Node("parameter", (7, 9)), Node("dot", (3, 9), (0, 1)))
    tensors = GraphTensors(graph)
    assert tensors.product(2) is None
    assert tensors.first_operands(2) == (0, 1)


def test_calls_are_not_operands() -> None:
    graph = make_graph(
        Node("parameter", (4,)),
        Node("negate", (4,), (0,), root=True),
        Node("parameter", (4,)),
        Node("fusion", (4,), (2,), calls=(1,), root=True),
    )
    tensors = GraphTensors(graph)
    assert tensors.operands(3) == [2]
    assert tensors.called(3) == [1]
    assert tensors.inside_fusions().tolist() == [True, True, False, False]


def test_configurable_tensors() -> None:
    graph = make_graph(*_dot_then_reshape())
    assert list(GraphTensors(graph).configurable()) == [(0, 0, 2), (0, 1, 0), (0, 2, 1), (1, 0, 3), (1, 1, 2)]


def _dot_then_reshape() -> tuple[Node, ...]:
    return (
        Node("parameter", (4, 8)),
        Node("parameter", (8, 16)),
        Node("dot", (4, 16), (0, 1)),
        Node("reshape", (64,), (2,), root=True),
    )


def test_product_graph_has_one_product() -> None:
    product = GraphTensors(product_graph(4, 8, 16)).product(2)
    assert product is not None
    assert product.multiplications == 8
