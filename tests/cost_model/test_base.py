from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import cost_model
from cost_model import (
    DEVICES,
    AnalyticalCostModel,
    CheckpointError,
    ConfigBatch,
    CostModel,
    GraphError,
    LayoutConfigs,
    ProgramGraph,
    UnknownModelError,
)
from cost_model.base import PRETRAINED, shipped_checkpoints
from tests.cost_model.graphs import layout_configs, product_graph

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "device"),
    [("analytical", "cpu"), *((f"analytical:{device}", device) for device in DEVICES)],
)
def test_load(name: str, device: str) -> None:
    model = CostModel.load(name)
    assert isinstance(model, AnalyticalCostModel)
    assert model.device is DEVICES[device]
    assert model.name == f"analytical:{device}"
    assert CostModel.load(model.name).name == model.name


@pytest.mark.parametrize("name", ["analytical:gpu", "layout-none", "", ".", "analytical:cpu:fast"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(
        UnknownModelError, match=r"expected one of analytical, analytical:cpu, .*:tpu7x.* or the path"
    ) as e:
        CostModel.load(name)
    assert isinstance(e.value, CheckpointError)
    assert repr(name) in str(e.value)


@pytest.mark.parametrize("name", ["model.safetensors", "./model", "models/layout", Path("models", "layout")])
def test_what_looks_like_a_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError, match="expected a checkpoint, found no such file: check the path") as e:
        CostModel.load(name)
    assert str(e.value).startswith(str(Path(name)))


def test_a_word_is_a_path_if_it_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "word").write_text("no model")
    (tmp_path / "analytical").write_text("no model")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="word: expected a safetensors file"):
        CostModel.load("word")
    with pytest.raises(UnknownModelError, match="cost model 'folder': expected one of"):
        CostModel.load("folder")
    assert CostModel.load("analytical").name == "analytical:cpu"


def test_every_checkpoint_that_ships_loads() -> None:
    for name, path in shipped_checkpoints().items():
        assert path.parent == PRETRAINED
        assert CostModel.load(name).name == name


class _Fixed(CostModel):
    @property
    def name(self) -> str:
        return "fixed"

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        return np.array([3, 1, 2, 1], np.float32)


def test_rank_is_stable() -> None:
    graph = product_graph(4, 4, 4)
    ranks = _Fixed().rank(graph, layout_configs(graph, {}, {}, {}, {}))
    assert ranks.tolist() == [1, 3, 2, 0]
    assert ranks.dtype == np.int64


def test_configs_of_another_graph_are_refused() -> None:
    with pytest.raises(GraphError, match="expected 1 configurable nodes as in the graph, found 2"):
        CostModel.load("analytical").score(product_graph(4, 4, 4), LayoutConfigs(np.zeros((1, 2, 18), np.float32)))


def test_learned_models_are_imported_when_asked_for() -> None:
    from cost_model.learned import LearnedCostModel

    assert cost_model.LearnedCostModel is LearnedCostModel
    assert set(cost_model.__all__) <= {*dir(cost_model), "LearnedCostModel"}
    with pytest.raises(AttributeError, match="module 'cost_model' has no attribute 'nothing'"):
        cost_model.nothing  # noqa: B018


def test_importing_cost_model_imports_nothing_heavy() -> None:
    script = (
        "import sys, cost_model\n"
        "from cost_model import card, checkpoint, metrics\n"
        "cost_model.CostModel.load('analytical')\n"
        "heavy = {'jax', 'jaxlib', 'google', 'protos', 'autotune', 'tensorflow', 'grpc', 'torch', 'scipy'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"
