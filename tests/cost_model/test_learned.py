from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cost_model import (
    Architecture,
    CardError,
    CheckpointError,
    CostModel,
    DeviceError,
    GraphError,
    LayoutConfigs,
    LearnedCostModel,
    ScoreError,
    TileConfigs,
    UnknownModelError,
    base,
)
from cost_model.card import Space
from cost_model.checkpoint import write_checkpoint
from cost_model.learned import network_of, weights_of
from cost_model.network import SageNetwork
from tests.cost_model.graphs import cpu_tiles, product_graph
from tests.cost_model.models import descriptor_card, random_weights, sage, small_card, write_small
from tests.cost_model.networks import plain_scores, random_configs, random_graph


def _model(space: Space = "layout", **options: Any) -> LearnedCostModel:
    card = small_card(space)
    return LearnedCostModel(network_of(sage(card), random_weights(card.architecture)), card, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_small(path)
    return path


@pytest.mark.parametrize("space", ["layout", "tile"])
def test_scores_are_those_of_the_network(tmp_path: Path, space: Space) -> None:
    path = tmp_path / "model.safetensors"
    card = write_small(path, space)
    model = CostModel.load(path)
    assert isinstance(model, LearnedCostModel)
    assert model.card == card
    graph = random_graph()
    configs = random_configs(sage(card), graph, 9)
    expected = plain_scores(network_of(sage(card), random_weights(card.architecture)), graph, configs)
    assert len(np.unique(expected)) == 9
    np.testing.assert_allclose(model.score(graph, configs), expected, rtol=1e-5)


def test_scores_are_multiples_of_the_resolution_until_they_are_not_rounded() -> None:
    card = descriptor_card("tile", "cpu")
    weights = random_weights(card.architecture) | {"resolution": np.array([0.5], np.float32)}
    model = LearnedCostModel(network_of(card.architecture, weights), card)
    case = product_graph(100, 60, 200), cpu_tiles((0, 0, 0), (1, 4, 8), (4, 1, 32), (8, 4, 64))
    exact = model.without_rounding().score(*case)
    assert (exact % 0.5 != 0).any()
    np.testing.assert_array_equal(model.score(*case), np.round(exact / 0.5) * 0.5)
    sage_model = _model()
    assert sage_model.without_rounding() is sage_model, "the published network does not round"


def test_save_and_load(tmp_path: Path) -> None:
    model, graph = _model(), random_graph()
    assert model.name == "small-layout"
    configs = random_configs(sage(model.card), graph, 5)
    model.save(tmp_path / "saved.safetensors")
    assert model.name == str(tmp_path / "saved.safetensors")
    again = CostModel.load(model.name)
    assert isinstance(again, LearnedCostModel)
    assert (again.name, again.card) == (model.name, model.card)
    assert again.score(graph, configs).tolist() == model.score(graph, configs).tolist()
    again.save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == (tmp_path / "saved.safetensors").read_bytes()


def test_a_failed_save_keeps_the_name(path: Path) -> None:
    model = LearnedCostModel.from_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be written"):
        model.save(path.parent / "nowhere" / "model.safetensors")
    assert model.name == str(path)


def test_a_network_that_diverged_cannot_be_saved(path: Path, tmp_path: Path) -> None:
    model = _model()
    assert isinstance(model.network, SageNetwork)
    with torch.no_grad():
        model.network.output_shaping.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"output_shaping\.bias: expected finite weights, found nan"):
        model.save(tmp_path / "diverged.safetensors")


def test_weights_are_copied_exactly_and_draw_no_random_numbers() -> None:
    architecture = small_card().architecture
    weights = random_weights(architecture)
    before = torch.get_rng_state()
    network = network_of(architecture, weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in network.parameters())
    assert not network.training
    expected = {name: array.copy() for name, array in weights.items()}
    weights["input_shaping.bias"][:] = 0
    found = weights_of(network)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_names(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is made absolute: the name holds wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(path, tmp_path / "plain")
    for given in ("model.safetensors", "./model.safetensors", str(path)):
        assert CostModel.load(given).name == str(path)
    assert CostModel.load("plain").name == str(tmp_path / "plain")
    monkeypatch.chdir("/")
    assert CostModel.load(str(path)).name == str(path)
    assert LearnedCostModel.from_checkpoint(path, name="layout-cpu").name == "layout-cpu"


def test_shipped_names(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "pretrained"
    shipped.mkdir()
    shutil.copy(path, shipped / "layout-made-up.safetensors")
    monkeypatch.setattr(base, "PRETRAINED", shipped)
    model = CostModel.load("layout-made-up")
    assert isinstance(model, LearnedCostModel)
    assert model.name == "layout-made-up"
    with pytest.raises(UnknownModelError, match=r"analytical:tpu7x, layout-made-up, or the path of a checkpoint"):
        CostModel.load("layout-else")
    (shipped / "broken.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors: expected a safetensors file"):
        CostModel.load("broken")


@pytest.mark.parametrize(("space", "other"), [("layout", "tile"), ("tile", "layout")])
def test_refuses_the_other_space(space: Space, other: Space) -> None:
    model, graph = _model(space), random_graph()
    configs = random_configs(sage(small_card(other)), graph, 3)
    message = (
        rf"small-{space}.*expected {space} configs, found {other} configs: use a model that was trained on {other}"
    )
    with pytest.raises(GraphError, match=message):
        model.score(graph, configs)
    with pytest.raises(GraphError, match="or an analytical one"):
        model.rank(graph, configs)


def test_refuses_configs_of_another_graph() -> None:
    graph = random_graph(configurable=4)
    with pytest.raises(GraphError, match="expected 4 configurable nodes as in the graph, found 5"):
        _model().score(graph, LayoutConfigs(np.zeros((1, 5, 18), np.float32)))


def test_scores_that_overflow_are_refused() -> None:
    """No node feature is that large: their logarithm is taken. Tile sizes go in as they are."""
    graph, model = random_graph(), _model("tile")
    sizes = np.ones((3, 24), np.float32)
    sizes[1] = 3e38
    with pytest.raises(ScoreError, match=r"small-tile', graph of 12 nodes: .*for config 1 and 1 of 3 in all"):
        model.score(graph, TileConfigs(sizes))
    assert np.isfinite(model.score(graph, TileConfigs(sizes[::2]))).all()


def test_a_sum_that_overflows_only_as_float32() -> None:
    """1.6e38 is a number, and so is every node's share of 4e38, but not the sum: the largest float32 is 3.4e38."""
    graph, card = random_graph(), small_card("tile")
    weights = random_weights(card.architecture)
    configs = TileConfigs(np.full((2, 24), 1e38, np.float32))
    scores = LearnedCostModel(network_of(card.architecture, weights), card).score(graph, configs)
    assert scores.tolist() == pytest.approx([1.615e38, 1.615e38], rel=1e-3)
    weights["output_shaping.weight"] *= 2.5
    with pytest.raises(ScoreError, match="found inf for config 0 and 2 of 2 in all"):
        LearnedCostModel(network_of(card.architecture, weights), card).score(graph, configs)


def test_refuses_the_card_of_another_network() -> None:
    network = network_of(small_card().architecture, random_weights(small_card().architecture))
    other = small_card(architecture=Architecture(18, 4, (6, 6), residual=False, output_scale=0.5))
    with pytest.raises(CardError, match=r"architecture: expected the network's .*residual=True"):
        LearnedCostModel(network, other)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "meta", "cpu:0"])
def test_unknown_devices(path: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=f"device: expected cpu, cuda or cuda:<number>, found '{device}'"):
        CostModel.load(path, device=device)


def test_devices_that_are_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match=r"device 'cuda': expected one of the GPUs .*, found 0: use the device cpu"):
        CostModel.load(path, device="cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"device 'cuda:2': expected one of the GPUs .*, found 2"):
        CostModel.load(path, device="cuda:2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_scores(path: Path) -> None:
    graph = random_graph()
    configs = random_configs(sage(small_card()), graph, 9)
    expected = CostModel.load(path).score(graph, configs)
    np.testing.assert_allclose(CostModel.load(path, device="cuda").score(graph, configs), expected, rtol=1e-4)


def test_precision(path: Path) -> None:
    graph = random_graph()
    configs = random_configs(sage(small_card()), graph, 9)
    exact = CostModel.load(path, device="cpu").score(graph, configs)
    rough = CostModel.load(path, precision="bfloat16").score(graph, configs)
    # bfloat16 has eight bits: 1/256, a few times over.
    np.testing.assert_allclose(rough, exact, rtol=0.05)
    assert rough.tolist() != exact.tolist()
    with pytest.raises(DeviceError, match="precision: expected float32 or bfloat16, found 'float16'"):
        CostModel.load(path, precision="float16")  # type: ignore[arg-type]


def test_the_published_sizes(tmp_path: Path) -> None:
    """The largest published network: 2,272,485 weights of four bytes, and a header of a few kilobytes."""
    architecture = Architecture(24, 64, (256,) * 4 + (512,) * 4)
    card = small_card("tile", architecture=architecture)
    path = tmp_path / "tile.safetensors"
    write_checkpoint(path, random_weights(architecture), card)
    assert 0 < path.stat().st_size - 4 * 2_272_485 < 8192
    graph = random_graph()
    configs = random_configs(architecture, graph, 4)
    assert np.isfinite(CostModel.load(path).score(graph, configs)).all()
