"""One program of the store, read as it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
from training.data.store_file import Header, StoreFileError, map_file, read_header
from training.errors import StoreError

_NANOSECOND: Final = 1e-9
_Number = TypeVar("_Number", np.int64, np.float64)


class StoredGraph:
    """One program and its distinct configs. Opened when first used; a copy in another process opens the file itself.

    `graph`, `configs` and `targets` are quick; times and ids in the file's own order are converted at every call.

    Attributes:
        name: stem of the .npz file.
        collection: name of the collection.
        path: the file of the store.
        header: its beginning.
    """

    def __init__(self, name: str, collection: str, path: Path, header: Header) -> None:
        self.name = name
        self.collection = collection
        self.path = path
        self.header = header
        self._mapped: dict[str, NDArray[Any]] | None = None
        self._graph: ProgramGraph | None = None
        self._table: NDArray[np.float32] | None = None
        self._best: NDArray[np.int64] | None = None
        self._targets: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """The number of distinct configs (in a test split: of configs)."""
        return self.header.arrays["config_codes"].shape[0]

    @property
    def graph(self) -> ProgramGraph:
        """The program."""
        if self._graph is None:
            arrays = self._arrays()
            self._graph = ProgramGraph(
                node_feat=arrays["feature_values"][arrays["feature_codes"]][arrays["node_rows"]],
                node_opcode=arrays["node_opcode"],
                edge_index=arrays["edge_index"].astype(np.int64),
                node_config_ids=arrays["node_config_ids"].astype(np.int64),
                node_splits=arrays["node_splits"].astype(np.int64),
            )
        return self._graph

    def configs(self, ids: NDArray[np.int64]) -> ConfigBatch:
        """Some of the distinct configs. Only their bytes are read.

        Args:
            ids: which, int64[k], from 0 to len(self) - 1, in any order, any number of times.

        Returns:
            The k configs, in the order of `ids`.

        Raises:
            IndexError: there is no such config.
        """
        if np.minimum.reduce(ids, initial=0) < 0:  # numpy would count from the end
            raise self._no_config(ids)
        try:
            codes = self.config_codes.take(ids, axis=0)
        except IndexError:
            raise self._no_config(ids) from None
        return _batch(self.header.facts["kind"], self.config_table.take(codes, axis=0))

    @property
    def config_table(self) -> NDArray[np.float32]:
        """The parts that configs consist of: layouts of one node, float32[r, 18], or entries of tiles, float32[r]."""
        if self._table is None:
            self._table = self._arrays()["config_table"].astype(np.float32)
        return self._table

    @property
    def config_codes(self) -> NDArray[np.unsignedinteger[Any]]:
        """The distinct configs as indices of `config_table`: [len(self), nc] (layouts) or [len(self), 24] (tiles)."""
        return self._arrays()["config_codes"]

    @property
    def runtimes(self) -> NDArray[np.int64] | None:
        """What each distinct config took, int64[len(self)], ns: the least of equal ones (by ratio); None if unknown."""
        raw = self.raw_runtimes
        return None if raw is None else self._of_distinct(raw)

    @property
    def normalizers(self) -> NDArray[np.int64] | None:
        """What the default tile took in the same run, int64[len(self)], ns; None for layouts or if unknown."""
        raw = self.raw_normalizers
        return None if raw is None else self._of_distinct(raw)

    @property
    def targets(self) -> NDArray[np.float64] | None:
        """What models learn, float64[len(self)]: seconds (layouts), runtime / normalizer (tiles); None if unknown."""
        if self._targets is None:
            raw = self.raw_targets
            if raw is None:
                return None
            self._targets = self._of_distinct(raw)
            self._targets.flags.writeable = False
        return self._targets

    @property
    def raw_runtimes(self) -> NDArray[np.int64] | None:
        """What each config of the .npz file took, int64[C], ns, in its order; None if the file does not know."""
        return self._times("raw_runtimes")

    @property
    def raw_normalizers(self) -> NDArray[np.int64] | None:
        """What the default tile took, int64[C], ns, in the order of the .npz file; None for layouts or if unknown."""
        return self._times("raw_normalizers")

    @property
    def raw_targets(self) -> NDArray[np.float64] | None:
        """As `targets`, of each config of the .npz file, float64[C]."""
        runtimes, normalizers = self.raw_runtimes, self.raw_normalizers
        if runtimes is None:
            return None
        return np.asarray(runtimes * _NANOSECOND if normalizers is None else runtimes / normalizers, dtype=np.float64)

    @property
    def raw_ids(self) -> NDArray[np.int64]:
        """The distinct config that each config of the .npz file is, int64[C], in its order."""
        if "raw_ids" in self.header.arrays:
            return self._arrays()["raw_ids"].astype(np.int64)
        return np.arange(len(self))

    @property
    def nodes(self) -> int:
        """The number of instructions (`graph` need not be read for it)."""
        return self.header.arrays["node_opcode"].shape[0]

    @property
    def configurable_nodes(self) -> int:
        """The number of configurable nodes (`graph` need not be read for it)."""
        return self.header.arrays["node_config_ids"].shape[0]

    @property
    def raw_count(self) -> int:
        """The number of configs in the .npz file."""
        return int(self.header.facts["runs"])

    @property
    def bytes(self) -> int:
        """Size of the file in the store."""
        return self.header.size

    @property
    def source_bytes(self) -> int:
        """Size of the .npz file."""
        return self.header.source.size

    def __getstate__(self) -> tuple[str, str, Path, Header]:
        return self.name, self.collection, self.path, self.header

    def __setstate__(self, state: tuple[str, str, Path, Header]) -> None:
        StoredGraph.__init__(self, *state)

    def __repr__(self) -> str:
        return f"StoredGraph({self.collection}, {self.name}, {len(self)} configs)"

    def _no_config(self, ids: NDArray[np.int64]) -> IndexError:
        found = f"{ids.min()} to {ids.max()}"
        return IndexError(f"{self.name}: expected configs from 0 to {len(self) - 1}, found {found}")

    def _times(self, name: str) -> NDArray[np.int64] | None:
        return self._arrays()[name].astype(np.int64) if name in self.header.arrays else None

    def _of_distinct(self, raw: NDArray[_Number]) -> NDArray[_Number]:
        """Of every distinct config, the value of its run with the least target (of those, the shortest)."""
        if "raw_ids" not in self.header.arrays:
            return raw
        if self._best is None:
            ids, targets, runtimes = self.raw_ids, self.raw_targets, self.raw_runtimes
            assert targets is not None
            assert runtimes is not None
            order = np.lexsort((runtimes, targets, ids))
            self._best = order[np.searchsorted(ids[order], np.arange(len(self)))]
        return raw[self._best]

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        if self._mapped is None:
            try:
                if read_header(self.path) != self.header:
                    raise StoreFileError("made again since, from a source that changed")
                content = map_file(self.path, self.header.size)
            except (OSError, StoreFileError) as error:
                raise StoreError(f"{self.path}: was opened and is now gone or another: {error}. Start again") from None
            self._mapped = {name: place.view(content) for name, place in self.header.arrays.items()}
        return self._mapped


def _batch(kind: str, values: NDArray[np.float32]) -> ConfigBatch:
    """The batch of values from the store, which were checked when they came in: another check takes thrice the read."""
    values.flags.writeable = False
    if kind == "layout":
        layouts = object.__new__(LayoutConfigs)
        object.__setattr__(layouts, "node_config_feat", values)
        return layouts
    tiles = object.__new__(TileConfigs)
    object.__setattr__(tiles, "config_feat", values)
    return tiles
