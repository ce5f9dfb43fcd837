"""Where boxes and lines stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from autotune.report.drawing import BOX_HEIGHT, BOX_WIDTH, drawings
from autotune.report.explanation import Edge, Neighbourhood, Node


def graph(count: int, *edges: tuple[int, int]) -> Neighbourhood:
    nodes = tuple(Node(number, f"n{number}", "add", "f32[8]", changed=False) for number in range(count))
    return Neighbourhood(nodes, tuple(Edge(producer, user, ()) for producer, user in edges))


def test_a_diamond_stands_in_three_layers_and_in_the_middle() -> None:
    (drawing,) = drawings(graph(4, (0, 1), (0, 2), (1, 3), (2, 3)))
    places = {box.node.id: (box.x, box.y) for box in drawing.boxes}
    assert places[0][1] < places[1][1] == places[2][1] < places[3][1]
    assert places[0][0] == pytest.approx((places[1][0] + places[2][0]) / 2)
    assert places[3][0] == pytest.approx(places[0][0])


def test_a_source_stands_just_above_its_user() -> None:
    (drawing,) = drawings(graph(4, (0, 1), (1, 3), (2, 3)))
    rows = {box.node.id: box.y for box in drawing.boxes}
    assert rows[2] == rows[1]


def test_parts_without_a_connection_are_drawings_of_their_own_the_largest_first() -> None:
    parts = drawings(graph(5, (0, 1), (2, 3), (3, 4)))
    assert [sorted(box.node.id for box in part.boxes) for part in parts] == [[2, 3, 4], [0, 1]]
    assert drawings(Neighbourhood()) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_two_boxes_overlap_and_every_line_stays_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = {tuple(sorted(rng.choice(16, 2, replace=False).tolist())) for _ in range(24)}
    for drawing in drawings(graph(16, *((a, b) for a, b in edges))):
        for first, second in itertools.combinations(drawing.boxes, 2):
            apart = abs(first.x - second.x) >= BOX_WIDTH or abs(first.y - second.y) >= BOX_HEIGHT
            assert apart, (first, second)
        for box in drawing.boxes:
            assert BOX_WIDTH / 2 <= box.x <= drawing.width - BOX_WIDTH / 2
            assert BOX_HEIGHT / 2 <= box.y <= drawing.height - BOX_HEIGHT / 2
        for line in drawing.lines:
            numbers = [float(text) for text in line.path.replace("M", "").replace("C", "").replace(",", " ").split()]
            assert all(0 <= x <= drawing.width for x in numbers[::2])
