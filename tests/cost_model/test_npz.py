"""Files of the data set: names, types and shapes as published, and nothing damaged gets in."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cost_model import GraphError, LayoutConfigs, TileConfigs
from cost_model.npz import TuningArrays, read_npz, write_npz
from tests.cost_model.graphs import layout_configs, product_graph, tile_configs

GRAPH = product_graph(8, 16, 32)
LAYOUTS = layout_configs(GRAPH, {}, {(0, 0): (0, 1), (0, 2): (1, 0)})
TILES = tile_configs(((4,), (8, 8), ()), ((2,), (1, 8), ()), ((), (), ()))


def _times(*nanoseconds: int) -> NDArray[np.int64]:
    return np.array(nanoseconds, np.int64)


LAYOUT_DATA = TuningArrays(GRAPH, LAYOUTS, _times(500, 400))
TILE_DATA = TuningArrays(GRAPH, TILES, _times(9, 7, 8), _times(9, 9, 9))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _facts(arrays: dict[str, NDArray[Any]]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


# ---- What is written -------------------------------------------------------------------------------------------------


def test_a_layout_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", LAYOUT_DATA)
    arrays = _load(tmp_path / "a.npz")
    assert _facts(arrays) == {
        "node_feat": "float32[3, 140]",
        "node_opcode": "uint8[3]",
        "edge_index": "int64[2, 2]",
        "node_config_feat": "float32[2, 1, 18]",
        "node_config_ids": "int64[1]",
        "config_runtime": "int64[2]",
        "node_splits": "int64[1, 2]",
    }
    assert arrays["node_opcode"].tolist() == [63, 63, 34]
    assert arrays["edge_index"].tolist() == [[2, 0], [2, 1]]
    assert arrays["node_config_feat"][1].tolist() == [[0, 1, *[-1] * 10, 1, 0, *[-1] * 4]]
    assert arrays["node_config_ids"].tolist() == [2]
    assert arrays["config_runtime"].tolist() == [500, 400]
    assert arrays["node_splits"].tolist() == [[0, 3]]


def test_a_tile_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", TILE_DATA)
    arrays = _load(tmp_path / "a.npz")
    assert _facts(arrays) == {
        "node_feat": "float32[3, 140]",
        "node_opcode": "uint8[3]",
        "edge_index": "int64[2, 2]",
        "config_feat": "float32[3, 24]",
        "config_runtime": "int64[3]",
        "config_runtime_normalizers": "int64[3]",
    }
    assert arrays["config_feat"][0, :16].tolist() == [4, 0, 0, 0, 0, 0, 4, 4, 8, 8, 0, 0, 0, 0, 16, 64]
    assert arrays["config_runtime"].tolist() == [9, 7, 8]
    assert arrays["config_runtime_normalizers"].tolist() == [9, 9, 9]


def test_a_graph_alone(tmp_path: Path) -> None:
    written = write_npz(tmp_path / "a.npz", TuningArrays(GRAPH))
    names = ["node_feat", "node_opcode", "edge_index", "node_config_ids", "node_splits"]
    assert list(_load(tmp_path / "a.npz")) == list(written) == names
    assert read_npz(tmp_path / "a.npz").configs is None


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, TuningArrays(GRAPH))
    before = path.read_bytes()

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", full)
        with pytest.raises(OSError, match="No space left"):
            write_npz(path, LAYOUT_DATA)
    assert path.read_bytes() == before
    write_npz(path, LAYOUT_DATA)
    assert read_npz(path).runtimes is not None
    assert list(tmp_path.iterdir()) == [path]


# ---- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [LAYOUT_DATA, TILE_DATA], ids=["layout", "tile"])
def test_what_was_written_is_read(data: TuningArrays, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", data)
    found = read_npz(tmp_path / "a.npz")
    assert type(found.configs) is type(data.configs)
    _assert_equal(found.arrays(), data.arrays())
    _assert_equal(TuningArrays(found.graph).arrays(), TuningArrays(GRAPH).arrays())  # ids and splits of tiles, too


@pytest.mark.parametrize("configs", [LAYOUTS, TILES], ids=["layout", "tile"])
def test_files_without_labels(configs: LayoutConfigs | TileConfigs, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", TuningArrays(GRAPH, configs))
    arrays = _load(tmp_path / "a.npz")
    assert not arrays["config_runtime"].any()  # as published
    assert set(arrays.get("config_runtime_normalizers", _times(1)).tolist()) == {1}
    found = read_npz(tmp_path / "a.npz")
    assert found.runtimes is None
    assert found.normalizers is None
    assert found.configs is not None
    assert len(found.configs) == len(configs)


def test_copies_with_other_integers(tmp_path: Path) -> None:
    arrays = LAYOUT_DATA.arrays()
    arrays |= {"node_opcode": arrays["node_opcode"].astype(np.int32), "node_splits": arrays["node_splits"][0]}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    _assert_equal(read_npz(tmp_path / "a.npz").arrays(), LAYOUT_DATA.arrays())


def _without(name: str) -> dict[str, NDArray[Any]]:
    return {key: array for key, array in LAYOUT_DATA.arrays().items() if key != name}


def _with(**arrays: Any) -> dict[str, NDArray[Any]]:
    return LAYOUT_DATA.arrays() | arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            _without("edge_index"),
            "expected the arrays node_feat, node_opcode, .*; missing: edge_index; found: node_feat",
        ),
        (_without("config_runtime"), "missing: config_runtime"),
        (_without("node_splits"), "missing: node_splits"),
        (
            _with(config_feat=np.zeros((2, 24), np.float32)),
            r"config_feat \(layouts\) or config_feat \(tiles\), found both",
        ),
        (_with(node_feat=np.zeros((3, 139), np.float32)), r"expected float32\[n, 140\], found float32\[3, 139\]"),
        (_with(node_feat=np.float32(1)), r"expected float32\[n, 140\], found float32\[\]"),
        (_with(node_opcode=np.array([63, 300, 34])), r"node_opcode: expected uint8\[3\], found int64\[3\]"),
        (_with(node_opcode=np.array([63.0, 63.0, 34.0])), r"expected uint8\[3\], found float64\[3\]"),
        (_with(node_config_ids=np.array([7])), "node_config_ids: expected node indices from 0 to 2, found 7 to 7"),
        (_with(node_splits=np.array([[0], [3]])), r"node_splits: expected int64\[k\], found int64\[2, 1\]"),
        (_with(node_config_feat=np.zeros((2, 4, 18), np.float32)), "expected 1 configurable nodes .*, found 4"),
        (_with(config_runtime=_times(5)), r"config_runtime: expected int64\[2\], one per config, found int64\[1\]"),
        (_with(config_runtime=np.array([5.0, 6.0])), r"expected int64\[2\], one per config, found float64\[2\]"),
        (_with(config_runtime=_times(5, 0)), "config_runtime: expected nanoseconds above 0, found 0"),
    ],
)
def test_other_arrays(arrays: dict[str, NDArray[Any]], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    with pytest.raises(GraphError, match=r"a\.npz: .*" + message):
        read_npz(tmp_path / "a.npz")


def test_tile_files_need_normalizers(tmp_path: Path) -> None:
    arrays = TILE_DATA.arrays()
    del arrays["config_runtime_normalizers"]
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    with pytest.raises(GraphError, match="missing: config_runtime_normalizers"):
        read_npz(tmp_path / "a.npz")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(GraphError, match=r"a\.npz: cannot be read: No such file"):
        read_npz(path)
    with pytest.raises(GraphError, match=r"cannot be read: Is a directory"):
        read_npz(tmp_path)
    path.write_text("no archive")
    with pytest.raises(GraphError, match=r"a\.npz: expected an \.npz file, found something else"):
        read_npz(path)
    np.savez(path, node_feat=np.array([{"a": "Python object"}]))
    with pytest.raises(GraphError, match=r"a\.npz: expected .* numbers, found: Object arrays cannot be loaded"):
        read_npz(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, TILE_DATA)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(GraphError, match=r"a\.npz: expected an \.npz file, found something else, or the beginning"):
            read_npz(path)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
    place = first.header_offset + first.compress_size  # its header is shorter than 100 bytes, so this is in its data
    assert first.compress_size > 100
    path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    with pytest.raises(GraphError, match=r"a\.npz: expected an undamaged \.npz file"):
        read_npz(path)


# ---- Parts that do not belong together -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"runtimes": _times(1)}, r"config_runtime: expected int64\[0\], one per config, found int64\[1\]"),
        ({"configs": LAYOUTS, "runtimes": [1, 2]}, r"config_runtime: expected int64\[2\], .* found list"),
        ({"configs": LAYOUTS, "runtimes": _times(1, -1)}, "expected nanoseconds above 0, found -1"),
        ({"configs": TILES, "runtimes": _times(1, 2, 3)}, "normalizers: expected with runtimes of tile configs"),
        ({"configs": LAYOUTS, "runtimes": _times(1, 2), "normalizers": _times(1, 1)}, "found some for another kind"),
        ({"configs": LayoutConfigs(np.zeros((2, 2, 18), np.float32))}, "expected 1 configurable nodes"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        dataclasses.replace(TuningArrays(GRAPH), **parts)


def test_times_are_frozen() -> None:
    times = _times(500, 400)
    data = TuningArrays(GRAPH, LAYOUTS, times)
    assert data.runtimes is not None
    with pytest.raises(ValueError, match="read-only"):
        data.runtimes[0] = 1
    assert times.flags.writeable  # what the caller holds stays as it was


# ---- The published data set ------------------------------------------------------------------------------------------


def test_published_files(shared: Path) -> None:
    folder = shared / "data" / "tpugraphs"
    files = sorted(folder.rglob("*.npz"))
    assert len(files) == 18
    for path in files:
        published = _load(path)
        found = read_npz(path)
        assert (found.runtimes is None) == ("test" in path.parts), path
        # The kernels that others made from the protos have opcodes in int32; the published files have bytes.
        published["node_opcode"] = published["node_opcode"].astype(np.uint8)
        _assert_equal(found.arrays(), published)


def _assert_equal(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    """The same names in the same order, every array bit for bit."""
    assert _facts(found) == _facts(expected)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name
