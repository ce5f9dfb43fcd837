"""Which configs are judged, and what the scores of small data sets are worth; the command as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from typer.testing import CliRunner, Result

from autotune.cli import app
from cost_model import CostModel
from cost_model.npz import read_npz
from tests.cost_model.models import write_small
from tests.training.data_sets import layouts, tiles, write
from tests.training.scorers import Chosen
from training.data.store import Split, open_split
from training.errors import TrainingDataError, TrainingError
from training.evaluation import predictions
from training.evaluation.evaluate import evaluate_model, score_graphs
from training.evaluation.indices import choose_configs, find_indices, read_indices
from training.evaluation.predictions import Predictions

RANDOM, DEFAULT, TILE = "layout:xla:random", "layout:xla:default", "tile:xla"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _open(data: Path, collection: str, split: str = "valid") -> Split:
    return open_split(data, collection, split, store=data / "store")


def test_all_distinct_configs_are_judged_by_their_least_runtime(data: Path) -> None:
    # Kinds 1, 2, 3 take at least 30, 10, 20; the scores put 2 before 1 before 3.
    write(data, RANDOM, "valid", "p", layouts(1, 2, 1, 3), [50, 10, 30, 20])
    (ranking,) = evaluate_model(Chosen({1: 2, 2: 1, 3: 3}), _open(data, RANDOM)).graphs
    assert (ranking.configs, ranking.choice) == (3, "distinct")
    assert ranking.tau == pytest.approx((2 - 1) / 3)
    assert ranking.top_1 == 1


def test_official_indices_are_positions_in_the_file(data: Path) -> None:
    # Positions 0, 2 and 3: kind 1 twice, as it was measured each time, and kind 3.
    write(data, RANDOM, "valid", "p", layouts(1, 2, 1, 3), [50, 10, 30, 20])
    write(data, RANDOM, "valid", "q", layouts(1, 2), [5, 6])
    model = Chosen({1: 2, 2: 1, 3: 1})
    scored = list(score_graphs(model, _open(data, RANDOM), indices={"p": np.array([0, 2, 3])}))
    assert [each.choice for each in scored] == ["official", "distinct"]
    assert scored[0].costs.tolist() == [50, 30, 20]
    assert scored[0].scores.tolist() == [2, 2, 1]
    assert model.batches == [2, 2], "the same config is scored once"
    np.testing.assert_array_equal(scored[0].file_scores(), np.array([2, np.nan, 2, 1], np.float32))


def test_tiles_are_judged_by_their_ratio(data: Path) -> None:
    # Ratios 1, .5 and .25; runtimes alone would be in the opposite order.
    write(data, TILE, "valid", "k", tiles(8, 4, 2), [10, 20, 30], [10, 40, 120])
    (ranking,) = evaluate_model(Chosen({8: 3, 4: 2, 2: 1}), _open(data, TILE)).graphs
    assert (ranking.tau, ranking.top_1, ranking.top_5_score) == (1, 1, 1)
    (ranking,) = evaluate_model(Chosen({8: 1, 4: 2, 2: 3}), _open(data, TILE)).graphs
    assert (ranking.tau, ranking.top_1) == (-1, 4)


def test_the_published_mean_leaves_out_unet_and_a_noisy_program(data: Path) -> None:
    for name in ("good", "unet_3d.4x4.bf16", "mlperf_bert_batch_24_2x2"):
        write(data, DEFAULT, "valid", name, layouts(1, 2, 3), [30, 20, 10] if name == "good" else [10, 20, 30])
    report = evaluate_model(Chosen(), _open(data, DEFAULT))
    assert report.left_out == ("mlperf_bert_batch_24_2x2", "unet_3d.4x4.bf16")
    assert report.mean().value == 1
    assert report.mean(everything=True).value == pytest.approx(-1 / 3)


def test_a_sample_is_the_same_each_time(data: Path) -> None:
    write(data, RANDOM, "valid", "p", layouts(*range(100)), range(1, 101))
    (graph,) = _open(data, RANDOM)
    first, second, other = (choose_configs(graph, None, 10, seed=seed) for seed in (0, 0, 1))
    assert first.choice == "sample"
    assert len(np.unique(first.ids)) == 10
    assert (first.costs == first.ids + 1).all()
    assert first.ids.tolist() == second.ids.tolist() != other.ids.tolist()
    assert choose_configs(graph, None, 100).choice == "distinct"
    assert choose_configs(graph, {"p": np.arange(50)}, 10).choice == "sample"


@pytest.mark.parametrize(("size", "batches"), [(5 * 72 - 1, [4, 4, 2]), (10 * 72, [10]), (1, [1] * 10)])
def test_batches_fit_in_memory(data: Path, monkeypatch: pytest.MonkeyPatch, size: int, batches: list[int]) -> None:
    write(data, RANDOM, "valid", "p", layouts(*range(10)), range(1, 11))
    # A config of one node takes 18 float32, 72 bytes.
    monkeypatch.setattr(predictions, "_BATCH_BYTES", size)
    model = Chosen()
    told: list[tuple[int, int, str]] = []
    report = evaluate_model(model, _open(data, RANDOM), progress=lambda *state: told.append(state))
    assert model.batches == batches
    assert told[-1] == (10, 10, "p")
    assert len(told) == len(batches)
    assert report.mean().value == -1


def test_files_without_labels_are_never_judged(data: Path) -> None:
    write(data, RANDOM, "valid", "a", layouts(1, 2), [1, 2])
    write(data, RANDOM, "valid", "b", layouts(1, 2))
    model = Chosen()
    with pytest.raises(TrainingDataError, match=r"b: expected measured runtimes.*autotune submit"):
        evaluate_model(model, _open(data, RANDOM))
    assert model.batches == [], "known before anything is scored"


def test_a_model_that_cannot_score_them_is_named(data: Path, tmp_path: Path) -> None:
    write(data, RANDOM, "valid", "p", layouts(1, 2), [1, 2])
    write_small(tmp_path / "tile.safetensors", "tile")
    with pytest.raises(TrainingError, match=r"layout:xla:random:p: cost model.*expected tile configs, found layout"):
        evaluate_model(CostModel.load(tmp_path / "tile.safetensors"), _open(data, RANDOM))
    with pytest.raises(TrainingError, match="layout:xla:random:p: expected finite scores of 'chosen'"):
        evaluate_model(Chosen({1: np.nan}), _open(data, RANDOM))


def test_indices_of_another_file(data: Path) -> None:
    write(data, RANDOM, "valid", "p", layouts(1, 2, 3), [1, 2, 3])
    (graph,) = _open(data, RANDOM)
    with pytest.raises(TrainingDataError, match=r"p: expected more than 7 configs, .* found 3: the file"):
        choose_configs(graph, {"p": np.array([0, 7])})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected JSON such as"),
        ("{", "expected JSON such as"),
        ('{"p": [1]}', "p: expected two positions or more"),
        ('{"p": [0, -1]}', "found \\[0, -1\\]"),
        ('{"p": [0, 1.5]}', "found \\[0, 1.5\\]"),
        ('{"p": "01"}', "found '01'"),
    ],
)
def test_damaged_indices(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(TrainingDataError, match=message):
        read_indices(tmp_path / "i.json")


def test_the_published_indices_are_found(shared: Path) -> None:
    data = shared / "data/tpugraphs"
    found = {each: find_indices(data, data, each) for each in (RANDOM, DEFAULT, "layout:nlp:random", TILE)}
    counts = [None if indices is None else len(indices) for indices in found.values()]
    assert counts == [7, 7, 20, None]
    assert (found[DEFAULT] or {})["unet_3d.4x4.bf16"].shape == (1000,)


def test_scores_in_a_file(tmp_path: Path) -> None:
    scores = {"tile:xla:a.b": np.array([1, np.nan], np.float32), "tile:xla:file": np.zeros(3, np.float32)}
    Predictions("valid", scores, {"tile:xla": "m"}).save(tmp_path / "s.npz")
    again = Predictions.load(tmp_path / "s.npz")
    assert (again.split, dict(again.models), list(again.scores)) == ("valid", {"tile:xla": "m"}, list(scores))
    for name in scores:
        np.testing.assert_array_equal(again.scores[name], scores[name])
    with pytest.raises(TrainingError, match="cannot be written"):
        again.save(tmp_path / "missing" / "s.npz")


def test_files_that_hold_no_scores(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", scores=np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickled.npz", about=np.array([{}], object))
    np.savez(tmp_path / "ids.npz", about=np.array('{"format": 1, "split": "test", "models": {}}'), p=np.zeros(2))
    np.savez(tmp_path / "newer.npz", about=np.array('{"format": 2, "split": "test", "models": {}}'))
    messages = {
        "other": "without `about`",
        "text": "found no .npz file",
        "pickled": "undamaged",
        "ids": "such as tile:xla:<file stem>, found 'p'",
        "newer": "format: expected 1, found 2",
        "missing": "cannot be read",
    }
    for name, message in messages.items():
        with pytest.raises(TrainingDataError, match=rf"{name}\.npz: .*{message}"):
            Predictions.load(tmp_path / f"{name}.npz")


def evaluate_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_small(tmp_path / "small.safetensors", "layout", target=RANDOM)
    return tmp_path / "small.safetensors"


def _write_random(data: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write(data, RANDOM, "valid", name, layouts(*rng.permutation(30)), rng.integers(1000, 2000, size=30).tolist())


def test_the_command_agrees_with_scipy(data: Path, checkpoint: Path) -> None:
    _write_random(data)
    done = evaluate_command(checkpoint, "--data", data, "--store", data / "store", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["collection"], result["split"], result["model"]) == (RANDOM, "valid", str(checkpoint))
    model, taus = CostModel.load(checkpoint), []
    for name in ("a", "b"):
        published = read_npz(data / "layout/xla/random/valid" / f"{name}.npz")
        assert published.configs is not None
        scores = model.score(published.graph, published.configs)
        taus.append(scipy.stats.kendalltau(scores, published.runtimes).statistic)
    assert [graph["tau"] for graph in result["graphs"]] == pytest.approx(taus)
    assert result["mean"]["tau"]["value"] == pytest.approx(np.mean(taus))
    assert "60 of 60 configs scored" in done.stderr


def test_the_table_says_what_was_judged(data: Path, checkpoint: Path) -> None:
    _write_random(data)
    (data / "eval_indices").mkdir()
    (data / "eval_indices/xla_random.json").write_text(json.dumps({"a": [0, 5, 7]}))
    options = (checkpoint, "--data", data, "--store", data / "store")
    shown = evaluate_command(*options).stdout
    assert "the official indices of 1 programs; all distinct configs of 1 programs" in shown
    assert "mean of all 2" in shown
    assert "configs: all distinct configs" in evaluate_command(*options, "--all-configs").stdout
    assert "configs: a sample of the configs" in evaluate_command(*options, "--limit", 2).stdout
    other = data / "other.json"
    other.write_text(json.dumps({"b": [1, 2, 3]}))
    judged = json.loads(evaluate_command(*options, "--indices", other, "--json").stdout)["graphs"]
    assert [(each["configs"], each["choice"]) for each in judged] == [(30, "distinct"), (3, "official")]
    other.write_text(json.dumps({"z": [1, 2, 3]}))
    done = evaluate_command(*options, "--indices", other)
    assert done.exit_code == 1
    assert "expected indices of programs such as a, b, found those of z" in done.stderr


def test_scores_and_figures_are_kept(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    _write_random(data)
    files = [tmp_path / name for name in ("s.npz", "bars.png", "scatter.svg")]
    options = [each for pair in zip(("--save-scores", "--plot", "--plot-scatter"), files, strict=True) for each in pair]
    done = evaluate_command(checkpoint, "--data", data, "--store", data / "store", *options)
    assert done.exit_code == 0, done.output
    kept = Predictions.load(files[0])
    assert kept.models == {RANDOM: str(checkpoint)}
    published = read_npz(data / "layout/xla/random/valid/a.npz")
    assert published.configs is not None
    expected = CostModel.load(checkpoint).score(published.graph, published.configs)
    np.testing.assert_allclose(kept.scores[f"{RANDOM}:a"], expected, rtol=1e-5)
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files[2].read_text()[:1000]


def test_mistakes_on_the_command_line(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    _write_random(data)
    write(data, RANDOM, "test", "t", layouts(1, 2, 3))
    options = ("--data", data, "--store", data / "store")
    mistakes = {
        ("analytical",): "name the collection (evaluate: --collection",
        (tmp_path / "none.safetensors",): "none.safetensors",
        (checkpoint, "--split", "test"): "Rank its configs with `autotune submit`",
        (checkpoint, "--collection", "layout:xla"): "expected one of layout:xla:random",
        (checkpoint, "--plot", "x.gif"): "expected a figure's ending, one of .png, .svg, .pdf, found '.gif'",
        (checkpoint, "--save-scores", tmp_path / "no/s.npz"): "is no folder that can be written to",
        (checkpoint, "--precision", "float16"): "precision: expected float32 or bfloat16",
        (checkpoint, "--device", "tpu"): "device: expected cpu",
        (checkpoint, "--indices", "i.json", "--all-configs"): "expected one of them, found both",
    }
    for arguments, message in mistakes.items():
        done = evaluate_command(*arguments, *options)
        assert done.exit_code == 1, arguments
        assert message in done.stderr, arguments


def test_an_analytical_model_and_an_ensemble(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    _write_random(data)
    write_small(tmp_path / "other.safetensors", "layout", seed=1, target=RANDOM)
    options = ("--data", data, "--store", data / "store", "--json")
    done = evaluate_command("analytical:tpu-v3", *options, "--collection", RANDOM)
    assert json.loads(done.stdout)["model"] == "analytical:tpu-v3"
    done = evaluate_command(checkpoint, tmp_path / "other.safetensors", *options)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == f"ensemble:{checkpoint},{tmp_path / 'other.safetensors'}"


def test_real_validation_file(shared: Path, tmp_path: Path) -> None:
    """unet_3d: the published file, its official indices, labels that the published means leave out."""
    options = ("--collection", DEFAULT, "--data", shared / "data/tpugraphs", "--store", tmp_path / "store", "--json")
    done = evaluate_command("analytical:tpu-v3", *options)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    (graph,) = result["graphs"]
    assert (graph["name"], graph["configs"], graph["choice"]) == ("unet_3d.4x4.bf16", 1000, "official")
    assert result["left_out_of_mean"] == ["unet_3d.4x4.bf16"]
    assert result["mean"]["tau"]["value"] is None
    published = read_npz(shared / "data/tpugraphs/layout/xla/default/valid/unet_3d.4x4.bf16.npz")
    chosen = json.loads((shared / "data/tpugraphs/eval_indices/xla_default.json").read_text())["unet_3d.4x4.bf16"]
    assert published.configs is not None
    assert published.runtimes is not None
    scores = CostModel.load("analytical:tpu-v3").score(published.graph, published.configs)
    expected = scipy.stats.kendalltau(scores[chosen], published.runtimes[chosen]).statistic
    assert result["mean_of_all"]["tau"]["value"] == graph["tau"] == pytest.approx(expected, abs=1e-12)
