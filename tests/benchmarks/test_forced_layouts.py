from __future__ import annotations

from benchmarks.forced_layouts import compare, row
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.graphs import Node, make_graph

ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)


def test_what_was_expected_is_compared_with_what_moved() -> None:
    tensors = GraphTensors(
        make_graph(*(Node("tanh", (4, 8)) for _ in range(4)), Node("tanh", (4, 1)), Node("tanh", (4,), root=True))
    )
    names = ["known", "missed", "false alarm", "still", "no choice", "vector"]
    default = dict.fromkeys(names[:5], ROW_MAJOR) | {"vector": (0,)}
    found = default | {"known": COLUMN_MAJOR, "missed": COLUMN_MAJOR, "no choice": COLUMN_MAJOR}
    counts = compare(tensors, names, default, found, {0: COLUMN_MAJOR, 2: COLUMN_MAJOR})
    assert counts == {"moved": 2, "known": 1, "still": 3, "false_alarms": 1}
    gone = {name: order for name, order in found.items() if name != "still"}
    assert compare(tensors, names, default, gone, {})["still"] == 2


def test_rows_have_shares() -> None:
    counts = {"moved": 4, "known": 3, "still": 10, "false_alarms": 1}
    assert row("p", counts) == {
        "program": "p", "moved": 4, "known": 0.75, "still": 10, "false_alarms": 0.1, "requests": 0, "ruled": None,
        "met": None,
    }  # fmt: skip
