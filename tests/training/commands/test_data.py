"""`autotune data` as a user runs it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from autotune.cli import app
from tests.training.data_sets import layouts, tiles, write
from training.commands.progress import CountProgress


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "npz", "layout:xla:random", "train", "model", layouts(1, 2, 1), [100, 50, 110])
    write(tmp_path / "npz", "layout:xla:random", "train", "single", layouts(1), [100])
    write(tmp_path / "npz", "layout:xla:random", "test", "model", layouts(1, 2, 1))
    write(tmp_path / "npz", "tile:xla", "train", "kernel", tiles(8, 4), [2, 1], [1, 1])
    return tmp_path


def data_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_stats_of_everything_there_is(data: Path) -> None:
    done = data_command("stats", data, "--store", data / "store")
    assert done.exit_code == 0, done.output
    for words in ("layout:xla:random, train", "layout:xla:random, test", "tile:xla, train", "10.000%", "unknown"):
        assert words in done.stdout
    assert "fewer than two distinct configs: 1 (single)" in done.stdout
    assert "1 of 1 files converted" in done.stderr


def test_stats_of_some_as_json(data: Path) -> None:
    chosen = ("--collection", "layout:xla:random", "--split", "train", "--json")
    done = data_command("stats", data, "--store", data / "store", *chosen)
    (split,) = json.loads(done.stdout)["splits"]
    assert (split["collection"], split["split"], split["dropped"]) == ("layout:xla:random", "train", ["single"])
    assert split["counts"] == {
        "nodes": 3,
        "configurable_nodes": 1,
        "configs": 3,
        "distinct": 2,
        "duplicates": 1,
        "store_bytes": (data / "store/layout/xla/random/train/model.graph").stat().st_size,
        "npz_bytes": (data / "npz/layout/xla/random/train/model.npz").stat().st_size,
    }


def test_build_makes_files_once(data: Path) -> None:
    arguments = ("build", data, "--store", data / "store", "--workers", 2, "--json")
    first, second = (json.loads(data_command(*arguments).stdout)["splits"] for _ in range(2))
    assert [split["made"] for split in first] == [2, 1, 1]
    assert [split["made"] for split in second] == [0, 0, 0]
    assert [(split["graphs"], split["dropped"]) for split in second] == [(1, ["single"]), (1, []), (1, [])]
    assert len(list((data / "store").rglob("*.graph"))) == 4
    table = data_command("build", data, "--store", data / "store").stdout
    assert str(data / "store/tile/xla/train") in table


def test_damaged_files_end_the_command_unless_skipped(data: Path) -> None:
    bad = data / "npz/tile/xla/train/bad.npz"
    bad.write_bytes(b"nothing")
    store = ("--store", data / "store")
    done = data_command("stats", data, *store)
    assert done.exit_code == 1
    assert f"error: {bad}: expected an .npz file" in done.stderr
    document = json.loads(data_command("build", data, "--json", *store).stdout)
    assert (document["error"], document["exit_code"]) == ("TrainingDataError", 1)
    for command in ("stats", "build"):
        done = data_command(command, data, "--skip-bad", *store)
        assert done.exit_code == 0
        assert f"{bad}: expected an .npz file" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--collection", "xla"), "collection 'xla': expected one of layout:xla:random"),
        (("--split", "dev"), "split 'dev': expected one of train, valid, test"),
        (("--collection", "layout:nlp:random"), "layout:nlp:random, train: found no files; looked for "),
        (("--split", "valid"), "found no files of valid; looked in "),
    ],
)
def test_what_is_not_there(data: Path, options: tuple[str, ...], words: str) -> None:
    done = data_command("stats", data, "--store", data / "store", *options)
    assert done.exit_code == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage(data: Path) -> None:
    assert data_command("build", data, "--workers", 0).exit_code == 2
    assert data_command("stats").exit_code == 2


def test_the_bar_on_a_terminal_and_the_lines_of_a_log() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    log = Console(file=io.StringIO(), width=80)
    for console in (terminal, log):
        with CountProgress(console, "tile:xla, train", doing="converting", done="files converted") as progress:
            for done in range(1, 51):
                progress.update(done, 50, "x.npz")
    assert isinstance(terminal.file, io.StringIO)
    assert isinstance(log.file, io.StringIO)
    assert "50/50" in terminal.file.getvalue()
    lines = log.file.getvalue().splitlines()
    assert lines == [f"tile:xla, train: {done} of 50 files converted" for done in range(5, 51, 5)]


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, autotune.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {"numpy", "torch", "jax"}.isdisjoint(done.stdout.split())
