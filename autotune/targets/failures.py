"""From what became of a child process to the typed failure of a config."""

from __future__ import annotations

from autotune.evaluation import Failed, FailureReason
from autotune.targets.isolation import WorkerFailure, WorkerFailureReason


def failed_outcome(failure: WorkerFailure) -> Failed:
    """The typed failure of a config whose child process failed."""
    compiling = not failure.phase or "compiling" in failure.phase or failure.phase == "starting"
    match failure.reason:
        case WorkerFailureReason.OUT_OF_MEMORY:
            reason = FailureReason.OUT_OF_MEMORY
        case WorkerFailureReason.KILLED:
            reason = FailureReason.KILLED
        case WorkerFailureReason.TIMED_OUT:
            reason = FailureReason.COMPILE_TIMED_OUT if compiling else FailureReason.RUN_TIMED_OUT
        case WorkerFailureReason.CRASHED:
            reason = FailureReason.COMPILER_CRASHED if compiling else FailureReason.RUN_CRASHED
        case WorkerFailureReason.ERROR:
            reason = FailureReason.COMPILE_ERROR if compiling else FailureReason.RUN_ERROR
    return Failed(reason, str(failure))
