"""Building the store: damaged sources, changed sources, several processes, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import training.data.store_file
from autotune.targets.isolation import WorkerFailure, WorkerFailureReason
from cost_model.npz import TuningArrays, write_npz
from tests.training.data_sets import GRAPH, layouts, tiles, values, write
from training.data import store_build
from training.data.store import StoredGraph, open_split
from training.data.store_file import read_header
from training.errors import StoreError, TrainingDataError

LAYOUT, TILE = "layout:xla:random", "tile:xla"


def _three(data: Path) -> list[Path]:
    return [write(data, LAYOUT, "train", name, layouts(1, 2, 1), [30, 20, 10]) for name in "abc"]


def _inode(graph: StoredGraph) -> int:
    return graph.path.stat().st_ino


def test_only_what_changed_is_made_again(data: Path, store: Path) -> None:
    a, b, _ = _three(data)
    before = [_inode(graph) for graph in open_split(data, LAYOUT, "train", store=store)]
    write(data, LAYOUT, "train", "b", layouts(1, 2, 3, 4), [1, 2, 3, 4])
    told: list[tuple[int, int, str]] = []
    split = open_split(data, LAYOUT, "train", store=store, progress=lambda *what: told.append(what))
    after = [_inode(graph) for graph in split]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert (split.made, told) == (1, [(1, 1, "b.npz")])
    assert [len(graph) for graph in split] == [2, 4, 2]
    # The same size at the same time: the directory at the end of the archive tells.
    size, when = b.stat().st_size, b.stat().st_mtime_ns
    write(data, LAYOUT, "train", "b", layouts(4, 2, 3, 1), [1, 2, 3, 4])
    os.utime(b, ns=(when, when))
    assert b.stat().st_size == size
    assert open_split(data, LAYOUT, "train", store=store).made == 1
    a.unlink()
    split = open_split(data, LAYOUT, "train", store=store)
    assert ([graph.name for graph in split], split.made) == (["b", "c"], 0)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "gone", "older"])
def test_a_damaged_file_of_the_store_is_made_again(
    data: Path, store: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three(data)
    path = open_split(data, LAYOUT, "train", store=store)[1].path
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-1])
        case "foreign":
            path.write_bytes(b"something else" * 1000)
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
        case "older":
            monkeypatch.setattr(training.data.store_file, "VERSION", training.data.store_file.VERSION + 1)
    split = open_split(data, LAYOUT, "train", store=store)
    assert split.made == (3 if damage == "older" else 1)
    assert split[1].runtimes is not None
    assert split[1].runtimes.tolist() == [10, 20]
    if damage != "older":
        assert path.read_bytes() == content


def _bad(data: Path) -> dict[str, str]:
    """Damaged files of all kinds, and a word of what is to be said of each."""
    folder = write(data, LAYOUT, "train", "good", layouts(1, 2), [3, 4]).parent
    good = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(good[: len(good) // 2])
    flipped = bytearray(good)
    flipped[100] ^= 255  # in the compressed features
    (folder / "flipped.npz").write_bytes(bytes(flipped))
    (folder / "text.npz").write_text("<html>not found</html>")
    (folder / "folder.npz").mkdir()
    (folder / "dangling.npz").symlink_to(folder / "gone")
    write_npz(folder / "alone.npz", TuningArrays(GRAPH))
    write_npz(folder / "tile.npz", TuningArrays(GRAPH, tiles(8, 4)))
    arrays = TuningArrays(GRAPH, layouts(1, 2)).arrays()
    fraction = arrays["node_config_feat"].copy()
    fraction[1, 0, 2] = 0.25
    np.savez(folder / "fraction.npz", **(arrays | {"node_config_feat": fraction}))  # type: ignore[arg-type]
    del arrays["edge_index"]
    np.savez(folder / "lacking.npz", **arrays)  # type: ignore[arg-type]
    return {
        "alone": "found a program alone",
        "cut": "expected an .npz file",
        "dangling": "cannot be read: No such file",
        "flipped": "undamaged",
        "folder": "cannot be read: Is a directory",
        "fraction": "found fractions",
        "lacking": "missing: edge_index",
        "text": "expected an .npz file",
        "tile": "expected layout configs, found tile configs",
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_sources_are_named_and_skipped_only_if_asked(data: Path, store: Path, workers: int) -> None:
    expected = _bad(data)
    with pytest.raises(TrainingDataError) as caught:
        open_split(data, LAYOUT, "train", store=store, workers=workers)
    assert "alone.npz: expected a program with layout configs, found a program alone" in str(caught.value)
    assert "and 8 more damaged: cut.npz, dangling.npz, flipped.npz, folder.npz, fraction.npz, ..." in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    split = open_split(data, LAYOUT, "train", store=store, workers=workers, skip_bad=True)
    assert ([graph.name for graph in split], split.made) == (["good"], 0), "made although others were damaged"
    for (name, words), message in zip(expected.items(), split.skipped, strict=True):
        assert f"/{name}.npz" in message
        assert words in message


def test_a_source_that_becomes_damaged_is_not_served_from_the_store(data: Path, store: Path) -> None:
    _, b, _ = _three(data)
    open_split(data, LAYOUT, "train", store=store)
    b.write_bytes(b.read_bytes()[:100])
    with pytest.raises(TrainingDataError, match=r"b\.npz"):
        open_split(data, LAYOUT, "train", store=store)
    split = open_split(data, LAYOUT, "train", store=store, skip_bad=True)
    assert [graph.name for graph in split] == ["a", "c"]


def test_a_store_that_cannot_be_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _three(data)
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"file/.*: cannot be written: (Not a directory|File exists). Name another folder"
    ):
        open_split(data, LAYOUT, "train", store=tmp_path / "file")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_build, "write_store_file", full)
    with pytest.raises(StoreError, match=r"a\.graph: cannot be written: No space left"):
        open_split(data, LAYOUT, "train", store=tmp_path / "store", skip_bad=True)


def test_a_store_on_a_read_only_disk_serves_what_it_has(
    data: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three(data)
    bad = data / "layout/xla/random/train/bad.npz"
    bad.write_bytes(b"nothing")
    open_split(data, LAYOUT, "train", store=store, skip_bad=True)

    os_open = os.open

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("training.data.store.os.open", read_only)
    split = open_split(data, LAYOUT, "train", store=store, skip_bad=True)
    assert ([graph.name for graph in split], split.made, len(split.skipped)) == (["a", "b", "c"], 0, 1)
    with monkeypatch.context() as writable:
        writable.setattr("training.data.store.os.open", os_open)
        write(data, LAYOUT, "train", "d", layouts(1, 2), [3, 4])
    monkeypatch.setattr(store_build, "write_store_file", read_only)
    with pytest.raises(StoreError, match=r"d\.graph: cannot be written: Read-only file system. Name another folder"):
        open_split(data, LAYOUT, "train", store=store, skip_bad=True)


class _Dying:
    """A worker whose child is killed, as the kernel does when memory runs out."""

    alive, process_id = False, None

    def __init__(self, _: str) -> None:
        pass

    def call(self, *_: object, **__: object) -> None:
        raise WorkerFailure(WorkerFailureReason.KILLED, "SIGKILL")

    def stop(self) -> None:
        pass


def test_a_child_that_dies_is_no_damaged_file(data: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _three(data)
    monkeypatch.setattr(store_build, "Worker", _Dying)
    with pytest.raises(StoreError, match=r"\.npz: the child process that read it failed: killed.*--workers"):
        open_split(data, LAYOUT, "train", store=store, workers=2, skip_bad=True)


def test_children_make_the_same_files(data: Path, store: Path) -> None:
    _three(data)
    told: list[int] = []
    one = open_split(data, LAYOUT, "train", store=store / "one", workers=1)
    two = open_split(
        data, LAYOUT, "train", store=store / "two", workers=2, progress=lambda done, total, _: told.append(done + total)
    )
    assert [a.path.read_bytes() for a in one] == [b.path.read_bytes() for b in two]
    assert told == [4, 5, 6]


OPEN = """
import sys
from training.data.store import open_split
said = lambda *what: print("file", flush=True)
split = open_split(sys.argv[1], sys.argv[3], "train", store=sys.argv[2], workers=int(sys.argv[4]), progress=said)
print("made", split.made, len(split), flush=True)
"""


def _opening(data: Path, store: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN, str(data), str(store), LAYOUT, str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_many_processes_one_builds(data: Path, store: Path) -> None:
    for index in range(12):
        write(data, LAYOUT, "train", f"model{index}", layouts(1, 2), [3, 4])
    processes = [_opening(data, store, workers=1) for _ in range(3)]
    made = []
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        words = output.splitlines()[-1].split()
        assert words[2] == "12"
        made.append(int(words[1]))
    assert sorted(made) == [0, 0, 12]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_builds_go_on(data: Path, store: Path, workers: int) -> None:
    rng = np.random.default_rng(workers)
    total = 60
    sources = {}
    for index in range(total):
        runs = range(1, 400 + index)
        sources[f"model{index:02}"] = list(runs)
        write(data, LAYOUT, "train", f"model{index:02}", layouts(*(run % 100 for run in runs)), list(runs))
    whole: set[Path] = set()
    for _ in range(6):
        with _opening(data, store, workers) as process:
            assert process.stdout is not None
            for _ in range(int(rng.integers(1, 6))):
                process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.02)))  # anywhere in the next file
            process.send_signal(signal.SIGKILL)
        files = set(store.rglob("*.graph"))
        assert whole <= files, "what was finished stays"
        for file in files:
            read_header(file)  # raises unless all of it is there
        whole = files
        if len(files) == total:
            break
    assert len(whole) > 0
    split = open_split(data, LAYOUT, "train", store=store)
    assert split.made == total - len(whole)
    assert not list(store.rglob("*.tmp")), "left by those that were killed"
    for graph in split:
        assert graph.raw_runtimes is not None
        assert graph.raw_runtimes.tolist() == sources[graph.name]
        assert values(graph.configs(graph.raw_ids))[:, 0, 0].tolist() == [run % 100 for run in sources[graph.name]]
