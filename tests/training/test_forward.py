"""Scores and gradients of whole batches against the network on one copy of the graph per config."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cost_model import ConfigBatch, ProgramGraph
from cost_model.architecture import Architecture
from cost_model.network import SageNetwork
from cost_model.refinement import Refinement
from tests.cost_model.networks import LATE, NARROW, SMALL, TILE, inputs, random_configs, random_graph, random_network
from training.forward import batch_scores, weighted_sums
from training.plans import BatchPlan, Sums, plan_batch

SWITCHES: dict[str, Architecture] = {
    **SMALL,
    "embedding": dataclasses.replace(NARROW, layout_embedding=3),
    "late_embedding": dataclasses.replace(LATE, layout_embedding=3),
    "modulo": dataclasses.replace(NARROW, modulo=True),
    "modulo_tile": dataclasses.replace(TILE, modulo=True),
}

Slates = Sequence[tuple[ProgramGraph, ConfigBatch]]


def _slates(architecture: Architecture, seed: int, slates: int = 5, size: int = 3) -> Slates:
    """Slates of three graphs, two of which have two."""
    graphs = [random_graph(seed + number, nodes=14 + number, edges=22, configurable=4) for number in range(3)]
    return [
        (graphs[number % 3], random_configs(architecture, graphs[number % 3], size, number)) for number in range(slates)
    ]


def _planned(architecture: Architecture, slates: Slates) -> BatchPlan:
    layers, everywhere = len(architecture.channels), architecture.config_features == TILE.config_features
    refinements = {id(graph): Refinement(graph, layers, everywhere=everywhere) for graph, _ in slates}
    planned = [(graph, refinements[id(graph)], configs) for graph, configs in slates]
    return plan_batch(planned, with_default=architecture.change_width > 0, late=architecture.late_width > 0)


def _plain(network: SageNetwork, slates: Slates) -> Tensor:
    dtype = network.output_shaping.weight.dtype
    rows = [inputs(graph, configs, each) for graph, configs in slates for each in range(len(configs))]
    return torch.cat([network(feat.to(dtype), opcode, edges, config.to(dtype)) for feat, opcode, edges, config in rows])


def _gradients(scores: Tensor, network: SageNetwork) -> list[Tensor]:
    weights = torch.linspace(-1, 2, len(scores), dtype=scores.dtype)
    return list(torch.autograd.grad((scores * weights).sum(), list(network.parameters())))


@pytest.mark.parametrize(("seed", "count"), [(0, 5), (1, 6), (2, 1)])  # uneven, two slates per graph, a single one
@pytest.mark.parametrize("name", SWITCHES)
def test_scores_and_gradients_equal_those_of_the_plain_network(name: str, seed: int, count: int) -> None:
    architecture = SWITCHES[name]
    network, slates = random_network(architecture, seed), _slates(architecture, seed, count)
    expected = _plain(network, slates)
    scores = batch_scores(network, _planned(architecture, slates))
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5 * float(expected.detach().abs().max()))
    _check_exactly(network.double(), architecture, slates, 1e-5)


@pytest.mark.parametrize("name", ["narrow", "tile", "embedding", "change", "late"])
def test_gradients_of_wide_networks_are_exact(name: str) -> None:
    wide = dataclasses.replace(SWITCHES[name], in_channels=64, channels=(64, 128, 128))
    graph = random_graph(5, nodes=120, edges=260, configurable=20)
    slates = [(graph, random_configs(wide, graph, 4, seed)) for seed in range(3)]
    _check_exactly(random_network(wide).double(), wide, slates, 1e-6)


def _check_exactly(network: SageNetwork, architecture: Architecture, slates: Slates, error: float) -> None:
    # In float64: in float32 rounding moves a value over the edge of a ReLU now and then, whichever way it is computed.
    plan = _planned(architecture, slates)
    plan = dataclasses.replace(plan, node_feat=plan.node_feat.double(), config_feat=plan.config_feat.double())
    if plan.late is not None:
        plan = dataclasses.replace(
            plan, late=dataclasses.replace(plan.late, config_feat=plan.late.config_feat.double())
        )
    scores, expected = batch_scores(network, plan, torch.float64), _plain(network, slates)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=0)  # weights of means are float32
    for found, plain in zip(_gradients(scores, network), _gradients(expected, network), strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
        assert float((found - plain).norm()) <= error * float(plain.norm())


def test_nothing_is_computed_twice() -> None:
    architecture = SMALL["narrow"]
    graph, other = (random_graph(seed, nodes=30, edges=50) for seed in range(2))
    configs = random_configs(architecture, graph, 4)
    once, twice = (_planned(architecture, [(graph, configs)] * times) for times in (1, 2))
    assert once.sizes == twice.sizes
    assert len(twice.scores.offsets) - 1 == 8
    alone, both = (
        _planned(architecture, [(other, configs)]),
        _planned(architecture, [(graph, configs), (other, configs)]),
    )
    assert both.sizes == tuple(one + another for one, another in zip(once.sizes, alone.sizes, strict=True))


def test_bfloat16_is_close() -> None:
    architecture = dataclasses.replace(NARROW, in_channels=32, channels=(32, 32))
    network, slates = random_network(architecture), _slates(architecture, 0)
    plan = _planned(architecture, slates)
    exact, rounded = (batch_scores(network, plan, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    # three digits: 2^-8 of each product, and sums of them
    assert (exact - rounded).abs().max().item() < 0.02 * exact.abs().max().item()
    for one, other in zip(_gradients(rounded, network), _gradients(exact, network), strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm()) < 0.1 * float(other.norm())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31))
def test_weighted_sums_are_a_product_with_a_matrix(rows: int, columns: int, seed: int) -> None:
    from scipy.sparse import csr_array

    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, columns)) * (random.random((rows, columns)) < 0.5)
    matrix = matrix.astype(np.float32)
    table = torch.tensor(random.normal(size=(columns, 3)), dtype=torch.float32, requires_grad=True)
    gradient = torch.tensor(random.normal(size=(rows, 3)), dtype=torch.float32)
    found = weighted_sums(table, Sums.of(csr_array(matrix)))
    found.backward(gradient)
    torch.testing.assert_close(found.detach(), torch.tensor(matrix) @ table.detach())
    torch.testing.assert_close(table.grad, torch.tensor(matrix).T @ gradient)


def test_a_plan_moves_as_one() -> None:
    plan = _planned(NARROW, _slates(NARROW, 1))
    moved = plan.to("meta")
    assert moved.node_feat.device.type == moved.convolutions[0].sums.rows.device.type == "meta"
    assert moved.scores.back_offsets.device.type == "meta"
    assert plan.node_feat.device.type == "cpu"
