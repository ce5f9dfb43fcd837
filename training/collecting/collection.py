"""A collection while it is made: its folder, its statistics, how far it is."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from autotune.database import Database
from autotune.evaluation import LabelKind
from cost_model.files import replace_file
from training.collecting.evaluating import TIME
from training.collecting.evaluator import Evaluator
from training.collecting.ledger import OwnLedger
from training.collecting.program import Record, Work
from training.collecting.programs import Source
from training.collecting.request import Request
from training.collecting.writing import read_record
from training.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from training.errors import TrainingError

STATISTICS_FILE: Final = "statistics.json"

Progress = Callable[[int, int, str], None]
"""Told how many configs (programs, where kernels are listed) are done, of how many, and the name of the program."""

_LEFT_OUT: Final = ("ways", "config_ids")
"""Of records, in the statistics."""


class Collection:
    """Made from programs, some at a time; to be used from one thread, that of the database.

    Args:
        sources: the programs.
        evaluator: evaluates.
        request: what to collect.
        out: the data set; the collection's folder within it is made.
        database: keeps the evaluations.
        progress: called after every config.

    Attributes:
        work: what is to be done with every program.

    Raises:
        TrainingError: the folder holds what another target or compiler made.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        evaluator: Evaluator,
        request: Request,
        out: Path,
        database: Database,
        progress: Progress,
    ) -> None:
        about = evaluator.description
        if request.measure_twice and about.label is LabelKind.ESTIMATED:
            raise TrainingError(
                f"--measure-twice: {about.name} estimates, which gives the same each time; leave it out"
            )
        name = f"{request.space}-{about.name.replace(':', '-')}"
        self._manifest = Manifest(name, about.label, about.name, about.device_kind, about.compiler_version)
        self._folder, self._progress = out / name, progress
        self._names = [source.name for source in sources]
        self._records: dict[str, Record] = {}
        self._refused: dict[str, str] = {}
        self._done = 0
        self._running: dict[str, int] = {}  # configs done of programs that are not
        self._started = time.monotonic()
        overall = self._started + request.time_limit if request.time_limit is not None else None
        ledger = OwnLedger(database, self._report)
        self.work = Work(evaluator, request, self._folder, about.label, overall, ledger)
        self._per_program = 1 if self.work.listing else request.configs
        self._open_folder(ledger)

    def take(self, source: Source, outcome: Record | str) -> None:
        """A program is done, as far as it can be.

        Args:
            source: of it.
            outcome: as `attempt` returned it.
        """
        self._running.pop(source.name, None)
        if isinstance(outcome, str):
            self._refused[source.name] = outcome
        else:
            self._records[source.name] = outcome
        if isinstance(outcome, str) or outcome["stopped"] != TIME:
            self._done += 1
            self._show(source.name)
            self._write_statistics("in progress")

    def finish(self) -> dict[str, Any]:
        """Write the statistics, and return them."""
        return self._write_statistics("all programs" if self._done == len(self._names) else TIME)

    def _open_folder(self, ledger: OwnLedger) -> None:
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
                ledger.owns(record["kernel_fingerprint"], path.stem)

    def _report(self, program: str, configs: int) -> None:
        self._running[program] = min(configs, self._per_program)
        self._show(program)

    def _show(self, program: str) -> None:
        done = self._done * self._per_program + sum(self._running.values())
        self._progress(done, len(self._names) * self._per_program, program)

    def _write_statistics(self, stopped: str) -> dict[str, Any]:
        failed: Counter[str] = Counter()
        records = {name: self._records[name] for name in self._names if name in self._records}
        for record in records.values():
            failed.update(record.get("failed", {}))
        statistics = {
            "collection": self._manifest.to_json(),
            "stopped": stopped,
            "programs_asked": len(self._names),
            "programs": {
                name: {key: value for key, value in record.items() if key not in _LEFT_OUT}
                for name, record in records.items()
            },
            "refused": {name: self._refused[name] for name in self._names if name in self._refused},
            "configs": sum(record["configs"] for record in records.values()),
            "rows": sum(record["rows"] for record in records.values()),
            "failed": dict(failed),
            "seconds": time.monotonic() - self._started,
        }
        replace_file(self._folder / STATISTICS_FILE, (json.dumps(statistics, indent=1) + "\n").encode())
        return statistics
