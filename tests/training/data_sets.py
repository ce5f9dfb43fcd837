"""Small data sets in the published arrangement, written for a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
from cost_model.npz import TuningArrays, write_npz
from tests.cost_model.graphs import product_graph, tile_configs
from training.data.collections import COLLECTIONS

GRAPH = product_graph(8, 16, 4)
"""Two parameters and a dot, which is the configurable node."""


def layouts(*kinds: int) -> LayoutConfigs:
    """Layout configs of GRAPH; those of one kind are equal."""
    values = np.full((len(kinds), 1, 18), -1, np.float32)
    values[:, 0, 0] = kinds
    return LayoutConfigs(values)


def tiles(*sizes: int) -> TileConfigs:
    """Tile configs of GRAPH; those of one size are equal."""
    return tile_configs(*(((size, 2), (size,), ()) for size in sizes))


def write(
    data: Path,
    collection: str,
    split: str,
    name: str,
    configs: ConfigBatch,
    runtimes: Sequence[int] | None = None,
    normalizers: Sequence[int] | None = None,
    graph: ProgramGraph = GRAPH,
) -> Path:
    """One file of a data set."""
    path = data / COLLECTIONS[collection].folder / split / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, TuningArrays(graph, configs, _times(runtimes), _times(normalizers)))
    return path


def values(configs: ConfigBatch) -> NDArray[np.float32]:
    """The array of a batch."""
    return configs.node_config_feat if isinstance(configs, LayoutConfigs) else configs.config_feat


def _times(times: Sequence[int] | None) -> NDArray[np.int64] | None:
    return None if times is None else np.array(times, np.int64)
