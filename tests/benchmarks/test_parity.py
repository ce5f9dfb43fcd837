"""Parity with the original code, and that the comparison can fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import parity
from cost_model import ProgramGraph, TileConfigs, features
from cost_model.architecture import Architecture
from cost_model.network import SageNetwork
from tests.cost_model import networks

CASES = ("layout_narrow", "layout_wide_residual", "layout_wide_plain", "tile")


@pytest.fixture(scope="module")
def cases(shared: Path) -> dict[str, parity.Case]:
    loaded = parity.load_cases(shared / "data" / "golden" / "network_parity.json", shared / "data")
    return {case.name: case for case in loaded}


def test_every_case_is_compared(cases: dict[str, parity.Case]) -> None:
    assert tuple(cases) == CASES


@pytest.mark.parametrize("name", CASES)
def test_equals_the_original_code(cases: dict[str, parity.Case], name: str) -> None:
    case = cases[name]
    comparison = parity.compare(case, parity.build_network(case))
    assert comparison.beyond() == []
    known = {"diffmat", "mape", "listmle", "target"} & case.expected.keys()
    assert comparison.errors.keys() == {"parameters", "prediction", "gradient", "gradient_itself", "scorer"} | known
    assert comparison.parameters == case.expected["params"]


def test_one_other_weight_is_noticed(cases: dict[str, parity.Case]) -> None:
    case = cases["layout_narrow"]
    network = parity.build_network(case)
    with torch.no_grad():
        network.get_parameter("convs.3.lin_r.weight")[5, 7] += 1.0
    assert "prediction" in parity.compare(case, network).beyond()


# ---- A golden file of our own ---------------------------------------------------------------------------------------

SMALL = Architecture(features.TILE_FEATURES, in_channels=4, channels=(4, 6), residual=True)
MARGIN = 10_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with golden.json and kernel.npz: one small case whose numbers do not come from parity.py."""
    graph = networks.random_graph(nodes=6, edges=9)
    random = np.random.default_rng(0)
    tiles = random.integers(0, 9, (5, features.TILE_FEATURES)).astype(np.float32)
    np.savez(
        tmp_path / "kernel.npz",
        node_feat=graph.node_feat,
        node_opcode=graph.node_opcode.astype(np.int32),
        edge_index=graph.edge_index,
        config_feat=tiles,
        config_runtime=np.array([300, 200, 400, 100, 900]),
        config_runtime_normalizers=np.full(5, 200),
    )
    chosen = [4, 0, 1, 3]
    weights = {
        name: np.random.RandomState(seed).standard_normal(shape) * np.sqrt(2 / shape[-1])
        for seed, (name, shape) in enumerate(sorted(SMALL.parameter_shapes.items()))
    }
    rows = [networks.config_rows(graph, TileConfigs(tiles), config) for config in chosen]
    predicted = np.array([networks.reference_score(weights, SMALL, graph, each) for each in rows])
    case = {
        "graph": "kernel.npz",
        "configs": chosen,
        "microbatch": 2,
        "margin": MARGIN,
        "scale": 0.5,
        "network": {
            "in_channels": 4,
            "channels": [4, 6],
            "residual": True,
            "feature_transform": "signed_log",
            "output_scale": 1.0,
        },
        "params": SMALL.parameters,
        # 900, 300, 200 and 100 ns, the default 200 ns
        "target": [4.5, 1.5, 1.0, 0.5],
        "prediction": predicted.tolist(),
        # Slates (0, 1) and (2, 3); the first of each is the slower one. Both hinges are at work.
        "diffmat": 0.5 * (MARGIN - predicted @ [1, -1, 1, -1] / 2),
        "mape": float(np.mean(np.abs(predicted - [4.5, 1.5, 1, 0.5]) / [4.5, 1.5, 1, 0.5])),
        "grad_norms": _gradient_norms(weights, graph, np.array(rows)),
    }
    assert np.abs(predicted).max() < MARGIN / 2
    (tmp_path / "golden.json").write_text(json.dumps({"cases": {"small": case}}))
    return tmp_path


def _gradient_norms(weights: networks.Weights, graph: ProgramGraph, rows: NDArray[np.float32]) -> dict[str, float]:
    """Of 0.5 (margin - (p0 - p1 + p2 - p3) / 2), in float64 and config by config."""
    network = SageNetwork(SMALL).double()
    network.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    for sign, row in zip((1, -1, 1, -1), rows, strict=True):
        score = network(
            torch.tensor(graph.node_feat).double(),
            torch.tensor(graph.node_opcode),
            torch.tensor(graph.edge_index.T),
            torch.tensor(row).double(),
        )
        (-0.25 * sign * score).backward()
    return {
        name: parameter.grad.norm().item()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "golden.json"
    document = json.loads(path.read_text())
    document["cases"]["small"] |= changes
    path.write_text(json.dumps(document))


def _compare(folder: Path) -> parity.Comparison:
    (case,) = parity.load_cases(folder / "golden.json", folder)
    return parity.compare(case, parity.build_network(case))


def test_a_small_case_agrees(folder: Path) -> None:
    comparison = _compare(folder)
    assert comparison.beyond() == []
    assert comparison.parameters == SMALL.parameters
    # the file has no ListMLE
    assert [*comparison.errors] == [
        "parameters", "target", "prediction", "diffmat", "mape", "gradient", "gradient_itself", "scorer",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["target", "prediction", "diffmat", "mape"])
def test_a_number_that_is_off_by_a_thousandth_is_noticed(folder: Path, key: str) -> None:
    before = json.loads((folder / "golden.json").read_text())["cases"]["small"][key]
    _edit(folder, **{key: (np.array(before) * 1.001).tolist()})
    comparison = _compare(folder)
    assert key in comparison.beyond()
    assert comparison.errors[key] == pytest.approx(1 - 1 / 1.001, rel=0.05)


@pytest.mark.parametrize("name", ["convs.1.lin_l.weight", "input_shaping.bias", "node_opcode_embedding.weight"])
def test_one_gradient_that_is_off_is_noticed(folder: Path, name: str) -> None:
    norms = json.loads((folder / "golden.json").read_text())["cases"]["small"]["grad_norms"]
    _edit(folder, grad_norms=norms | {name: 1.01 * norms[name]})
    comparison = _compare(folder)
    assert comparison.beyond() == ["gradient"]
    assert comparison.errors["gradient_itself"] >= 1 - 1 / 1.01 - 1e-4


def test_other_parameters_are_noticed(folder: Path) -> None:
    _edit(folder, params=SMALL.parameters + 1)
    assert _compare(folder).beyond() == ["parameters"]
    norms = json.loads((folder / "golden.json").read_text())["cases"]["small"]["grad_norms"]
    norms["root.weight"] = norms.pop("convs.0.lin_r.weight")
    _edit(folder, params=SMALL.parameters, grad_norms=norms)
    comparison = _compare(folder)
    assert comparison.beyond() == ["parameters", "gradient", "gradient_itself"]
    assert comparison.errors["parameters"] == 2


def test_what_is_beyond_the_tolerance() -> None:
    errors = {"prediction": 5e-5, "scorer": 5e-5, "gradient": float("nan"), "gradient_itself": 1.0}
    comparison = parity.Comparison("case", 1, errors)
    assert comparison.beyond() == ["scorer", "gradient"]
    assert comparison.beyond(tolerance=1e-5, scorer_tolerance=1e-4) == ["prediction", "gradient"]


def _main(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> None:
    arguments = ["--golden", str(folder / "golden.json"), "--data", str(folder), *options]
    monkeypatch.setattr(sys, "argv", ["parity", *arguments])
    parity.main()


def test_prints_and_writes_a_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _main(monkeypatch, folder, "--json", str(folder / "table.json"))
    rows = {row["of"]: row["small"] for row in json.loads((folder / "table.json").read_text())["rows"]}
    assert rows["parameters"] == SMALL.parameters
    assert 0 <= rows["prediction"] < 100
    assert "prediction" in capsys.readouterr().out


def test_exit_code_beyond_the_tolerance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(folder, mape=1e9)
    with pytest.raises(SystemExit, match=r"beyond the tolerance:\nsmall: the error of mape is 1.0e\+00"):
        _main(monkeypatch, folder)


@pytest.mark.parametrize("missing", ["golden.json", "kernel.npz"])
def test_a_missing_file_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    (folder / missing).unlink()
    with pytest.raises(SystemExit) as exit_code:
        _main(monkeypatch, folder)
    assert exit_code.value.code == 2
    message = capsys.readouterr().err
    assert "expected golden cases (--golden) and their graphs (--data)" in message
    assert str(folder / missing) in message
