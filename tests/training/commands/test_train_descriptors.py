"""`autotune train` on collections that were made here, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autotune.cli import app
from cost_model import Architecture, CostModel, LearnedCostModel
from cost_model.descriptors.architecture import DescriptorArchitecture
from tests.own_collection import NAME, write_collection

FAST = ["--iterations", "20", "--set", "architecture.members=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six families."""
    root = tmp_path_factory.mktemp("data")
    write_collection(root)
    return root


def _run(*arguments: object, data: Path, tmp_path: Path, expected: int = 0) -> str:
    command = [*map(str, arguments), "--data", str(data), "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == expected, result.output
    return result.stdout if expected == 0 else result.output


def _model(path: Path) -> LearnedCostModel:
    model = CostModel.load(path)
    assert isinstance(model, LearnedCostModel)
    return model


def test_a_descriptor_network_is_the_default(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = _run("train", NAME, "--out", out, *FAST, data=data, tmp_path=tmp_path)
    assert "e__small" in printed
    assert "f__small" in printed
    card = _model(out / "model.safetensors").card
    assert (card.kind, card.target, card.label_kind) == ("descriptors", NAME, "estimated")
    assert card.training_data[0].families == ("a", "b", "c", "d")
    assert card.metrics["valid"]["families"] == ["e"]
    assert card.metrics["test"]["families"] == ["f"]
    judged = _run("evaluate", out / "model.safetensors", "--split", "test", data=data, tmp_path=tmp_path)
    assert "f__small" in judged


def test_settings_reach_the_card(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = json.loads(
        _run(
            "train", NAME, "--out", out, *FAST, "--set", "architecture.width=4", "--json", data=data, tmp_path=tmp_path
        )
    )
    assert len(facts["reports"]) == 2
    architecture = _model(Path(facts["model"])).card.architecture
    assert architecture == DescriptorArchitecture("layout", "tpu-v5e", width=4, members=2)


def test_the_published_network_on_the_same_data(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run("train", NAME, "--out", out, "--network", "sage", "--iterations", "2", data=data, tmp_path=tmp_path)
    card = _model(out / "model.safetensors").card
    assert (card.kind, card.target, card.label_kind) == ("sage", NAME, "estimated")
    assert isinstance(card.architecture, Architecture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layout:xla:random", "--network", "descriptors"], "expected a collection of `autotune collect`"),
        ([NAME, "--network", "gat"], "--network: expected sage or descriptors, found 'gat'"),
        ([NAME, "--set", "depth=3"], "depth: expected one of architecture.space"),
        (["layout-tpu-v6e"], "layout-tpu-v6e, train: found no files"),
    ],
)
def test_what_cannot_be(arguments: list[str], message: str, data: Path, tmp_path: Path) -> None:
    printed = _run("train", *arguments, "--out", tmp_path / "out", data=data, tmp_path=tmp_path, expected=1)
    assert message in " ".join(printed.split())
