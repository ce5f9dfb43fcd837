"""Programs of the zoo as HLO before optimisation. Tracing happens in a child process, within limits."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from autotune.errors import WorkerError
from autotune.targets.isolation import Worker, WorkerFailure
from training.zoo.program import ZooProgram

_TIME_LIMIT: Final = 120.0
"""Seconds for one program: far more than any takes, far less than a hang."""
_MEMORY_LIMIT: Final = 4 * 2**30
"""Bytes: nothing is allocated but what jax itself and the traces take."""


class Lowerer:
    """A child process that lowers one program after the other."""

    def __init__(self) -> None:
        self._worker = Worker("training.zoo.lowering_child", memory_limit=_MEMORY_LIMIT)

    def __call__(self, program: ZooProgram) -> bytes:
        """Lower a program; nothing is executed and no weight is allocated.

        Returns:
            A serialized HloModuleProto without metadata, so that it names no path of this machine.

        Raises:
            WorkerError: tracing failed, or took too long or too much memory.
        """
        try:
            module: bytes = self._worker.call("lower", program, time_limit=_TIME_LIMIT)
        except WorkerFailure as failure:
            raise WorkerError(f"program {program.name!r} cannot be lowered: {failure}") from failure
        return module

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.stop()


def lower(program: ZooProgram) -> bytes:
    """Lower one program in a child process of its own; for several, `Lowerer` is quicker.

    Returns:
        As `Lowerer`.

    Raises:
        WorkerError: as `Lowerer`.
    """
    with Lowerer() as lowerer:
        return lowerer(program)
