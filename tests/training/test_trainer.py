"""Trainings from the first step to the model: seeded, resumed bit for bit, stopped with words."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cost_model.checkpoint import read_checkpoint
from cost_model.learned import LearnedCostModel
from tests.training.trainings import COLLECTION, open_programs, small_recipe, write_programs
from training.callbacks import LAST
from training.data.store import StoredGraph
from training.errors import TrainingError
from training.evaluation.evaluate import evaluate_model
from training.journal import TABLE
from training.module import DivergedError
from training.recipes import Recipe, RecipeError
from training.trainer import PLOT, Hardware, Schedule, TrainingResult, train

HERE = Hardware("cpu")
OFTEN = Schedule(checkpoint_every=30, judge_every=100, judge_limit=20)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_programs(folder)
    return folder


@pytest.fixture(scope="module")
def graphs(data: Path) -> tuple[StoredGraph, ...]:
    return open_programs(data)


def _weights(result: TrainingResult) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in read_checkpoint(result.model)[1].items()}


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


class StopsAt:
    """Presses Ctrl-C at an iteration."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def advance(self, iteration: int, total: int, numbers: Mapping[str, float]) -> None:
        if iteration == self._iteration:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "loss.objective": "list_mle",
            "optimisation.optimiser": "adamw",
            "optimisation.gradient_clip": 100,
            "architecture.output_scale": 1,
        },
        {"loss.objective": "pairwise_hinge", "architecture.layout_embedding": 2},
        {"loss.objective": "list_mle", "architecture.late_width": 8},
    ],
)
def test_it_learns_to_rank(tmp_path: Path, changes: dict[str, Any]) -> None:
    # Initial weights put configs into the order of one labelling or its reverse; a trained network must do both.
    for fast in (False, True):
        data, out = tmp_path / f"data-{fast}", tmp_path / f"out-{fast}"
        write_programs(data, fast=fast)
        graphs = open_programs(data)
        recipe = small_recipe(iterations=250, **{"optimisation.learning_rate": 0.01, **changes})
        result = train(recipe, graphs, out, validation=graphs, schedule=OFTEN, hardware=HERE)
        assert result.report is not None
        tau = result.report.mean("tau").value
        assert tau > 0.6
    # and the file is the model that was judged
    model = LearnedCostModel.from_checkpoint(result.model)
    assert evaluate_model(model, graphs).mean("tau").value == tau
    assert model.card.target == COLLECTION
    assert Recipe.from_json(model.card.recipe) == recipe
    assert (model.card.training_data[0].graphs, model.card.training_data[0].configs) == (2, sum(map(len, graphs)))
    assert (out / PLOT).read_bytes().startswith(b"\x89PNG")


def test_what_is_written_down(data: Path, graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    train(small_recipe(iterations=250), graphs, tmp_path, validation=open_programs(data, "valid"), schedule=OFTEN,
          hardware=HERE)  # fmt: skip
    rows = _rows(tmp_path)
    assert [row["iteration"] for row in rows if row["loss"]] == ["100", "200", "250"]
    assert [row["iteration"] for row in rows if row["tau/mean"]] == ["100", "200", "250"]
    # milestones at 150, 175, 200 and 225 of 250; half a power of ten each
    rates = [float(row["learning_rate"]) for row in rows if row["loss"]]
    np.testing.assert_allclose(rates, [0.003, 0.003 * 10**-1.5, 0.003 * 10**-2], rtol=1e-6)
    taus = [float(rows[-1][f"tau/{name}"]) for name in ("p0", "p1")]
    assert float(rows[-1]["tau/mean"]) == pytest.approx(np.mean(taus))
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_the_seed_decides_everything(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    first, again, other = (
        _weights(train(small_recipe(iterations=20, seed=seed), graphs, tmp_path / name, hardware=HERE))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize(("workers", "late_width"), [(0, 0), (2, 0), (0, 8)])
def test_an_interrupted_training_goes_on_bit_for_bit(
    graphs: tuple[StoredGraph, ...], data: Path, tmp_path: Path, workers: int, late_width: int
) -> None:
    recipe = small_recipe(iterations=250, **{"architecture.late_width": late_width})
    hardware = Hardware("cpu", workers=workers)
    options: dict[str, Any] = {
        "validation": open_programs(data, "valid"),
        "schedule": Schedule(30, 125, 20),
        "hardware": hardware,
    }
    with pytest.raises(KeyboardInterrupt):
        train(recipe, graphs, tmp_path / "parts", reporter=StopsAt(200), **options)
    resumed = train(recipe, graphs, tmp_path / "parts", **options)
    whole = train(recipe, graphs, tmp_path / "whole", **options)
    assert (resumed.resumed_at, resumed.iterations, whole.resumed_at) == (200, 250, 0)
    assert _weights(resumed) == _weights(whole)
    parts, one = (
        [
            {name: value for name, value in row.items() if name != "iterations_per_second"}
            for row in _rows(tmp_path / run)
        ]
        for run in ("parts", "whole")
    )
    assert parts == one


def test_a_finished_training_is_left_alone(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    first = train(small_recipe(iterations=5), graphs, tmp_path, hardware=HERE)
    written = first.model.stat().st_mtime_ns
    again = train(small_recipe(iterations=5), graphs, tmp_path, hardware=HERE)
    assert (again.resumed_at, again.iterations, again.report) == (5, 5, None)
    assert again.model.stat().st_mtime_ns == written


def test_a_folder_of_another_recipe(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    train(small_recipe(iterations=2), graphs, tmp_path, hardware=HERE)
    with pytest.raises(RecipeError, match=r"another recipe, which differs in loss.margin \(0.1 there, 0.2 now\)"):
        train(small_recipe(iterations=2, **{"loss.margin": 0.2}), graphs, tmp_path, hardware=HERE)


def test_a_folder_of_something_else(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(TrainingError, match="expected an empty folder or one of a training, found other files"):
        train(small_recipe(iterations=2), graphs, tmp_path, hardware=HERE)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(TrainingError, match="cannot be used for a training"):
        train(small_recipe(iterations=2), graphs, tmp_path, hardware=HERE)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be used for a training"):
        train(small_recipe(iterations=2), graphs, tmp_path / "file", hardware=HERE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"something else"])
def test_a_damaged_checkpoint_is_named(graphs: tuple[StoredGraph, ...], tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small_recipe(iterations=101), graphs, tmp_path, hardware=HERE, reporter=StopsAt(100))
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.ckpt: expected a checkpoint of this tool.*remove it"):
        train(small_recipe(iterations=101), graphs, tmp_path, hardware=HERE)


def test_a_loss_that_is_no_number_ends_the_training(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    wild = small_recipe(iterations=150, **{"optimisation.learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"iteration 100: expected a finite loss, found .*lower the learning rate"):
        train(wild, graphs, tmp_path, hardware=HERE)


def test_more_devices_than_there_are(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"devices: expected at most the \d+ GPUs"):
        train(small_recipe(iterations=2), graphs, tmp_path, hardware=Hardware("cuda", devices=99))


def test_the_folder_says_what_is_trained(graphs: tuple[StoredGraph, ...], tmp_path: Path) -> None:
    train(small_recipe(iterations=2), graphs, tmp_path, hardware=HERE)
    assert Recipe.from_json(json.loads((tmp_path / "recipe.json").read_text())) == small_recipe(iterations=2)
