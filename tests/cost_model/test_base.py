from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.mark.parametrize("name", ["analytical:gpu", "layout-cpu", "", "model.safetensors", "analytical:cpu:fast"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"expected one of analytical, analytical:cpu, .*:tpu7x") as e:
        CostModel.load(name)
    assert isinstance(e.value, CheckpointError)
    assert repr(name) in str(e.value)


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


def test_importing_cost_model_imports_nothing_heavy() -> None:
    script = (
        "import sys, cost_model\n"
        "from cost_model import metrics\n"
        "cost_model.CostModel.load('analytical')\n"
        "heavy = {'jax', 'jaxlib', 'google', 'protos', 'autotune', 'tensorflow', 'grpc', 'torch', 'scipy'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"
