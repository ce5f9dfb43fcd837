"""One program of a collection: its configs, or the tiles of its kernels, evaluated and written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError, DatabaseError, ServerError
from autotune.evaluation import LabelKind
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from cost_model.errors import CostModelError
from training.collecting.drawing import WAYS
from training.collecting.evaluating import ENOUGH, FINISHED, Deadline, ProgramCollector
from training.collecting.evaluator import Evaluator, ProgramEvaluator
from training.collecting.ledger import Ledger
from training.collecting.programs import FAMILY_MARK, Source, family_of, plain
from training.collecting.request import Request
from training.collecting.rows import merge, noise, summary
from training.collecting.writing import arrays_of, proto_of, read_record, write_program, write_record
from training.errors import TrainingError

Record = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What is to be done with every program, and where to.

    Attributes:
        evaluator: evaluates.
        request: what to collect.
        folder: of the collection.
        label: what the numbers are.
        overall: when no further evaluation starts, as `time.monotonic()`; None for never.
        ledger: what programs share.
    """

    evaluator: Evaluator
    request: Request
    folder: Path
    label: LabelKind
    overall: float | None
    ledger: Ledger

    @property
    def listing(self) -> bool:
        """Whether kernels are listed, instead of configs evaluated."""
        return self.request.space == "tile" and self.evaluator.lists_kernels

    def out_of_time(self) -> bool:
        """Whether no further program is to begin."""
        return self.overall is not None and time.monotonic() >= self.overall


def attempt(work: Work, source: Source) -> Record | str:
    """Collect from one program.

    Returns:
        The record, or why the program cannot be used.

    Raises:
        DatabaseError: an evaluation could not be recorded.
        ServerError: there is nobody left who evaluates.
    """
    try:
        return _collect(work, source)
    except (DatabaseError, ServerError):
        raise
    except (AutotuneError, CostModelError) as error:
        return str(error)


def _collect(work: Work, source: Source) -> Record:
    """One program, unless an earlier run has finished it with the same request."""
    try:
        asked = work.request.digest(source.path.read_bytes())
    except OSError as error:
        raise TrainingError(f"{source.path}: cannot be read: {error.strerror or error}") from None
    found = read_record(work.folder, source.name)
    if found is not None and found.get("asked") == asked and found.get("stopped") in FINISHED:
        return found
    program = read(source.path, keep_kernels=work.listing)
    with work.evaluator.program() as evaluator:
        limit = work.request.seconds_per_program
        deadline = Deadline(time.monotonic() + limit if limit is not None else None, work.overall)
        collector = _OneProgram(work, evaluator, source, program, deadline, asked)
        return collector.list_kernels() if work.listing else collector.evaluate()


class _OneProgram:
    def __init__(
        self,
        work: Work,
        evaluator: ProgramEvaluator,
        source: Source,
        program: Program,
        deadline: Deadline,
        asked: str,
    ) -> None:
        self._work, self._evaluator, self._deadline = work, evaluator, deadline
        self._source, self._program = source, program
        self._facts: Record = {
            "label": work.label.value,
            "program": source.name,
            "family": family_of(source.name),
            "asked": asked,
            "source": str(source.path),
        }
        self._began = time.monotonic()

    def evaluate(self) -> Record:
        """Its configs, as one file."""
        work, request = self._work, self._work.request
        prepared, space = self._evaluator.prepare(self._program, request.space)
        if space.size < 2:
            raise TrainingError(f"program {self._program.name!r}: its {space.kind} space has the default alone")
        collector = ProgramCollector(
            self._evaluator,
            work.evaluator.description,
            prepared,
            space,
            work.ledger,
            deadline=self._deadline,
            on_configs=lambda count: work.ledger.report(self._source.name, count),
        )
        found = collector.run(WAYS[request.draw], request.configs, request.seed)
        rows = merge(found.drawn)
        arrays, kept = arrays_of(prepared.described, space, rows)
        record = self._facts | summary(found.drawn, kept) | {
            "fingerprint": prepared.program.fingerprint,
            "noise": noise(found.drawn, found.repeats),
            "reused": found.reused,
            "stopped": found.stopped,
            "seconds": time.monotonic() - self._began,
            "caveat": prepared.caveat,
        }  # fmt: skip
        proto = proto_of(prepared.described, prepared.module.fingerprint, space, found.drawn)
        return write_program(
            work.folder, self._source.name, self._source.split, arrays, kept,
            proto=proto, record=record, least_spread=request.least_spread,
        )  # fmt: skip

    def list_kernels(self) -> Record:
        """A file per distinct kernel, and a record of the program."""
        stopped = ENOUGH
        without: dict[str, str] = {}
        written: dict[str, Record] = {}
        kernels = self._evaluator.kernels(self._program)
        for kernel in kernels:
            name = f"{self._source.name}{FAMILY_MARK}{plain(kernel.name)}"
            if not self._work.ledger.owns(kernel.fingerprint, name):
                continue
            reason = self._deadline.passed()
            if reason is not None:
                stopped = reason
                break
            record = read_record(self._work.folder, name)
            try:
                if record is None or record.get("asked") != self._facts["asked"]:
                    record = self._write_kernel(name, kernel)
                written[name] = record
            except ServerError:
                raise
            except (AutotuneError, CostModelError) as error:
                without[kernel.name] = str(error)
            self._work.ledger.report(self._source.name, 0)
        if not written and stopped == ENOUGH and len(without) == len(kernels):
            first = next(iter(without.values()), "it has none")
            raise TrainingError(
                f"program {self._program.name!r}: none of its {len(kernels)} kernels has tiles: {first}"
            )
        record = self._facts | {
            "kernels": len(kernels),
            "kernels_written": sorted(written),
            "kernels_equal_to_others": len(kernels) - len(written) - len(without) if stopped == ENOUGH else None,
            "kernels_without_tiles": without,
            "configs": sum(each["configs"] for each in written.values()),
            "rows": sum(each["rows"] for each in written.values()),
            "stopped": stopped,
            "seconds": time.monotonic() - self._began,
        }
        return write_record(self._work.folder, self._source.name, record)

    def _write_kernel(self, name: str, kernel: Kernel) -> Record:
        began = time.monotonic()
        listed = self._evaluator.list_tiles(kernel)
        rows = merge(listed.drawn)
        arrays, kept = arrays_of(kernel.module, listed.space, rows)
        record = self._facts | summary(listed.drawn, kept) | {
            "kernel": kernel.name,
            "opcode": kernel.opcode,
            "executions": kernel.executions,
            "kernel_fingerprint": kernel.fingerprint,
            "seconds": time.monotonic() - began,
        }  # fmt: skip
        proto = proto_of(kernel.module, kernel.fingerprint, listed.space, listed.drawn)
        return write_program(
            self._work.folder, name, self._source.split, arrays, kept,
            proto=proto, record=record, least_spread=self._work.request.least_spread,
        )  # fmt: skip
