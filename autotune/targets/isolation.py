"""Child processes for everything that may abort, hang or eat memory: every compilation and every run.

A `Worker` owns one child at a time. A call names a function of the child's handler (a module, or a class that is
instantiated in the child); arguments and results are pickled over a socket pair. Whatever goes wrong in the child ends
as a `WorkerFailure` with a typed reason here, and the next call starts a fresh child.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autotune.errors import WorkerError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
START_TIME_LIMIT = 120.0
"""Seconds that a child may take to start and import its handler (a cold disk is slow, a hang is not normal)."""

_STDERR_TAIL_BYTES = 4000
_OUT_OF_MEMORY_SIGNS = ("bad_alloc", "out of memory", "Out of memory", "Cannot allocate memory", "MemoryError")


class WorkerFailureReason(enum.Enum):
    """What became of a call that did not return."""

    ERROR = "error"  # the function raised; the child lives on
    CRASHED = "crashed"  # a signal or an unexpected exit
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    KILLED = "killed"  # SIGKILL or SIGTERM that we did not send


class WorkerFailure(WorkerError):
    """A call to a child process did not return a value.

    Attributes:
        reason: what happened.
        message: the exception's text, or what the child wrote to stderr before it died.
        error_type: class name of the exception raised in the child ("" unless reason is ERROR).
        phase: the last phase that the child announced ("" if none), such as "compiling".
    """

    def __init__(self, reason: WorkerFailureReason, message: str, *, error_type: str = "", phase: str = "") -> None:
        super().__init__(f"{reason.value}{f' while {phase}' if phase else ''}: {message}")
        self.reason = reason
        self.message = message
        self.error_type = error_type
        self.phase = phase


class Worker:
    """One long-lived child process that runs one call at a time, started at the first call.

    Args:
        handler: "package.module" or "package.module:Class"; imported in the child only.
        arguments: keyword arguments of the class.
        memory_limit: bytes of private writable memory (RLIMIT_DATA) that the child may have; None for no limit.
        cores: CPU cores that the child is pinned to before it imports anything; None for all of this process's.
        environment: variables set in the child in addition to this process's.
    """

    def __init__(
        self,
        handler: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        memory_limit: int | None = None,
        cores: Sequence[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._handler = handler
        self._arguments = dict(arguments or {})
        self._memory_limit = memory_limit
        self._cores = list(cores) if cores is not None else None
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._lifeline: int | None = None
        self._stderr: Any = None
        self.generation = 0
        """How many children there have been: state loaded into an earlier one is gone."""

    @property
    def alive(self) -> bool:
        """Whether there is a child that can take a call."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The child's process id, or None without a child."""
        return self._process.pid if self._process is not None else None

    def call(self, function: str, *args: Any, time_limit: float, **kwargs: Any) -> Any:
        """Run one function of the handler in the child and return its value.

        Args:
            function: name of a function of the handler.
            *args: positional arguments, picklable.
            time_limit: seconds; a phase that the child announces with a limit of its own starts a new count.
            **kwargs: keyword arguments, picklable.

        Raises:
            WorkerFailure: the function raised, or the child died, or the time was up (the child is then killed).
        """
        try:
            if not self.alive:
                self._start()
            assert self._connection is not None
            try:
                self._connection.send((function, args, kwargs))
            except OSError:
                raise self._death("") from None
            return self._wait(time_limit)
        except WorkerFailure:
            raise
        except BaseException:
            # Ctrl-C, or an argument that does not pickle: the child may be in the middle of the call, so it goes.
            self.stop()
            raise

    def stop(self) -> None:
        """End the child, if there is one, at once."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.stop()

    def _start(self) -> None:
        self.stop()
        ours, theirs = Pipe()
        lifeline_read, lifeline_write = os.pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        environment = {**os.environ, **self._environment}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(PACKAGE_ROOT), *filter(None, [environment.get("PYTHONPATH", "")])]
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autotune.targets.child", str(theirs.fileno()), str(lifeline_read)],
                pass_fds=(theirs.fileno(), lifeline_read),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the parent alone
            )
        except OSError as error:
            ours.close()
            os.close(lifeline_write)
            stderr.close()
            raise WorkerFailure(WorkerFailureReason.CRASHED, f"the child process cannot start: {error}") from error
        finally:
            theirs.close()
            os.close(lifeline_read)
        self._connection, self._lifeline, self._stderr = ours, lifeline_write, stderr
        self.generation += 1
        try:
            ours.send((self._handler, self._arguments, self._memory_limit, self._cores))
        except OSError:
            raise self._death("starting") from None
        try:
            self._wait(START_TIME_LIMIT, phase="starting")
        except WorkerFailure:
            self.stop()  # it may have said so and not be gone yet; the next call starts another
            raise

    def _wait(self, time_limit: float, phase: str = "") -> Any:
        assert self._connection is not None
        deadline = time.monotonic() + time_limit
        while True:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                self.stop()
                limit = f"{time_limit:.3g} s"
                raise WorkerFailure(WorkerFailureReason.TIMED_OUT, f"no answer within {limit}", phase=phase)
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                raise self._death(phase) from None
            match message:
                case ("phase", str(name), limit):
                    phase = name
                    if limit is not None:
                        time_limit = limit
                        deadline = time.monotonic() + limit
                case ("result", value):
                    return value
                case ("error", str(error_type), str(text)):
                    reason = WorkerFailureReason.ERROR
                    if error_type == "MemoryError" or any(sign in text for sign in _OUT_OF_MEMORY_SIGNS):
                        reason = WorkerFailureReason.OUT_OF_MEMORY
                    raise WorkerFailure(reason, text, error_type=error_type, phase=phase)
                case _:
                    self.stop()
                    raise WorkerFailure(WorkerFailureReason.CRASHED, "the child sent an unknown message", phase=phase)

    def _death(self, phase: str) -> WorkerFailure:
        """The failure of a child that has closed its end: why it died, and its last words."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            code = None
        words = self._last_words()
        self.stop()
        if any(sign in words for sign in _OUT_OF_MEMORY_SIGNS):
            return WorkerFailure(WorkerFailureReason.OUT_OF_MEMORY, words, phase=phase)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            reason = WorkerFailureReason.CRASHED
            if -code in (signal.SIGKILL, signal.SIGTERM):
                reason = WorkerFailureReason.KILLED
            return WorkerFailure(reason, f"{name}{': ' + words if words else ''}", phase=phase)
        return WorkerFailure(WorkerFailureReason.CRASHED, words or f"exit code {code}", phase=phase)

    def _last_words(self) -> str:
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        text: str = self._stderr.read().decode(errors="replace")
        return text.strip()


def run_in_child(
    handler: str, function: str, *args: Any, time_limit: float, memory_limit: int | None = None, **kwargs: Any
) -> Any:
    """One call in a child of its own: for work that is done once, such as reading a file."""
    with Worker(handler, memory_limit=memory_limit) as worker:
        return worker.call(function, *args, time_limit=time_limit, **kwargs)
