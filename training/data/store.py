"""The store: the programs of a data set, with their distinct configs, so that one config is read without the others.

The published files are compressed: to read one config is to decompress all. `open_split` converts them once, into one
file per program (`training.data.store_file`) that is mapped into memory. A file is made again when its source has
changed, and only then; any number of processes may open, or build, the same store at once.
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

import platformdirs

from training.data.collections import collection_of, find_files
from training.data.manifest import Manifest, read_manifest
from training.data.store_build import Job, Progress, build_files
from training.data.store_file import Header, Source, StoreFileError, read_header
from training.data.stored_graph import StoredGraph as StoredGraph
from training.errors import StoreError, TrainingDataError

_NAMES: Final = 5
"""Damaged files that an error names."""


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

    @property
    def manifest(self) -> Manifest | None:
        """What a collection that was made here says of itself; None of a published one."""
        collection = collection_of(self.collection)
        return None if collection.published else read_manifest(self.folder / collection.folder)

    def to_json(self) -> dict[str, Any]:
        """What was opened, without what is in it (`training.data.statistics`)."""
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
        data: the folder of the data set (see `training.data.collections.find_files`).
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
    return TrainingDataError(f"{bad[first]}{more}\nDownload again what is damaged, or leave it out: --skip-bad")


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, so that of several processes one makes the files and the others wait and use them.

    The lock only saves work: files are put in place in one step, so nothing breaks on a file system without locks.
    """
    lock = None
    # On a read-only store, whoever tries to write will say so; but perhaps all that is left to build is damaged.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):
            if lock is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in folder.glob(".*.tmp"):  # by a process that was killed: nobody else is here
                    left.unlink(missing_ok=True)
        yield
    finally:
        if lock is not None:
            os.close(lock)
