"""Which slates an iteration has: reproducible, fair, and the same whoever prepares them."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cost_model import LayoutConfigs
from tests.cost_model.networks import random_graph
from tests.training.data_sets import layouts, write
from training.data.store import StoredGraph, open_split
from training.errors import TrainingError
from training.recipes import Recipe, override, published
from training.sampler import Remaining, SlateBatch, SlateDataset, draw_slates

COLLECTION = "layout:xla:random"
SMALL: dict[str, Any] = {
    "architecture.in_channels": 4,
    "architecture.channels": [4, 6],
    "slates": 4,
    "slate_size": 3,
    "iterations": 10,
}


def _recipe(**changes: Any) -> Recipe:
    return override(published(COLLECTION), SMALL | changes)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredGraph, ...]:
    """Three programs; the runtimes of each are its own."""
    data = tmp_path_factory.mktemp("data")
    for number, name in enumerate("abc"):
        kinds = range(5 + number)
        write(data, COLLECTION, "train", name, layouts(*kinds), [10**6 * (10 * number + kind + 1) for kind in kinds])
    return open_split(data, COLLECTION, "train", store=data / "store", workers=1).graphs


def test_an_iteration_depends_on_seed_and_number_alone() -> None:
    def drawn(seed: int, iteration: int) -> list[tuple[int, list[int]]]:
        return [(each.graph, each.configs.tolist()) for each in draw_slates(_recipe(seed=seed), [5, 6, 7], iteration)]

    assert drawn(0, 3) == drawn(0, 3)
    assert drawn(0, 3) != drawn(0, 4)
    assert drawn(0, 3) != drawn(1, 3)


def test_every_graph_is_drawn_equally_often_and_every_config_can_be() -> None:
    recipe = _recipe(slates=4)
    slates = [each for iteration in range(150) for each in draw_slates(recipe, [5, 6, 7], iteration)]
    assert Counter(each.graph for each in slates) == {0: 200, 1: 200, 2: 200}
    for graph, count in enumerate([5, 6, 7]):
        configs = np.concatenate([each.configs for each in slates if each.graph == graph])
        assert np.unique(configs).tolist() == list(range(count))
        # 600 draws: with replacement, so no slate of 3 out of 5 is without a repetition for ever
        assert np.bincount(configs).min() > 600 / count / 2
    assert any(len(set(each.configs.tolist())) < 3 for each in slates)
    orders = [tuple(each.graph for each in slates[3 * turn : 3 * turn + 3]) for turn in range(200)]
    assert len(set(orders)) == 6


def test_targets_are_those_of_the_configs(graphs: tuple[StoredGraph, ...]) -> None:
    dataset = SlateDataset(graphs, _recipe())
    slates = draw_slates(_recipe(), [len(graph) for graph in graphs], 2)
    expected = [[(10 * slate.graph + int(config) + 1) / 1000 for config in slate.configs] for slate in slates]
    np.testing.assert_allclose(dataset[2].targets, expected, rtol=1e-6)
    assert dataset[2].targets.dtype == torch.float32
    scaled = SlateDataset(graphs, _recipe(**{"loss.target_unit": 1e-3}))[2].targets
    np.testing.assert_allclose(scaled, 1000 * np.array(expected), rtol=1e-6)


def _equal(one: SlateBatch, other: SlateBatch) -> bool:
    return torch.equal(one.targets, other.targets) and torch.equal(one.plan.config_feat, other.plan.config_feat)


def test_several_processes_share_an_iteration(graphs: tuple[StoredGraph, ...]) -> None:
    whole = SlateDataset(graphs, _recipe())[5]
    parts = [SlateDataset(graphs, _recipe(), rank=rank, world=2)[5] for rank in range(2)]
    assert torch.equal(torch.stack([parts[0].targets[0], parts[1].targets[0]]), whole.targets[:2])
    assert [len(part.targets) for part in parts] == [2, 2]
    with pytest.raises(TrainingError, match=r"slates: expected a multiple of the 3 processes.*--set slates=6"):
        SlateDataset(graphs, _recipe(), world=3)


def test_a_copy_in_another_process_prepares_the_same(graphs: tuple[StoredGraph, ...]) -> None:
    dataset = SlateDataset(graphs, _recipe())
    assert _equal(pickle.loads(pickle.dumps(dataset))[7], dataset[7])
    assert len(dataset) == 10


def test_far_nodes_are_left_out_if_the_network_says_so(tmp_path: Path) -> None:
    graph = random_graph(3, nodes=40, edges=30, configurable=2)
    configs = LayoutConfigs(np.random.default_rng(0).integers(-1, 6, (4, 2, 18)).astype(np.float32))
    write(tmp_path, COLLECTION, "train", "a", configs, [10, 20, 30, 40], graph=graph)
    (stored,) = open_split(tmp_path, COLLECTION, "train", store=tmp_path / "store", workers=1)
    whole, near = (SlateDataset([stored], _recipe(**{"architecture.hops": hops}))[0] for hops in (None, 1))
    assert len(near.plan.node_feat) < len(whole.plan.node_feat)


def test_without_graphs_or_labels(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="layout:xla:random: expected at least one graph to train on, found none"):
        SlateDataset([], _recipe())
    write(tmp_path, COLLECTION, "test", "a", layouts(0, 1, 2))
    (stored,) = open_split(tmp_path, COLLECTION, "test", store=tmp_path / "store", workers=1)
    with pytest.raises(TrainingError, match="a: expected measured runtimes, found a file without"):
        SlateDataset([stored], _recipe())[0]


def test_what_is_left_of_a_training() -> None:
    remaining = Remaining(3, 6)
    assert list(remaining) == [3, 4, 5]
    assert len(remaining) == 6
