"""The models that ship."""

from __future__ import annotations

import pytest

from cost_model import CostModel, LearnedCostModel
from cost_model.base import shipped_checkpoints
from cost_model.devices import DEVICES
from tests.cost_model.graphs import Node, layout_configs, make_graph

LARGEST = 1 << 20
"""Bytes of one model; all files that ship together stay far below the limit of the repository."""


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_the_card_says_what_it_is(name: str) -> None:
    model = CostModel.load(name)
    assert isinstance(model, LearnedCostModel)
    card = model.card
    space, _, device = name.partition("-")
    assert card.space == space
    assert device in DEVICES
    assert card.target == name
    assert card.label_kind == ("measured" if device == "cpu" else "estimated")
    assert card.training_data[0].families
    assert shipped_checkpoints()[name].stat().st_size < LARGEST


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_it_was_judged_on_other_families(name: str) -> None:
    model = CostModel.load(name)
    assert isinstance(model, LearnedCostModel)
    known = set(model.card.training_data[0].families)
    for split in ("valid", "test"):
        judged = model.card.metrics[split]
        assert judged["families"]
        assert not known & set(judged["families"])
        assert judged["interval"][0] <= judged["tau"] <= judged["interval"][1]


def test_the_default_alone() -> None:
    graph = make_graph(
        Node("parameter", (512, 256)), Node("parameter", (256, 384)), Node("dot", (512, 384), (0, 1), root=True)
    )
    model = CostModel.load("layout-tpu-v5e")
    alone = model.score(graph, layout_configs(graph, {}))
    together = model.score(graph, layout_configs(graph, {}, {(0, 0): (0, 1)}))
    assert alone[0] == pytest.approx(together[0], rel=1e-5)
    assert together[0] < together[1]


def test_layouts_that_need_copies_are_worse() -> None:
    graph = make_graph(
        Node("parameter", (512, 256), order=(1, 0)),
        Node("parameter", (256, 384), order=(1, 0)),
        Node("dot", (512, 384), (0, 1), order=(1, 0)),
        Node("tanh", (512, 384), (2,), order=(1, 0)),
        Node("parameter", (384, 128), order=(1, 0)),
        Node("dot", (512, 128), (3, 4), order=(1, 0), root=True),
    )
    turn = (0, 1)
    between, result = (0, 0), (1, 0)
    configs = layout_configs(graph, {}, {between: turn}, {result: turn}, {between: turn, (1, 1): (1, 0), result: turn})
    default, inside, outside, both = CostModel.load("layout-tpu-v5e").score(graph, configs)
    # Dots swap their two dimensions, so an order that both have costs nothing; what a program returns is copied back.
    assert default <= inside < outside < both
    default, inside, outside, both = CostModel.load("layout-cpu").score(graph, configs)
    # Every order that is not row-major is copied, and the larger tensor is inside.
    assert default < outside < inside < both
