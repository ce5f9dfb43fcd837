"""What a cost model reads: a program as a graph, and a batch of configs. Frozen dataclasses of read-only arrays.

Everything is checked once, here; whoever receives one of these objects can index without looking again. The meaning of
the columns stands in `cost_model.features`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.errors import GraphError


@dataclass(frozen=True, eq=False)
class ProgramGraph:
    """One program: every instruction of every computation, in file order, is a node.

    Attributes:
        node_feat: features of each node, float32[n, 140].
        node_opcode: id of each node's opcode (`features.OPCODES`), uint8[n].
        edge_index: row [u, v]: node u uses the output of node v, or calls the computation whose root is v;
            int64[m, 2], sorted by (u, v).
        node_config_ids: indices of the configurable nodes, int64[nc], ascending.
        node_splits: 0, the running node count after each computation that data sets split at, n; int64[k], k >= 2.

    Raises:
        GraphError: an array has another shape or type, or an index that is out of range.
    """

    node_feat: NDArray[np.float32]
    node_opcode: NDArray[np.uint8]
    edge_index: NDArray[np.int64]
    node_config_ids: NDArray[np.int64]
    node_splits: NDArray[np.int64]

    def __post_init__(self) -> None:
        _accept(self, "node_feat", np.float32, ("n", features.NODE_FEATURES))
        nodes = len(self.node_feat)
        _accept(self, "node_opcode", np.uint8, (nodes,))
        _accept(self, "edge_index", np.int64, ("m", 2))
        _accept(self, "node_config_ids", np.int64, ("nc",))
        _accept(self, "node_splits", np.int64, ("k",))
        if nodes == 0:
            raise GraphError("node_feat: expected at least one node, found none")
        if not np.isfinite(self.node_feat).all():
            raise GraphError(f"node_feat: expected finite numbers, found {_first_not_finite(self.node_feat)}")
        _check_range("edge_index", self.edge_index, nodes)
        _check_range("node_config_ids", self.node_config_ids, nodes)
        if (np.diff(self.node_config_ids) <= 0).any():
            raise GraphError("node_config_ids: expected ascending indices without repetition, found others")
        splits = self.node_splits
        if len(splits) < 2 or splits[0] != 0 or splits[-1] != nodes or (np.diff(splits) < 0).any():
            raise GraphError(f"node_splits: expected ascending counts from 0 to {nodes}, found {splits.tolist()[:20]}")

    def __len__(self) -> int:
        """The number of nodes."""
        return len(self.node_feat)


@dataclass(frozen=True, eq=False)
class LayoutConfigs:
    """A batch of layout configs of one graph.

    Attributes:
        node_config_feat: minor-to-major orders of output, first and second input of every configurable node, each
            padded with -1 (all -1: the compiler decides); float32[c, nc, 18].

    Raises:
        GraphError: another shape or type, or an entry that is no dimension.
    """

    node_config_feat: NDArray[np.float32]

    def __post_init__(self) -> None:
        _accept(self, "node_config_feat", np.float32, ("c", "nc", features.LAYOUT_FEATURES))
        values = self.node_config_feat
        if values.size and not (values.min() >= features.UNDECIDED and values.max() < 128):
            raise GraphError(
                "node_config_feat: expected dimensions or -1 (undecided), "
                f"found values from {values.min()} to {values.max()}"
            )

    def __len__(self) -> int:
        """The number of configs."""
        return len(self.node_config_feat)

    def __getitem__(self, configs: slice) -> LayoutConfigs:
        """Some of the configs."""
        return LayoutConfigs(self.node_config_feat[configs])

    def after_default(self) -> LayoutConfigs:
        """The default config, which leaves all to the compiler, followed by these."""
        default = np.full_like(self.node_config_feat, features.UNDECIDED, shape=(1, *self.node_config_feat.shape[1:]))
        return LayoutConfigs(np.concatenate([default, self.node_config_feat]))


@dataclass(frozen=True, eq=False)
class TileConfigs:
    """A batch of tile configs of one kernel.

    Attributes:
        config_feat: kernel, output and input bounds, each six entries, their sum and product; float32[c, 24].
            A row of zeros is the choice of no tile (a library, or whatever the compiler does by itself).

    Raises:
        GraphError: another shape or type, or an entry that is no size.
    """

    config_feat: NDArray[np.float32]

    def __post_init__(self) -> None:
        _accept(self, "config_feat", np.float32, ("c", features.TILE_FEATURES))
        values = self.config_feat
        if not np.isfinite(values).all() or (values < 0).any():
            raise GraphError("config_feat: expected finite sizes of 0 or more, found others")

    def __len__(self) -> int:
        """The number of configs."""
        return len(self.config_feat)

    def __getitem__(self, configs: slice) -> TileConfigs:
        """Some of the configs."""
        return TileConfigs(self.config_feat[configs])


ConfigBatch = LayoutConfigs | TileConfigs
"""Several configs of one graph, all of one kind of space."""


def _accept(owner: object, name: str, dtype: type[np.generic], shape: tuple[int | str, ...]) -> None:
    """Checks one array of a frozen dataclass and replaces it by a read-only view.

    Args:
        owner: the dataclass instance.
        name: the array's attribute.
        dtype: the type that it must have.
        shape: the size of every axis; a letter stands for any size.

    Raises:
        GraphError: the attribute is no array, or its shape or type differs.
    """
    array: Any = getattr(owner, name)
    expected = f"{np.dtype(dtype).name}[{', '.join(map(str, shape))}]"
    if not isinstance(array, np.ndarray):
        raise GraphError(f"{name}: expected {expected}, found {type(array).__name__}")
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == size for want, size in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise GraphError(f"{name}: expected {expected}, found {array.dtype.name}{list(array.shape)}")
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    object.__setattr__(owner, name, view)


def _check_range(name: str, indices: NDArray[np.int64], nodes: int) -> None:
    if indices.size and not (indices.min() >= 0 and indices.max() < nodes):
        raise GraphError(
            f"{name}: expected node indices from 0 to {nodes - 1}, found {indices.min()} to {indices.max()}"
        )


def _first_not_finite(array: NDArray[np.float32]) -> str:
    node, column = (int(position[0]) for position in np.nonzero(~np.isfinite(array)))
    return f"{array[node, column]} at node {node}, column {column} ({features.NODE_FEATURE_NAMES[column]})"
