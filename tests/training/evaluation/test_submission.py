"""The submission: rows by hand, what is missing or too much, and the command on the real unlabelled files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from autotune.cli import app
from cost_model import CostModel
from cost_model.npz import read_npz
from tests.cost_model.models import write_small
from tests.training.data_sets import layouts, tiles, write
from tests.training.scorers import Chosen
from training.data.collections import COLLECTIONS
from training.data.store import open_split
from training.errors import TrainingDataError, TrainingError
from training.evaluation.predictions import Predictions, merge
from training.evaluation.submission import make_submission, predict, read_sample

RANDOM, TILE = "layout:xla:random", "tile:xla"


def _predictions(**scores: list[float]) -> Predictions:
    """Scores of programs, by collection with _ for :, and __ before the name."""
    arrays = {name.replace("__", ":").replace("_", ":"): np.array(each, np.float32) for name, each in scores.items()}
    return Predictions("test", arrays, {})


def test_rows_by_hand(tmp_path: Path) -> None:
    # Equal scores keep their order; tiles list five.
    scores = _predictions(tile_xla__k=[6, 5, 4, 3, 2, 1], layout_xla_random__p=[2, 1, 2, 0])
    make_submission(scores, partial=True).save(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "ID,TopConfigs\nlayout:xla:random:p,3;1;0;2\ntile:xla:k,5;4;3;2;1\n"


def test_the_order_of_the_sample() -> None:
    scores = _predictions(layout_xla_random__a=[1, 2], layout_xla_random__b=[2, 1], tile_xla__k=[1])
    sample = ("tile:xla:k", "layout:xla:random:b", "layout:xla:random:a")
    submission = make_submission(scores, sample=sample)
    assert submission.rows == {sample[0]: (0,), sample[1]: (1, 0), sample[2]: (0, 1)}
    assert list(submission.rows) == list(sample)
    assert submission.counts() == {RANDOM: 2, TILE: 1}


def test_all_five_collections_unless_partial() -> None:
    everything = {name.replace(":", "_") + "__p": [1.0] for name in COLLECTIONS}
    assert len(make_submission(_predictions(**everything)).rows) == 5
    del everything["layout_nlp_default__p"], everything["tile_xla__p"]
    with pytest.raises(TrainingDataError, match=r"found none of layout:nlp:default, tile:xla: add .* --partial"):
        make_submission(_predictions(**everything))
    assert len(make_submission(_predictions(**everything), partial=True).rows) == 3


def test_ids_that_are_missing_or_too_many() -> None:
    scores = _predictions(tile_xla__a=[1], tile_xla__b=[1])
    sample = [f"tile:xla:{name}" for name in "acdef"]
    with pytest.raises(TrainingDataError, match=r"the 5 ids .* found 1 not in the sample: tile:xla:b; 4 missing: "):
        make_submission(scores, sample=sample, partial=True)
    listed = r"4 missing: tile:xla:c, tile:xla:d, tile:xla:e, \.\.\.\. Add .* --partial"
    with pytest.raises(TrainingDataError, match=listed):
        make_submission(_predictions(tile_xla__a=[1]), sample=sample)
    assert list(make_submission(_predictions(tile_xla__a=[1]), sample=sample, partial=True).rows) == ["tile:xla:a"]


def test_configs_without_a_score() -> None:
    with pytest.raises(TrainingDataError, match=r"tile:xla:a: .* found none for 2 of 3, the first of them 1"):
        make_submission(_predictions(tile_xla__a=[1, np.nan, np.nan]), partial=True)


def test_scores_of_several_sources() -> None:
    first, second = _predictions(tile_xla__a=[1]), _predictions(layout_xla_random__a=[2])
    assert list(merge([first, second]).scores) == ["tile:xla:a", "layout:xla:random:a"]
    with pytest.raises(TrainingDataError, match=r"tile:xla:a: expected one source .* found two \(1 such ids\)"):
        merge([first, second, first])
    with pytest.raises(TrainingDataError, match="one split, found those of test and valid"):
        merge([first, Predictions("valid", {}, {})])
    with pytest.raises(TrainingDataError, match="found none"):
        merge([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 'an empty file'"),
        ("id,configs\n", "with the columns ID,TopConfigs, found 'id,configs'"),
        ("ID,TopConfigs\n", "found the header alone"),
        ("ID,TopConfigs\ntile:xla:a,0\ntile:xla:a,0\n", "expected every id once, found 'tile:xla:a', 2 times"),
        ("ID,TopConfigs\ntile:a,0\n", "expected ids such as layout:xla:random:<file stem>, found 'tile:a'"),
    ],
)
def test_samples_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=rf"s\.csv: .*{message}"):
        read_sample(tmp_path / "s.csv")


def test_a_sample_with_windows_line_ends_and_a_mark(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbfID,TopConfigs\r\ntile:xla:a,0;1\r\ntile:xla:b,0\r\n\r\n")
    assert read_sample(tmp_path / "s.csv") == ("tile:xla:a", "tile:xla:b")
    (tmp_path / "s.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingDataError, match="found no text"):
        read_sample(tmp_path / "s.csv")
    with pytest.raises(TrainingDataError, match="cannot be read"):
        read_sample(tmp_path / "missing.csv")


def test_test_splits_keep_every_config_and_its_place(tmp_path: Path) -> None:
    write(tmp_path, RANDOM, "test", "p", layouts(3, 1, 3, 2))
    write(tmp_path, RANDOM, "test", "q", layouts(7))
    told: list[tuple[int, int, str]] = []
    model = Chosen({1: 10, 2: 5, 3: 20, 7: 0})
    split = open_split(tmp_path, RANDOM, "test", store=tmp_path / "store")
    scores = predict(model, split, progress=lambda *state: told.append(state))
    rows = make_submission(scores, partial=True).rows
    assert rows == {"layout:xla:random:p": (3, 1, 0, 2), "layout:xla:random:q": (0,)}
    assert told == [(4, 5, "p"), (5, 5, "q")]


def submit_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["submit", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two test programs of each collection, and a validation split."""
    for collection in COLLECTIONS:
        for name in ("a", "b"):
            configs = tiles(1, 2, 3, 4, 5, 6) if collection == TILE else layouts(1, 0, 2)
            write(tmp_path / "data", collection, "test", name, configs)
    write(tmp_path / "data", RANDOM, "valid", "v", layouts(1, 0, 2), [1, 2, 3])
    return tmp_path / "data"


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, Path]:
    """A model for each collection."""
    files = {name: tmp_path / f"{name.replace(':', '_')}.safetensors" for name in COLLECTIONS}
    for name, file in files.items():
        write_small(file, COLLECTIONS[name].kind, target=name)  # type: ignore[arg-type]
    return files


def test_the_command_with_all_five(data: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out, kept, sample = tmp_path / "out.csv", tmp_path / "kept.npz", tmp_path / "sample.csv"
    ids = [f"{name}:{stem}" for stem in "ab" for name in COLLECTIONS]
    sample.write_text("ID,TopConfigs\n" + "".join(f"{name},0;1;2;3;4\n" for name in ids))
    options = ("--data", data, "--store", data / "store", "--out", out, "--sample", sample, "--save-scores", kept)
    done = submit_command(*checkpoints.values(), *options)
    assert done.exit_code == 0, done.output
    assert "10 programs; the same ids as in" in done.stdout
    header, *rows = out.read_text().splitlines()
    assert header == "ID,TopConfigs"
    assert [row.partition(",")[0] for row in rows] == ids
    for row in rows:
        name, _, listed = row.partition(",")
        collection, _, stem = name.rpartition(":")
        published = read_npz(data / COLLECTIONS[collection].folder / "test" / f"{stem}.npz")
        assert published.configs is not None
        scores = CostModel.load(checkpoints[collection]).score(published.graph, published.configs)
        order = [int(each) for each in listed.split(";")]
        assert len(order) == (5 if collection == TILE else 3)
        assert (np.diff(scores[order]) >= 0).all()
        assert scores[order[0]] == scores.min()
    # The same from the scores that were kept, without models and data.
    done = submit_command("--scores", kept, "--out", tmp_path / "again.csv", "--sample", sample, "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()
    result = json.loads(done.stdout)
    assert result["programs"] == dict.fromkeys(COLLECTIONS, 2)
    assert result["models"] == {name: str(file) for name, file in checkpoints.items()}


def test_collections_from_different_sources(data: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    write_small(tmp_path / "second.safetensors", "tile", seed=1, target=TILE)
    options = ("--data", data, "--store", data / "store", "--out", tmp_path / "out.csv", "--partial")
    named = f"layout:nlp:random={checkpoints[RANDOM]}"  # trained for another collection, used on purpose
    done = submit_command(
        checkpoints[TILE], "--checkpoint", named, "--checkpoint", f"{TILE}={tmp_path / 'second.safetensors'}", *options
    )
    assert done.exit_code == 0, done.output
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [
        f"{name}:{x}" for name in ("layout:nlp:random", TILE) for x in "ab"
    ]
    assert f"ensemble:{checkpoints[TILE]},{tmp_path / 'second.safetensors'}" in done.stdout


def test_mistakes_on_the_command_line(data: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    Predictions("valid", {f"{RANDOM}:v": np.zeros(3, np.float32)}, {}).save(tmp_path / "valid.npz")
    options = ("--out", out, "--store", data / "store")
    mistakes = {
        (): "expected checkpoints or --scores, found neither",
        (checkpoints[TILE],): "expected --data DIR",
        (checkpoints[TILE], "--data", data): "found none of layout:xla:random, layout:xla:default",
        ("--checkpoint", "x=y", "--data", data): "expected COLLECTION=CHECKPOINT with one of",
        ("analytical", "--data", data): "name the collection (evaluate: --collection; submit: --checkpoint",
        ("--scores", tmp_path / "valid.npz"): "expected scores of the split 'test', found those of 'valid'",
        (checkpoints[TILE], "--data", tmp_path / "none", "--partial"): "found no files",
    }
    for arguments, message in mistakes.items():
        done = submit_command(*arguments, *options)
        assert done.exit_code == 1, arguments
        assert message in done.stderr, arguments
    assert not out.exists()
    done = submit_command(checkpoints[TILE], "--data", data, "--out", tmp_path / "no" / "out.csv", "--partial")
    assert "is no folder that can be written to" in done.stderr


def test_nothing_is_scored_for_a_submission_that_cannot_be_complete(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sample.csv").write_text("ID,TopConfigs\ntile:xla:a,0\n")
    monkeypatch.setattr("training.evaluation.submission.score_stored", lambda *_, **__: pytest.fail("scored"))
    options = ("--data", data, "--store", data / "store", "--out", tmp_path / "out.csv")
    done = submit_command(checkpoints[TILE], *options, "--sample", tmp_path / "sample.csv")
    assert "found 1 not in the sample: tile:xla:b" in done.stderr


def test_damaged_files_are_left_out_only_on_request(data: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (data / "tile/xla/test/b.npz").write_bytes(b"PK broken")
    options = ("--data", data, "--store", data / "store", "--out", tmp_path / "out.csv", "--partial")
    assert submit_command(checkpoints[TILE], *options).exit_code == 1
    assert not (tmp_path / "out.csv").exists()
    done = submit_command(checkpoints[TILE], *options, "--skip-bad")
    assert done.exit_code == 0, done.output
    assert "skipped: " in done.stdout
    assert (tmp_path / "out.csv").read_text().startswith("ID,TopConfigs\ntile:xla:a,")


def test_the_real_unlabelled_files(shared: Path, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    there = ("layout:xla:random", "layout:xla:default", "layout:nlp:random", "tile:xla")
    options = ("--data", shared / "data/tpugraphs", "--store", tmp_path / "store", "--out", tmp_path / "out.csv")
    done = submit_command(*(checkpoints[name] for name in there), *options, "--partial")
    assert done.exit_code == 0, done.output
    rows = dict(row.split(",") for row in (tmp_path / "out.csv").read_text().splitlines()[1:])
    xla, nlp = "cd708819d3f5103afd6460b15e74eaf3", "23559853d9702baaaacbb0c83fd32266"
    layout_ids = [f"layout:xla:random:{xla}", f"layout:xla:default:{xla}", f"layout:nlp:random:{nlp}"]
    assert list(rows) == [*layout_ids, "tile:xla:d6f5f54247bd1e58a10b9e7062c636ab"]
    for name in layout_ids:
        assert sorted(map(int, rows[name].split(";"))) == list(range(1000))
    assert len(set(rows["tile:xla:d6f5f54247bd1e58a10b9e7062c636ab"].split(";"))) == 5


def test_an_unwritable_submission(tmp_path: Path) -> None:
    submission = make_submission(_predictions(tile_xla__a=[1]), partial=True)
    with pytest.raises(TrainingError, match="cannot be written"):
        submission.save(tmp_path / "missing" / "s.csv")
