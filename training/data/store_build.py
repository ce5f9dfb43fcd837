"""Makes the files of the store from .npz files: one by one, or those of a split in child processes."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.tpu.pool import WorkerPool
from cost_model import LayoutConfigs, ProgramGraph
from cost_model.errors import GraphError
from cost_model.npz import TuningArrays, read_npz
from training.data.coding import code_layouts, code_rows, code_values, smallest_unsigned
from training.data.store_file import Source, write_store_file
from training.errors import StoreError, TrainingDataError

Progress = Callable[[int, int, str], None]
"""Told how many files are done, of how many, and the name of the last one."""

_FILE_TIME_LIMIT: Final = 3600.0
"""Seconds for one file; 720 MB of arrays take 14 (one core here), and a disk may be slow."""
_MEMORY_FACTOR: Final = 2.0
"""Memory that a file takes while it is converted, over the size of its arrays: 1.5 with 720 MB of them."""
_SMALL_BYTES: Final = 64 << 20
"""Arrays that this process converts before children have started."""
_MEMORY_REASONS: Final = (WorkerFailureReason.OUT_OF_MEMORY, WorkerFailureReason.KILLED)


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        source: the .npz file.
        target: the file of the store.
        kind: "layout" or "tile", what the .npz file must hold.
        distinct: whether equal configs become one (train and valid), or every config is kept as it is (test).
    """

    source: Path
    target: Path
    kind: str
    distinct: bool


def build_files(
    jobs: Sequence[Job], *, workers: int | None = None, progress: Progress | None = None
) -> dict[Path, TrainingDataError]:
    """Makes files of the store.

    Args:
        jobs: which.
        workers: how many child processes; 1 for none, in this process; None for what work, cores and memory suggest.
        progress: told of every file.

    Returns:
        The sources that are damaged or something else, with what is wrong.

    Raises:
        StoreError: a file of the store cannot be written, or a child process failed for no fault of the file.
    """
    bad: dict[Path, TrainingDataError] = {}
    done = 0

    def note(index: int, failure: Exception | None) -> None:
        nonlocal done
        done += 1
        if isinstance(failure, TrainingDataError):
            bad[jobs[index].source] = failure
        elif failure is not None:
            raise failure
        if progress is not None:
            progress(done, len(jobs), jobs[index].source.name)

    at_once = min(len(jobs), _workers(jobs) if workers is None else workers)
    if at_once <= 1:
        for index, job in enumerate(jobs):
            note(index, _failure(job))
        return bad
    pool = WorkerPool(lambda: Worker(__name__))
    try:
        calls = [functools.partial(_call, job) for job in jobs]
        pool.map(calls, at_once=at_once, on_result=lambda index, result: note(index, _cause(jobs[index], result)))
    finally:
        pool.close()
    return bad


def build_file(job: Job) -> None:
    """Makes one file of the store.

    Raises:
        TrainingDataError: the source is damaged, or no file of that kind.
        StoreError: the file cannot be written.
    """
    try:
        source = Source.of(job.source)  # before it is read: a change in between is found at the next look
        data = read_npz(job.source)
    except OSError as error:
        raise TrainingDataError(f"{job.source}: cannot be read: {error.strerror or error}") from None
    except GraphError as error:
        raise TrainingDataError(str(error)) from None
    arrays = _arrays(job, data)
    facts = {"kind": job.kind, "runs": len(data.configs or ())}
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_store_file(job.target, source, facts, arrays)
    except OSError as error:
        cause = error.strerror or error
        raise StoreError(f"{job.target}: cannot be written: {cause}. Name another folder with --store") from None


def _arrays(job: Job, data: TuningArrays) -> dict[str, NDArray[Any]]:
    """What a file of the store holds (`training.data.store` reads it)."""
    graph, configs = data.graph, data.configs
    if configs is None:
        raise TrainingDataError(f"{job.source}: expected a program with {job.kind} configs, found a program alone")
    found = "layout" if isinstance(configs, LayoutConfigs) else "tile"
    if found != job.kind:
        raise TrainingDataError(f"{job.source}: expected {job.kind} configs, found {found} configs")
    if isinstance(configs, LayoutConfigs):
        try:
            table, codes = code_layouts(configs.node_config_feat)
        except ValueError:
            raise TrainingDataError(f"{job.source}: node_config_feat: expected integers, found fractions") from None
    else:
        table, codes = code_values(configs.config_feat)
    arrays = _graph_arrays(graph) | {"config_table": table}
    if job.distinct:
        first, kinds = code_rows(codes)
        if len(first) < len(codes):
            codes = codes[first]
            arrays["raw_ids"] = kinds
    arrays["config_codes"] = codes
    for name, times in (("raw_runtimes", data.runtimes), ("raw_normalizers", data.normalizers)):
        if times is not None:
            arrays[name] = times.astype(smallest_unsigned(int(times.max(initial=0))))
    return arrays


def _graph_arrays(graph: ProgramGraph) -> dict[str, NDArray[Any]]:
    values, codes = code_values(graph.node_feat)
    first, rows = code_rows(codes)
    index = smallest_unsigned(len(graph))
    return {
        "feature_values": values,
        "feature_codes": codes[first],
        "node_rows": rows,
        "node_opcode": graph.node_opcode,
        "edge_index": graph.edge_index.astype(index),
        "node_config_ids": graph.node_config_ids.astype(index),
        "node_splits": graph.node_splits.astype(index),
    }


def _call(job: Job, worker: Worker) -> None:
    worker.call("build_file", job, time_limit=_FILE_TIME_LIMIT)


def _failure(job: Job) -> Exception | None:
    try:
        build_file(job)
    except (TrainingDataError, StoreError) as error:
        return error
    return None


def _cause(job: Job, result: object) -> Exception | None:
    """What a call to a child ended with, as `build_file` would have raised it here."""
    if not isinstance(result, WorkerFailure):
        return None
    if result.reason is WorkerFailureReason.ERROR:
        kinds = {kind.__name__: kind for kind in (TrainingDataError, StoreError)}
        if result.error_type in kinds:
            return kinds[result.error_type](result.message)
    advice = "; fewer at a time (--workers) need less memory" if result.reason in _MEMORY_REASONS else ""
    return StoreError(f"{job.source}: the child process that read it failed: {result}{advice}")


def _workers(jobs: Sequence[Job]) -> int:
    sizes = [_array_bytes(job.source) for job in jobs]
    if sum(sizes) < _SMALL_BYTES:
        return 1
    largest = max(sizes) * _MEMORY_FACTOR
    return max(1, min(len(os.sched_getaffinity(0)), int(_free_memory() // largest)))


def _array_bytes(path: Path) -> int:
    """Bytes of the arrays of an .npz file; 0 if it is none (whoever reads it will say so)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return 0


def _free_memory() -> int:
    """Bytes that this machine could give without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
