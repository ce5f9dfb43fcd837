"""The store: the programs of a data set, with their distinct configs, so that one config is read without the others.

The published files are compressed: to read one config is to decompress all. `open_split` converts them once, into one
file per program (`training.store_file`) that is mapped into memory. A file is made again when its source has changed,
and only then; any number of processes may open, or build, the same store at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import platformdirs
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
from training.collections import collection_of, find_files
from training.errors import StoreError, TrainingDataError
from training.store_build import Job, Progress, build_files
from training.store_file import Header, Source, StoreFileError, read_header

_NANOSECOND: Final = 1e-9
_NAMES: Final = 5


class StoredGraph:
    """One program and its distinct configs. Opened when first used; a copy in another process opens the file itself.

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
        return None if raw is None else raw[self._best_runs()]

    @property
    def normalizers(self) -> NDArray[np.int64] | None:
        """What the default tile took in the same run, int64[len(self)], ns; None for layouts or if unknown."""
        raw = self.raw_normalizers
        return None if raw is None else raw[self._best_runs()]

    @property
    def targets(self) -> NDArray[np.float64] | None:
        """What models learn, float64[len(self)]: seconds (layouts), runtime / normalizer (tiles); None if unknown."""
        raw = self.raw_targets
        return None if raw is None else raw[self._best_runs()]

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

    def _best_runs(self) -> NDArray[np.int64]:
        """For every distinct config, its run with the least target (of those, the shortest), int64[len(self)]."""
        if self._best is None:
            ids, targets, runtimes = self.raw_ids, self.raw_targets, self.raw_runtimes
            assert targets is not None
            assert runtimes is not None
            order = np.lexsort((runtimes, targets, ids))
            self._best = order[np.searchsorted(ids[order], np.arange(len(self)))]
        return self._best

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


@dataclass(frozen=True)
class Split(Sequence[StoredGraph]):
    """The programs of one split, in the order of their names.

    Attributes:
        collection: name of the collection.
        split: train, valid or test.
        folder: the data set: the folder that has `layout` and `tile`.
        store: the folder of their files in the store.
        graphs: the programs.
        dropped: names of those that are left out because they have fewer than two distinct configs (train and valid).
        skipped: the damaged files, each with what is wrong.
        made: how many files of the store were made or made again to open it.
    """

    collection: str
    split: str
    folder: Path
    store: Path
    graphs: tuple[StoredGraph, ...]
    dropped: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    made: int = 0

    def __len__(self) -> int:
        """The number of programs."""
        return len(self.graphs)

    @overload
    def __getitem__(self, index: int) -> StoredGraph: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[StoredGraph, ...]: ...
    def __getitem__(self, index: int | slice) -> StoredGraph | tuple[StoredGraph, ...]:
        """One program, or some."""
        return self.graphs[index]

    def to_json(self) -> dict[str, Any]:
        """What was opened, without what is in it (`training.statistics`)."""
        return {
            "collection": self.collection,
            "split": self.split,
            "folder": str(self.folder),
            "store": str(self.store),
            "graphs": len(self),
            "dropped": list(self.dropped),
            "skipped": list(self.skipped),
            "made": self.made,
            "bytes": sum(graph.bytes for graph in self),
        }


def open_split(
    data: str | os.PathLike[str],
    collection: str,
    split: str,
    *,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Split:
    """Opens a split of a data set, after having made what is missing in the store or has another source.

    Args:
        data: the folder of the data set (see `training.collections.find_files`).
        collection: name of the collection.
        split: train, valid or test.
        store: folder of the store; None for one of this data set's own in the user's cache.
        workers: processes that make files: 1 for this one alone, None for what work, cores and memory suggest.
        skip_bad: leave out damaged files instead of raising.
        progress: told of every file that is made.

    Raises:
        TrainingDataError: no such split, no files, or a file is damaged or something else.
        StoreError: the store cannot be written, or a process died.
    """
    kind = collection_of(collection).kind
    files = find_files(data, collection, split)
    folder = (default_store(files.root) if store is None else Path(store)) / collection_of(collection).folder / split
    targets = {path: folder / f"{path.stem}.graph" for path in files.paths}
    headers = {path: _fresh_header(path, target) for path, target in targets.items()}
    bad: dict[Path, TrainingDataError] = {}
    made = 0
    if not all(headers.values()):
        with _building(folder):
            headers = {path: header or _fresh_header(path, targets[path]) for path, header in headers.items()}
            stale = [path for path, header in headers.items() if header is None]
            jobs = [Job(path, targets[path], kind, distinct=split != "test") for path in stale]
            bad = build_files(jobs, workers=workers, progress=progress)
        if bad and not skip_bad:
            raise _bad_files(bad)
        headers |= {job.source: _made(job) for job in jobs if job.source not in bad}
        made = len(jobs) - len(bad)
    graphs = [StoredGraph(path.stem, collection, targets[path], header) for path, header in headers.items() if header]
    few = {graph.name for graph in graphs if split != "test" and len(graph) < 2}
    return Split(
        collection,
        split,
        files.root,
        folder,
        tuple(graph for graph in graphs if graph.name not in few),
        dropped=tuple(sorted(few)),
        skipped=tuple(str(bad[path]) for path in sorted(bad)),
        made=made,
    )


def default_store(root: Path) -> Path:
    """The folder in the user's cache for the data set in that folder."""
    path = root.resolve()
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return platformdirs.user_cache_path("xla-autotune", appauthor=False) / "store" / f"{path.name}-{digest}"


def map_file(path: Path, size: int) -> NDArray[np.uint8]:
    """The bytes of a file, read only, read from the disk when they are looked at; uint8[size].

    Python's own `mmap` keeps a descriptor for every file, and a process may have 1,024; a split of tile:xla has 5,709
    files. The mapping of torch keeps none.

    Raises:
        OSError: the file cannot be mapped.
    """
    import torch  # takes a second, which the processes that make files need not spend

    try:
        content: NDArray[np.uint8] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from None
    content.flags.writeable = False
    return content


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


def _fresh_header(source: Path, target: Path) -> Header | None:
    """The header of a file of the store, unless there is none, it is damaged, or its source has changed."""
    try:
        header = read_header(target)
        return header if header.source == Source.of(source) else None
    except (OSError, StoreFileError):
        return None


def _made(job: Job) -> Header:
    try:
        return read_header(job.target)
    except (OSError, StoreFileError) as error:
        raise StoreError(f"{job.target}: was made and is now gone or damaged: {error}") from None


def _bad_files(bad: Mapping[Path, TrainingDataError]) -> TrainingDataError:
    first, *others = sorted(bad)
    names = ", ".join(path.name for path in others[:_NAMES]) + (", ..." if len(others) > _NAMES else "")
    more = f"\nand {len(others)} more damaged: {names}" if others else ""
    return TrainingDataError(f"{bad[first]}{more}\nGet them again, or leave out damaged files with --skip-bad")


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, so that of several processes one makes the files and the others wait and use them.

    The lock only saves work: files are put in place in one step, so nothing breaks on a file system without locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(
            f"{folder}: the store cannot be written: {error.strerror or error}. Name another folder with --store"
        ) from None
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(".*.tmp"):  # by a process that was killed: nobody else is here
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)
