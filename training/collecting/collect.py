"""`collect`: programs x space x target -> a collection that the store can open."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from autotune.database import Database
from autotune.errors import AutotuneError, DatabaseError
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from autotune.targets.base import KernelProvider, Target
from cost_model.errors import CostModelError
from cost_model.files import replace_file
from training.collecting.drawing import WAYS
from training.collecting.evaluating import ENOUGH, FINISHED, TIME, Deadline, ProgramCollector
from training.collecting.kernels import kernels_of, list_tiles
from training.collecting.programs import FAMILY_MARK, Source, family_of, plain
from training.collecting.request import Request
from training.collecting.rows import merge, noise, summary
from training.collecting.writing import arrays_of, proto_of, read_record, write_program, write_record
from training.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from training.errors import TrainingError

STATISTICS_FILE: Final = "statistics.json"

Progress = Callable[[int, int, str], None]
"""Told how many configs (programs, where kernels are listed) are done, of how many, and the name of the program."""


def collect(
    sources: Sequence[Source],
    target: Target,
    request: Request,
    out: Path,
    database: Database,
    progress: Progress = lambda done, total, name: None,
) -> dict[str, Any]:
    """Collect from programs, one after another; a program that cannot be used is listed with the reason.

    Args:
        sources: from `find_sources`.
        target: evaluates; not closed here.
        request: what to collect.
        out: the data set; the collection's folder within it is made.
        database: keeps the evaluations.
        progress: called after every config.

    Returns:
        The statistics, which are also written to `OUT/COLLECTION/statistics.json` after every program.

    Raises:
        TrainingError: the folder cannot be written, or holds what another target or compiler made.
        DatabaseError: an evaluation could not be recorded.
    """
    try:
        return _Collection(target, request, out, database, progress, len(sources)).run(sources)
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written: {error.strerror or error}; choose another --out") from None


class _Collection:
    def __init__(
        self, target: Target, request: Request, out: Path, database: Database, progress: Progress, programs: int
    ) -> None:
        self._target, self._request, self._database, self._progress = target, request, database, progress
        about = target.description
        name = f"{request.space}-{about.name.replace(':', '-')}"
        self._manifest = Manifest(name, about.label, about.name, about.device_kind, about.compiler_version)
        self._folder = out / name
        self._parallel = min(request.workers or target.parallel, target.parallel)
        self._listing = request.space == "tile" and isinstance(target, KernelProvider)
        self._per_program = 1 if self._listing else request.configs
        self._programs, self._done = programs, 0
        self._owners: dict[str, str] = {}  # fingerprint of a kernel -> name of its file
        self._records: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, str] = {}
        self._started = time.monotonic()
        self._overall = self._started + request.time_limit if request.time_limit is not None else None

    def run(self, sources: Sequence[Source]) -> dict[str, Any]:
        self._open_folder()
        for source in sources:
            if self._out_of_time():
                break
            try:
                self._collect(source)
            except DatabaseError:
                raise
            except (AutotuneError, CostModelError) as error:
                self._refused[source.name] = str(error)
            else:
                if self._records[source.name]["stopped"] == TIME:
                    break
            self._done += 1
            self._report(source, 0)
            self._write_statistics("in progress")
        return self._write_statistics("all programs" if self._done == self._programs else TIME)

    def _open_folder(self) -> None:
        """Make the folder, or check that the numbers in it are of the same kind."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / MANIFEST_FILE).exists():
            found = read_manifest(self._folder)
            if found != self._manifest:
                raise TrainingError(
                    f"{self._folder}: expected what {self._manifest.target} ({self._manifest.device_kind}, "
                    f"{self._manifest.compiler_version}) made, found {found.target} ({found.device_kind}, "
                    f"{found.compiler_version}): the numbers are not comparable; choose another --out"
                )
        self._manifest.write(self._folder)
        for path in sorted((self._folder / "records").glob("*.json")):
            record = read_record(self._folder, path.stem)
            if record is not None and "kernel_fingerprint" in record:
                self._owners[record["kernel_fingerprint"]] = path.stem

    def _collect(self, source: Source) -> None:
        """One program, unless an earlier run has finished it with the same request."""
        try:
            asked = self._request.digest(source.path.read_bytes())
        except OSError as error:
            raise TrainingError(f"{source.path}: cannot be read: {error.strerror or error}") from None
        found = read_record(self._folder, source.name)
        if found is not None and found.get("asked") == asked and found.get("stopped") in FINISHED:
            self._records[source.name] = found
            return
        program = read(source.path, keep_kernels=self._listing)
        began = time.monotonic()
        limit = self._request.seconds_per_program
        deadline = Deadline(began + limit if limit is not None else None, self._overall)
        facts = {"program": source.name, "family": family_of(source.name), "asked": asked, "source": str(source.path)}
        if self._listing:
            self._list_kernels(source, program, deadline, facts)
        else:
            self._evaluate(source, program, deadline, facts)

    def _evaluate(self, source: Source, program: Program, deadline: Deadline, facts: dict[str, Any]) -> None:
        began, count = time.monotonic(), 0

        def on_config() -> None:
            nonlocal count
            count += 1
            self._report(source, count)

        prepared = self._target.prepare(program)
        space = self._target.space(prepared, self._request.space)
        if space.size < 2:
            raise TrainingError(f"program {program.name!r}: its {space.kind} space has the default alone")
        collector = ProgramCollector(
            self._target,
            prepared,
            space,
            self._database,
            deadline=deadline,
            parallel=self._parallel,
            on_config=on_config,
        )
        found = collector.run(WAYS[self._request.draw], self._request.configs, self._request.seed)
        rows = merge(found.drawn)
        arrays, kept = arrays_of(prepared.described, space, rows)
        facts |= summary(found.drawn, kept) | {
            "fingerprint": prepared.program.fingerprint,
            "noise": noise(found.drawn, found.repeats),
            "reused": found.reused,
            "stopped": found.stopped,
            "seconds": time.monotonic() - began,
            "caveat": prepared.caveat,
        }
        proto = proto_of(prepared.described, prepared.module.fingerprint, space, found.drawn)
        self._records[source.name] = write_program(
            self._folder, source.name, source.split, arrays, kept,
            proto=proto, record=self._labelled(facts), least_spread=self._request.least_spread,
        )  # fmt: skip

    def _list_kernels(self, source: Source, program: Program, deadline: Deadline, facts: dict[str, Any]) -> None:
        """A file per distinct kernel, and a record of the program."""
        began, stopped = time.monotonic(), ENOUGH
        without: dict[str, str] = {}
        written: dict[str, dict[str, Any]] = {}
        kernels = kernels_of(self._target, program)
        for kernel in kernels:
            name = f"{source.name}{FAMILY_MARK}{plain(kernel.name)}"
            if self._owners.setdefault(kernel.fingerprint, name) != name:
                continue
            reason = deadline.passed()
            if reason is not None:
                stopped = reason
                break
            record = read_record(self._folder, name)
            try:
                if record is None or record.get("asked") != facts["asked"]:
                    record = self._write_kernel(source, name, kernel, facts)
                written[name] = record
            except (AutotuneError, CostModelError) as error:
                without[kernel.name] = str(error)
            self._report(source, 0)
        if not written and stopped == ENOUGH and len(without) == len(kernels):
            first = next(iter(without.values()), "it has none")
            raise TrainingError(f"program {program.name!r}: none of its {len(kernels)} kernels has tiles: {first}")
        facts |= {
            "kernels": len(kernels),
            "kernels_written": sorted(written),
            "kernels_equal_to_others": len(kernels) - len(written) - len(without) if stopped == ENOUGH else None,
            "kernels_without_tiles": without,
            "configs": sum(each["configs"] for each in written.values()),
            "rows": sum(each["rows"] for each in written.values()),
            "stopped": stopped,
            "seconds": time.monotonic() - began,
        }
        self._records[source.name] = write_record(self._folder, source.name, self._labelled(facts))

    def _write_kernel(self, source: Source, name: str, kernel: Kernel, facts: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        assert isinstance(self._target, KernelProvider)
        listed = list_tiles(self._target.kernel_target, kernel)
        rows = merge(listed.drawn)
        arrays, kept = arrays_of(kernel.module, listed.space, rows)
        record = facts | summary(listed.drawn, kept) | {
            "kernel": kernel.name,
            "opcode": kernel.opcode,
            "executions": kernel.executions,
            "kernel_fingerprint": kernel.fingerprint,
            "seconds": time.monotonic() - began,
        }  # fmt: skip
        proto = proto_of(kernel.module, kernel.fingerprint, listed.space, listed.drawn)
        return write_program(
            self._folder, name, source.split, arrays, kept,
            proto=proto, record=self._labelled(record), least_spread=self._request.least_spread,
        )  # fmt: skip

    def _labelled(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {"label": self._manifest.label.value} | facts

    def _out_of_time(self) -> bool:
        return self._overall is not None and time.monotonic() >= self._overall

    def _report(self, source: Source, configs: int) -> None:
        done = self._done * self._per_program + min(configs, self._per_program)
        self._progress(done, self._programs * self._per_program, source.name)

    def _write_statistics(self, stopped: str) -> dict[str, Any]:
        failed: Counter[str] = Counter()
        for record in self._records.values():
            failed.update(record.get("failed", {}))
        left_out = ("ways", "config_ids")
        statistics = {
            "collection": self._manifest.to_json(),
            "stopped": stopped,
            "programs_asked": self._programs,
            "programs": {
                name: {key: value for key, value in record.items() if key not in left_out}
                for name, record in self._records.items()
            },
            "refused": self._refused,
            "configs": sum(record["configs"] for record in self._records.values()),
            "rows": sum(record["rows"] for record in self._records.values()),
            "failed": dict(failed),
            "seconds": time.monotonic() - self._started,
        }
        replace_file(self._folder / STATISTICS_FILE, (json.dumps(statistics, indent=1) + "\n").encode())
        return statistics
