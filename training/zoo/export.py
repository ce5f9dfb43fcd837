"""Programs of the zoo as files: FOLDER/family/variant.hlo, each a serialized HloModuleProto."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from cost_model.files import replace_file
from training.errors import TrainingError
from training.zoo.lowering import Lowerer
from training.zoo.program import ZooProgram


@dataclass(frozen=True)
class Exported:
    """What became of the files, in the order of the programs.

    Attributes:
        written: were not there.
        replaced: were there with another content (of another version, or damaged).
        unchanged: were there and equal, so they were not touched.
    """

    written: tuple[Path, ...]
    replaced: tuple[Path, ...]
    unchanged: tuple[Path, ...]


def path_of(program: ZooProgram, folder: Path) -> Path:
    """Where a program is exported to."""
    return folder / f"{program.name}.hlo"


def export(
    programs: Sequence[ZooProgram],
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Exported:
    """Writes programs to files; a file that is there and equal stays as it is.

    Args:
        programs: of the zoo.
        folder: made if it is missing.
        workers: child processes that trace programs at the same time.
        progress: called with how many are done, how many there are, and the name of the last.

    Raises:
        TrainingError: a file cannot be read or written.
        WorkerError: a program could not be lowered.
    """
    states: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        free: SimpleQueue[Lowerer] = SimpleQueue()
        for _ in range(workers):
            free.put(stack.enter_context(Lowerer()))

        def export_one(program: ZooProgram) -> str:
            lowerer = free.get()
            try:
                return _write(path_of(program, folder), lowerer(program))
            finally:
                free.put(lowerer)

        pool = ThreadPoolExecutor(workers)
        # Last in, first out: the threads end before their children are stopped.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        names = {pool.submit(export_one, program): program.name for program in programs}
        for future in as_completed(names):
            states[names[future]] = future.result()
            if progress is not None:
                progress(len(states), len(programs), names[future])

    def of(state: str) -> tuple[Path, ...]:
        return tuple(path_of(program, folder) for program in programs if states[program.name] == state)

    return Exported(of("written"), of("replaced"), of("unchanged"))


def _write(path: Path, module: bytes) -> str:
    """Writes a file whole or not at all; returns the name of the field of `Exported` it belongs to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.read_bytes() if path.exists() else None
        if there == module:
            return "unchanged"
        replace_file(path, module)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
    return "written" if there is None else "replaced"
