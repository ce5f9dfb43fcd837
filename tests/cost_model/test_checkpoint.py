from __future__ import annotations

import errno
import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_model import Architecture, CheckpointError, UnknownModelError
from cost_model.checkpoint import LARGEST_FILE, LARGEST_HEADER, read_checkpoint, write_checkpoint
from tests.cost_model.models import random_weights, small_card, write_small

UPGRADE = "upgrade xla-autotune"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good checkpoint."""
    path = tmp_path / "model.safetensors"
    write_small(path)
    return path


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file, taken apart by hand."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _join(header: Mapping[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header, data = _split(path.read_bytes())
    change(header)
    path.write_bytes(_join(header, data))


def _change_card(path: Path, **changes: Any) -> None:
    def change(header: dict[str, Any]) -> None:
        card = json.loads(header["__metadata__"]["card"]) | changes
        header["__metadata__"]["card"] = json.dumps(card)

    _change_header(path, change)


def _refuse(path: Path, message: str) -> CheckpointError:
    """Expects an error that names the file, what was expected and what was found."""
    with pytest.raises(CheckpointError, match=message) as e:
        read_checkpoint(path)
    assert str(e.value).startswith(f"{path}: ")
    assert "expected" in str(e.value)
    assert "found" in str(e.value)
    return e.value


# ---- Writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["layout", "tile"])
def test_what_is_written_is_read(tmp_path: Path, space: Any) -> None:
    card = write_small(tmp_path / "model.safetensors", space)
    found, weights = read_checkpoint(tmp_path / "model.safetensors")
    assert found == card
    expected = random_weights(card.architecture)
    assert weights.keys() == expected.keys()
    for name, array in weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, expected[name])


def test_the_file_as_others_see_it(path: Path) -> None:
    card = small_card()
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"card": card.to_json()}
        assert set(file.keys()) == set(card.architecture.parameter_shapes)
    # The card comes first, for `head`.
    assert path.read_bytes()[8:].startswith(b'{"__metadata__":{"card":"{\\n  \\"format\\": \\"2.0\\",')
    # 20 * 140 + 20 + 120 * 12 + 4 * 50 + 4 + (6 * 4 + 6 + 6 * 4) + (6 * 6 + 6 + 6 * 6) + 6 + 1 weights of four bytes.
    assert len(_split(path.read_bytes())[1]) == 4 * 4603


def test_equal_models_give_equal_files(path: Path, tmp_path: Path) -> None:
    write_small(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot be written: No space left on device"):
        write_small(path, seed=1)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_rubbish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_small(path, seed=1)
    assert list(path.parent.iterdir()) == [path]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_small(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "input_shaping.bias",
            np.full(4, np.nan, np.float32),
            "input_shaping.bias: expected finite weights, found nan",
        ),
        ("input_shaping.bias", np.array([0, 0, -np.inf, 0], np.float32), "expected finite weights, found -inf"),
        ("input_shaping.bias", np.zeros(5, np.float32), r"input_shaping.bias: expected F32\[4\], found F32\[5\]"),
        ("input_shaping.bias", np.zeros(4), r"input_shaping.bias: expected F32\[4\], found float64\[4\]"),
        ("convs.2.lin_l.bias", np.zeros(6, np.float32), r"expected 13 tensors, found also convs.2.lin_l.bias"),
    ],
)
def test_refuses_to_write_other_weights(path: Path, name: str, array: Any, message: str) -> None:
    card, before = small_card(), path.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(path, random_weights(card.architecture) | {name: array}, card)
    assert path.read_bytes() == before


def test_refuses_to_write_some_of_the_weights(path: Path) -> None:
    card = small_card()
    weights = random_weights(card.architecture)
    del weights["input_shaping.bias"]
    with pytest.raises(CheckpointError, match=r"expected tensor input_shaping\.bias, found no such tensor"):
        write_checkpoint(path, weights, card)


def test_refuses_paths_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a name that ends in .safetensors, found '.bin'"):
        write_small(tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="cannot be written: No such file or directory"):
        write_small(tmp_path / "nowhere" / "model.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written: Is a directory"):
        write_small(tmp_path / "folder.safetensors")


def test_writes_nothing_that_it_could_not_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="shorten the card's recipe"):
        write_small(tmp_path / "model.safetensors", recipe={"log": "x" * LARGEST_HEADER})
    assert list(tmp_path.iterdir()) == []


# ---- Damaged files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda size, data: 0, "found only 0 bytes"),
        (lambda size, data: 5, "found only 5 bytes"),
        (lambda size, data: 8, "found only 8 bytes"),
        (lambda size, data: 9, r"expected a header of \d+ bytes, found 1: the file is cut off"),
        (lambda size, data: data - 1, r"expected a header of \d+ bytes, found \d+: the file is cut off"),
        (lambda size, data: data, r"expected \d+ bytes, found \d+: the file is cut off"),
        (lambda size, data: data + 1000, r"expected \d+ bytes, found \d+: the file is cut off"),
        (lambda size, data: size - 1, r"expected \d+ bytes, found \d+: the file is cut off"),
    ],
)
def test_files_cut_off(path: Path, kept: Callable[[int, int], int], message: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: kept(len(content), len(content) - 4 * 4603)])
    assert "copy or download the file again" in str(_refuse(path, message))


def test_something_after_the_weights(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    _refuse(path, r"expected \d+ bytes, found \d+: something follows the weights")


@pytest.mark.parametrize("length", [0, 1, LARGEST_HEADER + 1, 1 << 31, 1 << 60, (1 << 64) - 1])
def test_a_header_that_lies_about_its_length(path: Path, length: int) -> None:
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    _refuse(path, f"JSON header of up to {LARGEST_HEADER} bytes, found {length} as its length")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{}", "expected a model card in the header, found none"),
        (b"{]", "expected a JSON object as its header, found"),
        (b'{"a": 1, "a": 2}', "found the key 'a' more than once"),
        (b'{"a\xff": 1}', "expected a JSON object as its header, found 'utf-8' codec"),
        (b'{"a": ' + b"[" * 100_000, "found JSON that is nested too deeply"),
        (b'{"__metadata__": 3}', "expected a model card in the header, found none"),
        (b'{"__metadata__": {"card": 3}}', "expected a model card in the header, found none"),
        (b'{"__metadata__": {"format": "pt"}}', "other safetensors files are not cost models"),
        (b'{"__metadata__": {"card": "# Model card"}}', "model card: expected a JSON object, found Expecting value"),
        (b'{"__metadata__": {"card": "[]"}}', "model card: expected a JSON object, found a JSON list"),
    ],
)
def test_damaged_headers(path: Path, header: bytes, message: str) -> None:
    path.write_bytes(_join(header, _split(path.read_bytes())[1]))
    _refuse(path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_kind": None}, "model card: label_kind: expected one of measured, estimated, found None"),
        ({"space": "tile"}, "model card: architecture: config_features: expected 24"),
        ({"feature_schema": 2}, "model card: feature_schema: expected 1, found 2: " + UPGRADE),
        ({"format": "3.0"}, "model card: format: expected 2, found the newer 3.0: " + UPGRADE),
        ({"surprise": 1}, "model card: card: expected no keys but"),
    ],
)
def test_cards_that_do_not_fit(path: Path, changes: dict[str, Any], message: str) -> None:
    _change_card(path, **changes)
    _refuse(path, message)


def test_cards_of_a_newer_minor_version(path: Path) -> None:
    _change_card(path, format="2.7", surprise=1)
    assert read_checkpoint(path)[0] == small_card()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(path: Path, value: float) -> None:
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", value))
    _refuse(path, f"expected finite weights, found {value}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.pop("output_shaping.bias"), "expected tensor output_shaping.bias, found no such tensor"),
        (lambda h: h.update(extra=h["output_shaping.bias"]), "expected 13 tensors, found also extra"),
        (lambda h: h["output_shaping.bias"].update(dtype="I32"), r"expected F32\[1\], found I32\[1\]"),
        (lambda h: h["output_shaping.bias"].update(shape=[1, 1]), r"expected F32\[1\], found F32\[1, 1\]"),
        (lambda h: h["output_shaping.bias"].update(shape=[True]), r"expected F32\[1\], found F32\[True\]"),
        (lambda h: h["output_shaping.bias"].update(shape="[1]" * 100), r"expected F32\[1\], found F32\[1\]\[1\]"),
        (
            lambda h: h["input_shaping.bias"].update(shape=[1 << 50]),
            r"expected F32\[4\], found F32\[1125899906842624\]",
        ),
        (lambda h: h.update({"output_shaping.bias": 3}), r"expected F32\[1\], found 3"),
        (lambda h: h["output_shaping.bias"].update(data_offsets=[0, 4]), "expected tensors that fill the file, found"),
        (lambda h: h["output_shaping.bias"].update(data_offsets=[-4, 0]), "expected tensors that fill the file, found"),
        (lambda h: h["output_shaping.bias"].pop("data_offsets"), "expected tensors that fill the file, found"),
        (lambda h: h["__metadata__"].update(more=3), "expected tensors that fill the file, found"),
    ],
)
def test_headers_that_do_not_fit_the_card(path: Path, change: Callable[[Any], object], message: str) -> None:
    _change_header(path, change)
    _refuse(path, message)


# ---- Files that want memory -----------------------------------------------------------------------------------------


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "changes", [{"in_channels": 1 << 16}, {"channels": [1 << 16] * 8}, {"channels": [1] * 200_000}]
)
def test_a_card_that_lies_about_the_network_costs_no_memory(path: Path, changes: dict[str, Any]) -> None:
    architecture = json.loads(small_card().to_json())["architecture"] | changes
    _change_card(path, architecture=architecture)
    assert _peak(lambda: _refuse(path, "card and weights do not belong together")) < 64 * LARGEST_HEADER


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A sparse file of 17 GB, whose card and header agree with each other and with its size."""
    architecture = Architecture(18, 1 << 16, (1 << 15,))
    header: dict[str, Any] = {"__metadata__": {"card": small_card(architecture=architecture).to_json()}}
    begin = 0
    for name, shape in architecture.parameter_shapes.items():
        end = begin + 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    path = tmp_path / "model.safetensors"
    path.write_bytes(_join(header, b""))
    os.truncate(path, path.stat().st_size + begin)
    assert _peak(lambda: _refuse(path, f"expected up to {LARGEST_FILE} bytes, found 1719")) < 16 * LARGEST_HEADER


# ---- Pickles --------------------------------------------------------------------------------------------------------


class _Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, created: Path) -> None:
        self.created = created

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.created,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_malicious_pickle_is_not_run(path: Path, tmp_path: Path, protocol: int) -> None:
    created = tmp_path / "created"
    path.write_bytes(pickle.dumps(_Malicious(created), protocol))
    assert "can run code" in str(_refuse(path, "found a pickle"))
    assert not created.exists()
    pickle.loads(path.read_bytes())
    assert created.exists()  # so it would have been run


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_refused(path: Path, tmp_path: Path, zipped: bool) -> None:
    created = tmp_path / "created"
    torch.save({"weights": torch.zeros(3), "extra": _Malicious(created)}, path, _use_new_zipfile_serialization=zipped)
    assert "cost_model.original.load_original" in str(_refuse(path, "found a pickle"))
    assert not created.exists()


def test_what_numpy_saves_is_refused(path: Path) -> None:
    buffer = BytesIO()
    np.savez(buffer, weights=np.zeros(3))
    path.write_bytes(buffer.getvalue())
    _refuse(path, "found a pickle")
    np.save(path.with_suffix(".npy"), np.zeros(3))
    _refuse(path.with_suffix(".npy"), "this is another kind of file")


def test_a_good_file_that_begins_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    # Headers are padded to whole words, so some lengths in a row of 256 end in 0x80.
    lengths = range(0, 256, 8)
    first = [(write_small(path, recipe={"padding": "x" * length}), path.read_bytes()[0])[1] for length in lengths]
    assert 0x80 in first
    card = write_small(path, recipe={"padding": "x" * lengths[first.index(0x80)]})
    content = path.read_bytes()
    assert content[0] == 0x80
    assert read_checkpoint(path)[0] == card
    # The same with a header of 0x0480 bytes, as short as no card is: not called a pickle.
    path.write_bytes(_join(b"{" + b" " * (0x0480 - 2) + b"}", b""))
    assert path.read_bytes().startswith(b"\x80\x04")
    _refuse(path, "expected a model card in the header")


# ---- Paths that are no files ----------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    assert isinstance(_refuse(tmp_path / "none.safetensors", "found no such file: check the path"), UnknownModelError)
    (tmp_path / "dangling.safetensors").symlink_to(tmp_path / "none.safetensors")
    assert isinstance(_refuse(tmp_path / "dangling.safetensors", "found no such file"), UnknownModelError)


def test_paths_that_are_no_files(path: Path, tmp_path: Path) -> None:
    _refuse(tmp_path, "expected a file, found a folder")
    _refuse(path / "model.safetensors", "found a path that cannot be opened: Not a directory")
    _refuse(Path("/dev/zero"), "expected a file, found a pipe, socket or device")
    os.mkfifo(tmp_path / "pipe.safetensors")
    _refuse(tmp_path / "pipe.safetensors", "expected a file, found a pipe, socket or device")
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    _refuse(tmp_path / "loop.safetensors", "Too many levels of symbolic links")
    _refuse(tmp_path / ("x" * 300), "File name too long")
    _refuse(tmp_path / "null\0.safetensors", "embedded null")


def test_a_link_to_a_checkpoint(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.safetensors").symlink_to(path)
    assert read_checkpoint(tmp_path / "link.safetensors")[0] == small_card()


def test_a_file_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # A mode of 0 would not stop root, whom tests may run as.
    monkeypatch.setattr(Path, "open", forbidden)
    _refuse(path, "found a path that cannot be opened: Permission denied")


# ---- Any damage -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    write_small(path)
    return path, path.read_bytes()


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_or_harmless(good: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = good
    start = len(content) - 4 * 4603
    positions = st.one_of(st.integers(0, 16), st.integers(0, start - 1), st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    for position in data.draw(st.lists(positions, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        first, last = sorted((data.draw(positions), data.draw(positions)))
        damaged[first:last] = data.draw(st.binary(max_size=last - first))
    path.write_bytes(damaged)
    try:
        card, weights = read_checkpoint(path)
    except CheckpointError:
        return
    assert {name: array.shape for name, array in weights.items()} == card.architecture.parameter_shapes
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in weights.values())
