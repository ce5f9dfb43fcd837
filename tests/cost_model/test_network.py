"""The network against numbers worked out by hand, and against itself written a second time in numpy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cost_model import LayoutConfigs, ProgramGraph, features
from cost_model.architecture import ARCHITECTURES, Architecture
from cost_model.network import SageNetwork, embedded_opcodes, standardise, transform_features
from tests.cost_model import networks

# Nodes 0 and 1 are parameters, 2 a dot of both, 3 uses 1 and 2. Node 1 has two users, node 3 none.
EDGES = [[2, 0], [2, 1], [3, 1], [3, 2]]

HAND = Architecture(features.LAYOUT_FEATURES, in_channels=1, channels=(1, 2), output_scale=1e-3)


def _hand_graph() -> ProgramGraph:
    """log(1 + |x|) of the one feature in use is 1, 2, 1 and 0; that of node 2 is negative."""
    feature = features.SHAPE_DIMENSIONS.product
    node_feat = np.zeros((4, features.NODE_FEATURES), np.float32)
    node_feat[:, feature] = [math.e - 1, math.e**2 - 1, 1 - math.e, 0]
    return ProgramGraph(
        node_feat=node_feat,
        node_opcode=np.array([63, 63, 34, 96], np.uint8),
        edge_index=np.array(EDGES, np.int64),
        node_config_ids=np.array([2], np.int64),
        node_splits=np.array([0, 4], np.int64),
    )


def _hand_network(architecture: Architecture) -> SageNetwork:
    """One hidden value per node: feature + opcode (dot 0.5, tanh 1.5) + first config column."""
    network = SageNetwork(architecture)
    state = {name: torch.zeros(shape) for name, shape in architecture.parameter_shapes.items()}
    state["node_feat_embedding.weight"][0, features.SHAPE_DIMENSIONS.product] = 1
    state["node_opcode_embedding.weight"][34, 0] = 0.5
    state["node_opcode_embedding.weight"][96, 0] = 1.5
    state["input_shaping.weight"][0, [0, 20, 32]] = 1
    state["convs.0.lin_l.weight"][:] = 2
    state["convs.0.lin_l.bias"][:] = -4
    state["convs.0.lin_r.weight"][:] = 0.5
    state["convs.1.lin_l.weight"][:] = torch.tensor([[1.0], [-1.0]])
    state["convs.1.lin_l.bias"][:] = torch.tensor([0.0, 1.0])
    state["convs.1.lin_r.weight"][:] = torch.tensor([[1.0], [2.0]])
    state["output_shaping.weight"][:] = torch.tensor([[1.0, -2.0]])
    state["output_shaping.bias"][:] = 0.5
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize(
    ("changes", "score"),
    [
        # h = 1, 2, -1 + 0.5 + 3, 1.5. First convolution, relu(2 mean - 4 + 0.5 h + h):
        # 5 - 4 + 1.5 = 2.5; 4 - 4 + 3 = 3; 3 - 4 + 3.75 = 2.75; relu(0 - 4 + 2.25) = 0.
        # Second, relu(mean + h), relu(-mean + 1 + 2 h): (5.25, 3.25); (4.375, 5.625); (2.75, 6.5); (0, 1).
        # a - 2 b + 0.5: -0.75, -6.375, -9.75, -1.5.
        ({}, -18.375e-3),
        ({"output_scale": 1.0}, -18.375),
        # First, relu(2 mean - 4 + 0.5 h): 1.5; 1; 0.25; 0. Second: (1.75, 3.75); (1.125, 2.875); (0.25, 1.5); (0, 1).
        # -5.25, -4.125, -2.25, -1.5.
        ({"residual": False}, -13.125e-3),
        # The feature of node 2 is 0, so h = 1, 2, 3.5, 1.5. First: 4.5; 4; 4.25; 0.
        # Second: (8.75, 5.75); (6.125, 6.875); (4.25, 9.5); (0, 1). -2.25, -7.125, -14.25, -1.5.
        ({"feature_transform": "relu_log"}, -25.125e-3),
    ],
)
def test_four_nodes_by_hand(changes: dict[str, object], score: float) -> None:
    architecture = dataclasses.replace(HAND, **changes)  # type: ignore[arg-type]
    configs = np.zeros((1, 1, 18), np.float32)
    configs[0, 0, 0] = 3
    found = networks.plain_scores(_hand_network(architecture), _hand_graph(), LayoutConfigs(configs))
    assert found == pytest.approx([score], rel=1e-6)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("transform", ["signed_log", "relu_log"])
@pytest.mark.parametrize("name", networks.SMALL)
def test_equals_the_formula_in_numpy(name: str, transform: str, residual: bool) -> None:
    architecture = dataclasses.replace(networks.SMALL[name], feature_transform=transform, residual=residual)  # type: ignore[arg-type]
    for seed in range(5):
        network = networks.random_network(architecture, seed)
        graph = networks.random_graph(seed)
        configs = networks.random_configs(architecture, graph, 3, seed)
        weights = networks.weights_of(network)
        expected = [
            networks.reference_score(weights, architecture, graph, networks.config_rows(graph, configs, config))
            for config in range(3)
        ]
        assert len(set(expected)) == 3
        assert networks.plain_scores(network, graph, configs) == pytest.approx(expected, rel=1e-4)


def test_values_are_standardised_within_their_graph() -> None:
    # the first graph has 1 and 3, mean 2, variance 1; the second 5 alone
    rows = torch.tensor([[1.0], [3.0], [5.0]])
    means = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    found = standardise(rows, lambda values: means @ values)
    assert found.flatten().tolist() == pytest.approx([-1, 1, 0], rel=1e-5)


def test_a_late_head_cannot_tell_what_is_left_to_the_compiler_from_nothing() -> None:
    for embedding in (0, 3):
        network = networks.random_network(dataclasses.replace(networks.LATE, layout_embedding=embedding))
        default, decided = torch.full((2, 18), -1.0), torch.zeros(2, 18)
        assert not network.meet_configs(torch.ones(2, 5), default).any()
        assert network.meet_configs(torch.ones(2, 5), decided).all()


def test_a_batch_of_a_training_is_standardised_by_itself_and_remembered() -> None:
    network = networks.random_network(dataclasses.replace(networks.LATE, late_width=1))
    with torch.no_grad():
        network.late_mean.fill_(10)
        network.late_variance.fill_(4)
        for name, parameter in network.late_shaping.named_parameters():
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    sums = torch.tensor([[2.0], [4.0], [12.0], [6.0]])
    # as before: (2 - 10) / 2 and so on; relu
    assert network.score_late(sums).tolist() == pytest.approx([0, 0, 1, 0], rel=1e-5)
    assert network.late_mean.item() == 10
    # mean 6, variance (16 + 4 + 36 + 0) / 4 = 14, or 56 / 3 of the whole from a sample
    assert network.score_late(sums, observe=True).tolist() == pytest.approx([0, 0, 6 / 14**0.5, 0], rel=1e-5)
    assert network.late_mean.item() == pytest.approx(0.9 * 10 + 0.1 * 6)
    assert network.late_variance.item() == pytest.approx(0.9 * 4 + 0.1 * 56 / 3)


def test_transforms() -> None:
    raw = torch.tensor([-(math.e**2) + 1, -0.0, 0.0, math.e - 1, 1e12])
    assert transform_features(raw, "signed_log").tolist() == pytest.approx([-2, 0, 0, 1, 27.631021], rel=1e-6)
    assert transform_features(raw, "relu_log").tolist() == pytest.approx([0, 0, 0, 1, 27.631021], rel=1e-6)


def test_opcodes_without_a_row_are_unknown() -> None:
    opcodes = torch.tensor([0, 1, 119, 120, 200, 255], dtype=torch.uint8)
    assert embedded_opcodes(opcodes).tolist() == [0, 1, 119, 0, 0, 0]


def _hidden(network: SageNetwork, *arguments: Tensor) -> Tensor:
    """The value of every node after the last convolution."""
    seen: list[Tensor] = []
    handle = network.output_shaping.register_forward_pre_hook(lambda _, values: seen.append(values[0].detach()))
    network(*arguments)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(("convolutions", "reached"), [(1, [1, 2]), (2, [0, 1, 2])])
def test_a_config_reaches_producers_only(convolutions: int, reached: list[int]) -> None:
    # 3 uses 2, 2 uses 1, 1 uses 0; the config of node 2 changes.
    architecture = Architecture(features.LAYOUT_FEATURES, in_channels=8, channels=(8,) * convolutions)
    network = networks.random_network(architecture)
    graph = dataclasses.replace(
        networks.random_graph(nodes=4, configurable=1),
        edge_index=np.array([[1, 0], [2, 1], [3, 2]], np.int64),
        node_config_ids=np.array([2], np.int64),
    )
    configs = networks.random_configs(architecture, graph, 2)
    first, second = (_hidden(network, *networks.inputs(graph, configs, config)) for config in range(2))
    assert torch.nonzero((first != second).any(dim=1)).flatten().tolist() == reached


def test_a_batch_of_graphs_equals_the_graphs_alone() -> None:
    for architecture in networks.SMALL.values():
        network = networks.random_network(architecture)
        graphs = [networks.random_graph(seed, nodes=3 + 4 * seed, configurable=2) for seed in range(4)]
        parts = [
            networks.inputs(graph, networks.random_configs(architecture, graph, 1, seed), 0)
            for seed, graph in enumerate(graphs)
        ]
        node_feat, node_opcode, edges, config_feat = zip(*parts, strict=True)
        sizes = torch.tensor([len(graph) for graph in graphs])
        starts = torch.cumsum(sizes, 0) - sizes
        together = network(
            torch.cat(node_feat),
            torch.cat(node_opcode),
            torch.cat([each + start for each, start in zip(edges, starts, strict=True)], dim=1),
            torch.cat(config_feat),
            torch.repeat_interleave(torch.arange(4), sizes),
            4,
        )
        alone = torch.cat([network(*part) for part in parts])
        assert len(set(alone.tolist())) == 4
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6 * alone.detach().abs().max().item())


def test_a_graph_without_nodes_scores_nothing() -> None:
    network = networks.random_network(networks.NARROW)
    graph = networks.random_graph()
    arguments = networks.inputs(graph, networks.random_configs(networks.NARROW, graph, 1), 0)
    scores = network(*arguments, torch.full((len(graph),), 2), 4)
    assert scores[[0, 1, 3]].tolist() == [0, 0, 0]
    assert scores[2].item() == pytest.approx(network(*arguments).item(), rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), order=st.permutations(range(12)))
def test_the_order_of_nodes_and_edges_does_not_count(seed: int, order: list[int]) -> None:
    network = networks.random_network(networks.NARROW, seed).double()
    graph = networks.random_graph(seed)
    configs = networks.random_configs(networks.NARROW, graph, 1, seed)
    node_feat, node_opcode, edges, config_feat = networks.inputs(graph, configs, 0)
    place = torch.argsort(torch.tensor(order))
    score = network(node_feat.double(), node_opcode, edges, config_feat.double())
    permuted = network(node_feat[order].double(), node_opcode[order], place[edges].flip(1), config_feat[order].double())
    torch.testing.assert_close(permuted, score, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", networks.SMALL)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = networks.random_network(networks.SMALL[name])
    graph = networks.random_graph(nodes=40, edges=80)
    network(*networks.inputs(graph, networks.random_configs(networks.SMALL[name], graph, 1), 0)).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    rows = network.node_opcode_embedding.weight.grad
    assert rows is not None
    moved = set(torch.nonzero(rows.abs().sum(dim=1)).flatten().tolist())
    # a node whose ReLUs are all off moves nothing
    assert 0 in moved
    assert len(moved) > 10
    assert moved <= {opcode if opcode < 120 else 0 for opcode in graph.node_opcode.tolist()}


@pytest.mark.parametrize(
    ("name", "parameters"), [("layout:xla", 265_093), ("tile:xla", 2_272_485), ("layout:nlp", 2_272_101)]
)
def test_published_networks(name: str, parameters: int) -> None:
    network = SageNetwork(ARCHITECTURES[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert ARCHITECTURES[name].parameters == parameters
    assert set(ARCHITECTURES) == {"layout:xla", "tile:xla", "layout:nlp"}


def test_the_numbers_are_those_of_the_recipes(shared: Path) -> None:
    table = (shared / "design" / "recipes.md").read_text()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in map(_cells, table.splitlines()) if cells
    }
    columns = ("layout:xla", "tile:xla", "layout:nlp")
    parameters = {name: f"{ARCHITECTURES[name].parameters:,}" for name in columns}
    assert rows["parameters"] == list(parameters.values())


def _cells(line: str) -> list[str]:
    return line.split("|") if line.startswith("|") else []
