from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import training.data.store_file
from training.data.store_file import Source, StoreFileError, map_file, read_header, write_store_file

SOURCE = Source(10, 20, "digest")
ARRAYS: dict[str, NDArray[Any]] = {
    "bytes": np.arange(5, dtype=np.uint8),
    "matrix": np.arange(6, dtype=np.int64).reshape(2, 3),
    "nothing": np.empty((0, 26), np.uint16),
    "floats": np.array([[0.5], [-0.0]], np.float32),
    "last": np.empty((4, 0), np.uint8),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.graph"
    write_store_file(path, SOURCE, {"kind": "layout", "runs": 7}, ARRAYS)
    return path


def test_what_is_written_is_mapped(path: Path) -> None:
    header = read_header(path)
    assert (header.source, header.facts, header.size) == (SOURCE, {"kind": "layout", "runs": 7}, path.stat().st_size)
    content = map_file(path, header.size)
    assert list(header.arrays) == list(ARRAYS)
    for name, place in header.arrays.items():
        array = place.view(content)
        assert place.offset % 64 == 0
        assert array.dtype == ARRAYS[name].dtype
        assert array.shape == ARRAYS[name].shape
        assert array.tobytes() == ARRAYS[name].tobytes()
        assert not array.flags.writeable


@pytest.mark.parametrize("kept", [0, 10, 28, 60, 200, -1])
def test_a_beginning_is_no_file(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreFileError):
        read_header(path)


def test_more_than_a_file_is_none(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(StoreFileError, match=r"\d+ bytes of \d+"):
        read_header(path)


def test_every_bit_of_the_header_counts(path: Path) -> None:
    content = path.read_bytes()
    end = min(place.offset for place in read_header(path).arrays.values())
    for index in range(end):
        path.write_bytes(content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :])
        with pytest.raises(StoreFileError):
            read_header(path)


def test_another_format_or_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.data.store_file, "VERSION", training.data.store_file.VERSION + 1)
    with pytest.raises(StoreFileError, match="version"):
        read_header(path)
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(StoreFileError, match="format"):
        read_header(path)


def test_a_file_that_cannot_be_mapped(path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        map_file(path.with_name("gone"), 10)


def test_the_source_shows_every_kind_of_change(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"a" * 100)
    os.utime(path, ns=(1, 5_000_000_000))
    source = Source.of(path)
    assert (source.size, source.mtime_ns) == (100, 5_000_000_000)
    assert Source.of(path) == source
    path.write_bytes(b"a" * 99 + b"b")
    os.utime(path, ns=(1, 5_000_000_000))
    assert Source.of(path) != source, "same size, same time, other content"
    path.write_bytes(b"a" * 100)
    os.utime(path, ns=(1, 6_000_000_000))
    assert Source.of(path) != source
    with pytest.raises(FileNotFoundError):
        Source.of(tmp_path / "gone")
