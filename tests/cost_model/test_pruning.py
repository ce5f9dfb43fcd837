"""Which nodes are near something configurable, by hand and against the definition."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from cost_model import ProgramGraph, features
from cost_model.pruning import prune
from cost_model.scoring import Scorer
from tests.cost_model.networks import NARROW, random_configs, random_graph, random_network


def _chain() -> ProgramGraph:
    """0 -> 1 -> 2 -> 3 -> 4 -> 5; node 2 is configurable."""
    node_feat = np.zeros((6, features.NODE_FEATURES), np.float32)
    node_feat[:, 0] = np.arange(6)
    return ProgramGraph(
        node_feat=node_feat,
        node_opcode=np.arange(6, dtype=np.uint8),
        edge_index=np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], np.int64),
        node_config_ids=np.array([2], np.int64),
        node_splits=np.array([0, 2, 6], np.int64),
    )


@pytest.mark.parametrize(("hops", "kept", "splits"), [(0, [2], [0, 0, 1]), (1, [1, 2, 3], [0, 1, 3])])
def test_a_chain_by_hand(hops: int, kept: list[int], splits: list[int]) -> None:
    near = prune(_chain(), hops)
    assert near.node_feat[:, 0].tolist() == near.node_opcode.tolist() == kept
    assert near.edge_index.tolist() == [[each, each + 1] for each in range(len(kept) - 1)]
    assert near.node_config_ids.tolist() == [kept.index(2)]
    assert near.node_splits.tolist() == splits


def test_nothing_to_leave_out() -> None:
    graph = _chain()
    assert prune(graph, 3) is graph
    alone = dataclasses.replace(graph, node_config_ids=np.zeros(0, np.int64))
    assert prune(alone, 1) is alone


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 4))
def test_distances_of_scipy(seed: int, hops: int) -> None:
    graph = random_graph(seed, nodes=30, edges=35, configurable=3)
    users, producers = graph.edge_index.T
    matrix = csr_array((np.ones(len(users)), (users, producers)), shape=(30, 30))
    distances = dijkstra(matrix, directed=False, indices=graph.node_config_ids, unweighted=True).min(axis=0)
    near = prune(graph, hops)
    assert np.array_equal(near.node_feat, graph.node_feat[distances <= hops])


def test_a_model_that_prunes_scores_the_pruned_graph() -> None:
    graph = random_graph(1, nodes=60, edges=70, configurable=4)
    network = random_network(dataclasses.replace(NARROW, hops=1))
    configs = random_configs(NARROW, graph, 5)
    expected = Scorer(random_network(NARROW)).score(prune(graph, 1), configs)
    assert np.array_equal(Scorer(network).score(graph, configs), expected)
    assert not np.allclose(expected, Scorer(random_network(NARROW)).score(graph, configs))
