from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cost_model import GraphError, LayoutConfigs, ProgramGraph, TileConfigs


def _arrays() -> dict[str, Any]:
    return {
        "node_feat": np.zeros((3, 140), np.float32),
        "node_opcode": np.array([63, 63, 34], np.uint8),
        "edge_index": np.array([[2, 0], [2, 1]], np.int64),
        "node_config_ids": np.array([2], np.int64),
        "node_splits": np.array([0, 3], np.int64),
    }


def test_accepts_and_freezes() -> None:
    arrays = _arrays()
    graph = ProgramGraph(**arrays)
    assert len(graph) == 3
    for name in arrays:
        with pytest.raises(ValueError, match="read-only"):
            getattr(graph, name)[...] = 0
    assert arrays["node_feat"].flags.writeable  # what the caller holds stays as it was


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("node_feat", np.zeros((3, 139), np.float32), r"expected float32\[n, 140\], found float32\[3, 139\]"),
        ("node_feat", np.zeros((3, 140)), r"expected float32\[n, 140\], found float64\[3, 140\]"),
        ("node_feat", [[0.0]], "found list"),
        ("node_feat", np.full((3, 140), np.inf, np.float32), r"found inf at node 0, column 0 \(is_root\)"),
        ("node_opcode", np.zeros(2, np.uint8), r"expected uint8\[3\], found uint8\[2\]"),
        ("node_opcode", np.zeros(3, np.int32), r"expected uint8\[3\], found int32\[3\]"),
        ("edge_index", np.zeros((2, 3), np.int64), r"expected int64\[m, 2\]"),
        ("edge_index", np.array([[2, 3]], np.int64), "node indices from 0 to 2, found 2 to 3"),
        ("edge_index", np.array([[-1, 0]], np.int64), "node indices from 0 to 2, found -1 to 0"),
        ("node_config_ids", np.array([3], np.int64), "node indices from 0 to 2"),
        ("node_config_ids", np.array([1, 1], np.int64), "ascending"),
        ("node_splits", np.array([0, 2], np.int64), "ascending counts from 0 to 3"),
        ("node_splits", np.array([[0, 3]], np.int64), r"expected int64\[k\], found int64\[1, 2\]"),
    ],
)
def test_refuses(name: str, value: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"{name}.*{message}"):
        ProgramGraph(**{**_arrays(), name: value})


def test_refuses_an_empty_graph() -> None:
    empty: dict[str, Any] = {
        "node_feat": np.zeros((0, 140), np.float32),
        "node_opcode": np.zeros(0, np.uint8),
        "edge_index": np.zeros((0, 2), np.int64),
        "node_config_ids": np.zeros(0, np.int64),
        "node_splits": np.array([0, 0], np.int64),
    }
    with pytest.raises(GraphError, match="at least one node"):
        ProgramGraph(**empty)


def test_layout_configs() -> None:
    assert len(LayoutConfigs(np.full((5, 2, 18), -1, np.float32))) == 5
    assert len(LayoutConfigs(np.zeros((0, 2, 18), np.float32))) == 0
    with pytest.raises(GraphError, match=r"expected float32\[c, nc, 18\], found float32\[5, 18\]"):
        LayoutConfigs(np.zeros((5, 18), np.float32))
    with pytest.raises(GraphError, match="found values from -2"):
        LayoutConfigs(np.full((1, 1, 18), -2, np.float32))
    with pytest.raises(GraphError, match="nan"):
        LayoutConfigs(np.full((1, 1, 18), np.nan, np.float32))


def test_tile_configs() -> None:
    assert len(TileConfigs(np.zeros((4, 24), np.float32))) == 4
    with pytest.raises(GraphError, match=r"expected float32\[c, 24\]"):
        TileConfigs(np.zeros((4, 18), np.float32))
    with pytest.raises(GraphError, match="sizes of 0 or more"):
        TileConfigs(np.full((1, 24), -1, np.float32))
