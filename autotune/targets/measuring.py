"""The parent's side of targets that measure: one child, the program that it holds, and evaluations of its variants."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from autotune.errors import ToolchainError, UnsupportedProgramError, WorkerError
from autotune.evaluation import Evaluation, Failed, FailureReason, Measured
from autotune.spaces.base import Config
from autotune.targets.device_worker import HeldProgram, Limits, Variant, VariantReport
from autotune.targets.failures import failed_outcome
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.timing import CONFIRM, SEARCH
from protos import hlo_pb2

DEFAULT_TIME_LIMIT: Final = 600.0
"""Seconds that the default may take to compile, and to run once."""

_INPUT_SEED: Final = 0

Details = Mapping[str, float | str]


class MeasuringSession:
    """A child that holds one program at a time, and measures variants of it.

    Args:
        worker: of an `autotune.targets.device_worker.DeviceWorker`; ended by `close`.
        place: where programs run, for messages: "this host".
        time_limit: seconds that one variant may take to compile, and to run for the first time; None: ten times what
            the default took, at least 30.
        memory_limit: bytes that a program may take; None for what the device has.
    """

    def __init__(self, worker: Worker, *, place: str, time_limit: float | None, memory_limit: int | None) -> None:
        self.worker = worker
        self._place = place
        self._time_limit = time_limit
        self._memory_limit = memory_limit
        self._loaded: tuple[str, int] | None = None  # what the current child holds: key, generation
        self._rotations = 0

    @property
    def default_time_limit(self) -> float:
        """Seconds that the default may take."""
        return max(DEFAULT_TIME_LIMIT, self._time_limit or 0.0)

    def load(self, name: str, key: str, held: HeldProgram) -> dict[str, float | str]:
        """Have the child hold a program for the first time.

        Args:
            name: of the program, for messages.
            key: tells it from other programs.
            held: the program.

        Returns:
            Facts of the default, for `measure`.

        Raises:
            UnsupportedProgramError: it cannot be compiled or run here; says why.
            WorkerError: the child was killed from outside.
            ToolchainError: a library is missing or of a version that is not known.
        """
        try:
            return self._load(key, held)
        except WorkerFailure as failure:
            raise self.refusal(name, failure) from None

    def measure(
        self,
        key: str,
        held: HeldProgram,
        details: Details,
        variants: Sequence[tuple[Config, Variant | Failed]],
        *,
        purpose: str,
    ) -> list[Evaluation]:
        """Measure variants in one rotation with copies of the default; to confirm, in a fresh process.

        Where code and data happen to lie in memory changes a program's time by a few percent, so a second look in
        the process that found a config would find the same luck again.

        Args:
            key: as for `load`.
            held: as for `load`; loaded once more if the child holds another program or is a new one.
            details: what `load` returned.
            variants: by config; those that have failed already are passed on.
            purpose: "search" or "confirm".

        Returns:
            One evaluation per variant, in the given order.
        """
        ready = [(config, variant) for config, variant in variants if not isinstance(variant, Failed)]
        measured = iter(self._measure(key, held, details, ready, purpose) if ready else [])
        return [
            Evaluation(config, variant, 0.0, purpose) if isinstance(variant, Failed) else next(measured)
            for config, variant in variants
        ]

    def refusal(self, name: str, failure: WorkerFailure) -> Exception:
        """Why a program's default cannot be compiled or run here, in the words of whoever said so."""
        if failure.error_type == "ToolchainError":
            return ToolchainError(failure.message)
        if failure.reason is WorkerFailureReason.KILLED:
            return WorkerError(f"the child process was killed from outside while {failure.phase}; try again")
        message = failure.message
        missing = re.search(r"No registered implementation for (?:untyped )?custom call to (\S+)", message)
        if missing:
            message = f"XLA:CPU has no custom call {missing.group(1)}"
        return UnsupportedProgramError(
            f"program {name!r} cannot run on {self._place}: {failure.reason.value}"
            f"{f' while {failure.phase}' if failure.phase else ''}: {message}"
        )

    def close(self) -> None:
        """End the child."""
        self.worker.stop()

    def _measure(
        self, key: str, held: HeldProgram, details: Details, ready: Sequence[tuple[Config, Variant]], purpose: str
    ) -> list[Evaluation]:
        if purpose == "confirm":
            self.worker.stop()
        started = time.perf_counter()
        self._rotations += 1
        try:
            if not self.worker.alive or self._loaded != (key, self.worker.generation):
                details = self._load(key, held)
            reports: list[VariantReport] = self.worker.call(
                "evaluate",
                [variant for _, variant in ready],
                CONFIRM if purpose == "confirm" else SEARCH,
                self._limits(details),
                self._rotations,  # the seed of its random orders
                time_limit=DEFAULT_TIME_LIMIT,
            )
        except WorkerFailure as failure:
            outcome = failed_outcome(failure)
            seconds = time.perf_counter() - started
            return [Evaluation(config, outcome, seconds, purpose) for config, _ in ready]
        return [
            _evaluation(config, report, purpose, len(ready)) for (config, _), report in zip(ready, reports, strict=True)
        ]

    def _load(self, key: str, held: HeldProgram) -> dict[str, float | str]:
        limit = self.default_time_limit
        details: dict[str, float | str] = self.worker.call(
            "load", held, Limits(limit, limit, self._memory_limit), _INPUT_SEED, time_limit=limit
        )
        self._loaded = (key, self.worker.generation)
        return details

    def _limits(self, details: Details) -> Limits:
        compile_seconds = self._time_limit or max(30.0, 10.0 * float(details["compile_seconds"]))
        run_seconds = self._time_limit or max(10.0, 20.0 * float(details["run_seconds"]))
        return Limits(compile_seconds, run_seconds, self._memory_limit)


def _evaluation(config: Config, report: VariantReport, purpose: str, together: int) -> Evaluation:
    outcome: Measured | Failed
    if report.times is None:
        reason = {
            "compiling": FailureReason.COMPILE_ERROR,
            "running": FailureReason.RUN_ERROR,
            "checking": FailureReason.WRONG_RESULT,
        }[report.phase]
        outcome = Failed(reason, report.message)
    else:
        defaults = [times.seconds for times in report.default_times]
        outcome = Measured(
            seconds=report.times.seconds,
            spread=report.times.spread,
            default_seconds=float(np.median(defaults)),
            default_spread=max(defaults) / min(defaults) - 1.0,
            repeat_spread=max(
                report.times.half_spread, float(np.median([times.half_spread for times in report.default_times]))
            ),
            passes=len(report.times.minima),
            runs=report.times.runs,
        )
    return Evaluation(config, outcome, report.compile_seconds, purpose, {**report.details, "rotation": float(together)})


def unchanging(module: bytes) -> bytes:
    """The module without donated arguments, so that its inputs survive a run and it can be run again.

    Args:
        module: serialized HloModuleProto.
    """
    copy = hlo_pb2.HloModuleProto.FromString(module)
    copy.ClearField("input_output_alias")
    copy.ClearField("buffer_donor")
    return copy.SerializeToString(deterministic=True)
