from __future__ import annotations

import numpy as np
import pytest
import torch

from cost_model import LayoutConfigs, ProgramGraph, TileConfigs, scoring
from cost_model.architecture import ARCHITECTURES, Architecture
from cost_model.errors import GraphError
from cost_model.metrics import kendall_tau
from cost_model.network import SageNetwork
from cost_model.scoring import Scorer
from tests.cost_model.networks import SMALL, plain_scores, random_configs, random_graph, random_network

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _search_configs(graph: ProgramGraph, count: int, seed: int = 0) -> LayoutConfigs:
    """Each config differs from the one before in one row."""
    random = np.random.default_rng(seed)
    rows = np.full((count, len(graph.node_config_ids), 18), -1, np.float32)
    for config in range(1, count):
        rows[config] = rows[config - 1]
        rows[config, random.integers(rows.shape[1])] = random.permutation(18) % 6
    return LayoutConfigs(rows)


def _assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SMALL)
def test_equal_to_the_network(name: str, seed: int, device: str) -> None:
    architecture = SMALL[name]
    graph = random_graph(seed, nodes=40, edges=70, configurable=6)
    configs = random_configs(architecture, graph, 9, seed)
    network = random_network(architecture, seed)
    scores = Scorer(network, device=device).score(graph, configs)
    assert scores.dtype == np.float32
    _assert_close(scores, plain_scores(network, graph, configs))


def test_equal_to_the_network_where_configs_share_most_of_their_values() -> None:
    graph, network = random_graph(1, nodes=60, edges=110, configurable=8), random_network(SMALL["narrow"])
    configs = _search_configs(graph, 40)
    _assert_close(Scorer(network).score(graph, configs), plain_scores(network, graph, configs))


@pytest.mark.parametrize("name", ["layout:xla", "layout:nlp"])
def test_bfloat16_keeps_the_order(name: str) -> None:
    graph, network = random_graph(2, nodes=300, edges=600, configurable=40), random_network(ARCHITECTURES[name])
    configs = _search_configs(graph, 60)
    exact, fast = (Scorer(network, precision=each).score(graph, configs) for each in ("float32", "bfloat16"))
    assert not np.array_equal(exact, fast)
    assert kendall_tau(exact, fast) > 0.98
    # Rounding is relative to how far the configs are apart, not to the scores, which are a hundred times that.
    assert np.abs(exact - fast).max() < 0.02 * np.ptp(exact)


def test_bfloat16_of_tiles() -> None:
    graph, network = random_graph(2, nodes=30, edges=50), random_network(ARCHITECTURES["tile:xla"])
    configs = random_configs(ARCHITECTURES["tile:xla"], graph, 50)
    exact, fast = (Scorer(network, precision=each).score(graph, configs) for each in ("float32", "bfloat16"))
    assert kendall_tau(exact, fast) > 0.95


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("memory", [1, 20_000, 60_000])
def test_in_pieces_that_fit_into_memory(
    name: str, precision: scoring.Precision, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, network = random_graph(3, nodes=40, edges=80, configurable=6), random_network(SMALL[name])
    configs = random_configs(SMALL[name], graph, 23)
    at_once = Scorer(network, precision=precision).score(graph, configs)
    monkeypatch.setattr(scoring, "_MEMORY", memory)
    in_pieces = Scorer(network, precision=precision).score(graph, configs)
    assert in_pieces.shape == (23,)
    bound = 1e-5 * np.abs(at_once).max() if precision == "float32" else 0.05 * np.ptp(at_once)
    assert np.abs(in_pieces - at_once).max() <= bound


def test_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, network = random_graph(4), random_network(SMALL["plain"])
    configs = random_configs(SMALL["plain"], graph, 5)
    with_it = Scorer(network).score(graph, configs)
    monkeypatch.setattr(scoring, "_ONEDNN", None)
    _assert_close(Scorer(network).score(graph, configs), with_it)


def test_equal_configs_have_equal_scores() -> None:
    graph, network = random_graph(5), random_network(SMALL["narrow"])
    configs = random_configs(SMALL["narrow"], graph, 6)
    assert isinstance(configs, LayoutConfigs)
    twice = LayoutConfigs(np.concatenate([configs.node_config_feat, configs.node_config_feat[::-1]]))
    scores = Scorer(network).score(graph, twice)
    assert scores[:6].tolist() == scores[:5:-1].tolist()


def test_one_scorer_for_several_graphs() -> None:
    network = random_network(SMALL["narrow"])
    scorer = Scorer(network)
    for seed in (0, 1, 0):
        graph = random_graph(seed)
        configs = random_configs(SMALL["narrow"], graph, 4, seed)
        _assert_close(scorer.score(graph, configs), plain_scores(network, graph, configs))


def test_weights_are_copied() -> None:
    graph, network = random_graph(0), random_network(SMALL["narrow"])
    configs = random_configs(SMALL["narrow"], graph, 4)
    scorer = Scorer(network)
    before = scorer.score(graph, configs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert scorer.score(graph, configs).tolist() == before.tolist()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_program_that_no_config_changes(precision: scoring.Precision) -> None:
    graph, network = random_graph(6, configurable=0), random_network(SMALL["narrow"])
    configs = LayoutConfigs(np.zeros((3, 0, 18), np.float32))
    scores = Scorer(network, precision=precision).score(graph, configs)
    _assert_close(scores, plain_scores(network, graph, configs))
    assert scores[0] == scores[1] == scores[2]


def test_no_configs() -> None:
    scorer = Scorer(random_network(SMALL["tile"]))
    assert scorer.score(random_graph(), TileConfigs(np.zeros((0, 24), np.float32))).shape == (0,)


def test_wrong_use() -> None:
    network = SageNetwork(Architecture(18, 4, (4,)))
    with pytest.raises(ValueError, match=r"precision: expected one of \('float32', 'bfloat16'\), found 'float16'"):
        Scorer(network, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=r"TileConfigs: expected configs with 18 columns, .*, found 24"):
        Scorer(network).score(random_graph(), TileConfigs(np.zeros((1, 24), np.float32)))
    with pytest.raises(GraphError, match="expected 4 configurable nodes"):
        Scorer(network).score(random_graph(), LayoutConfigs(np.zeros((1, 3, 18), np.float32)))
