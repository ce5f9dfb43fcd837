"""One program of a collection: its configs, or the tiles of its kernels, evaluated and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError, DatabaseError, ServerError
from autotune.evaluation import LabelKind
from autotune.hlo.kernels import Kernel
from autotune.hlo.products import Product, matrix_products
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from autotune.spaces.base import Space
from cost_model.errors import CostModelError
from protos import hlo_pb2
from training.collecting.drawing import WAYS
from training.collecting.evaluating import ENOUGH, FINISHED, TIME, Deadline, ProgramCollector
from training.collecting.evaluator import Evaluator, ProgramEvaluator
from training.collecting.ledger import Ledger
from training.collecting.programs import FAMILY_MARK, Source, family_of, plain
from training.collecting.request import Request
from training.collecting.rows import Drawn, merge, noise, summary
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
    if found is not None and _is_finished(found, asked):
        return found
    program = read(source.path, keep_kernels=work.listing)
    with work.evaluator.program() as evaluator:
        limit = work.request.seconds_per_program
        deadline = Deadline(time.monotonic() + limit if limit is not None else None, work.overall)
        collector = _OneProgram(work, evaluator, source, program, deadline, asked)
        if work.listing:
            return collector.list_kernels()
        products = matrix_products(program.proto) if work.request.space == "tile" else []
        return collector.evaluate_products(products) if len(products) > 1 else collector.evaluate()


def _is_finished(record: Record, asked: str) -> bool:
    """Whether there is nothing to go on with; what the compiler lists is there at once."""
    return record.get("asked") == asked and record.get("stopped", ENOUGH) in FINISHED


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
        return self._evaluate(self._program, self._source.name, {})

    def evaluate_products(self, products: Sequence[Product]) -> Record:
        """A file per distinct matrix product, the largest first, and a record of the program.

        A tile is one choice for a whole program, so each product is a program of its own.
        """
        programs = {self._part(product.name): product.program() for product in products}
        return self._write_parts(
            {name: program.fingerprint for name, program in programs.items()},
            lambda name: self._evaluate(programs[name], name, {"kernel_fingerprint": programs[name].fingerprint}),
            "products",
        )

    def list_kernels(self) -> Record:
        """A file per distinct kernel, and a record of the program."""
        kernels = self._evaluator.kernels(self._program)
        by_name = {self._part(kernel.name): kernel for kernel in kernels}
        return self._write_parts(
            {name: kernel.fingerprint for name, kernel in by_name.items()},
            lambda name: self._write_kernel(name, by_name[name]),
            "kernels",
        )

    def _write_parts(self, parts: Mapping[str, str], write: Callable[[str], Record], kind: str) -> Record:
        """A file per part of the program that no other program has had.

        Args:
            parts: fingerprints by the name of the file.
            write: makes the file of a name.
            kind: what parts are called, "kernels" or "products".
        """
        stopped = ENOUGH
        without: dict[str, str] = {}
        written: dict[str, Record] = {}
        for name, fingerprint in parts.items():
            if not self._work.ledger.owns(fingerprint, name):
                continue
            reason = self._deadline.passed()
            if reason is not None:
                stopped = reason
                break
            record = read_record(self._work.folder, name)
            try:
                if record is None or not _is_finished(record, self._facts["asked"]):
                    record = write(name)
                written[name] = record
            except (ServerError, DatabaseError):
                raise
            except (AutotuneError, CostModelError) as error:
                without[name.removeprefix(self._part(""))] = str(error)
            self._work.ledger.report(self._source.name, 0)
            if name in written and not _is_finished(written[name], self._facts["asked"]):
                stopped = TIME
                break
        if not written and stopped == ENOUGH and len(without) == len(parts):
            first = next(iter(without.values()), "it has none")
            raise TrainingError(f"program {self._program.name!r}: none of its {len(parts)} {kind} has tiles: {first}")
        record = self._facts | {
            kind: len(parts),
            f"{kind}_written": sorted(written),
            f"{kind}_equal_to_others": len(parts) - len(written) - len(without) if stopped == ENOUGH else None,
            f"{kind}_without_tiles": without,
            "configs": sum(each["configs"] for each in written.values()),
            "rows": sum(each["rows"] for each in written.values()),
            "stopped": stopped,
            "seconds": time.monotonic() - self._began,
        }
        return write_record(self._work.folder, self._source.name, record)

    def _part(self, name: str) -> str:
        """The name of the file of a part of the program."""
        return f"{self._source.name}{FAMILY_MARK}{plain(name) if name else ''}"

    def _evaluate(self, program: Program, name: str, facts: Record) -> Record:
        work, request, began = self._work, self._work.request, time.monotonic()
        prepared, space = self._evaluator.prepare(program, request.space)
        if space.size < 2:
            raise TrainingError(f"program {program.name!r}: its {space.kind} space has the default alone")
        collector = ProgramCollector(
            self._evaluator,
            work.evaluator.description,
            prepared,
            space,
            work.ledger,
            deadline=self._deadline,
            on_configs=lambda count: work.ledger.report(self._source.name, count),
            all_twice=request.measure_twice,
        )
        found = collector.run(WAYS[request.draw], request.configs, request.seed)
        facts = facts | {
            "fingerprint": prepared.program.fingerprint,
            "noise": noise(found.drawn, found.repeats),
            "reused": found.reused,
            "stopped": found.stopped,
            "seconds": time.monotonic() - began,
            "caveat": prepared.caveat,
        }
        return self._write(name, prepared.described, prepared.module.fingerprint, space, found.drawn, facts)

    def _write_kernel(self, name: str, kernel: Kernel) -> Record:
        began = time.monotonic()
        listed = self._evaluator.list_tiles(kernel)
        facts = {
            "kernel": kernel.name,
            "opcode": kernel.opcode,
            "executions": kernel.executions,
            "kernel_fingerprint": kernel.fingerprint,
            "seconds": time.monotonic() - began,
        }
        return self._write(name, kernel.module, kernel.fingerprint, listed.space, listed.drawn, facts)

    def _write(
        self,
        name: str,
        module: hlo_pb2.HloModuleProto,
        fingerprint: str,
        space: Space,
        drawn: Sequence[Drawn],
        facts: Record,
    ) -> Record:
        """The files of a program or a part of it.

        Args:
            name: of the files.
            module: that configs refer to.
            fingerprint: of it.
            space: of the configs.
            drawn: evaluations.
            facts: for the record, beside what holds for every part.
        """
        arrays, kept = arrays_of(module, space, merge(drawn))
        return write_program(
            self._work.folder, name, self._source.split, arrays, kept,
            proto=proto_of(module, fingerprint, space, drawn),
            record=self._facts | summary(drawn, kept) | facts,
            least_spread=self._work.request.least_spread,
        )  # fmt: skip
