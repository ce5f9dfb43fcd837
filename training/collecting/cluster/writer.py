"""One thread writes what several find out: the one that opened the database."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

from autotune.database import EvaluationKey
from autotune.evaluation import Evaluation
from training.collecting.ledger import ConfigFromJson, Ledger
from training.errors import ClusterError

_NOBODY_WRITES: Final = "the collection has ended: nothing is written any more"

Value = TypeVar("Value")


class Writer:
    """Runs functions of other threads in the one that calls `serve`."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._futures: set[Future[Any]] = set()
        self._lock, self._closed = threading.Lock(), False

    def run(self, function: Callable[[], Value]) -> Value:
        """Have a function run, and wait for it. Not from the thread that serves.

        Raises:
            ClusterError: nobody serves any more.
            Exception: what the function raised.
        """
        future: Future[Any] = Future()

        def act() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Exception):
                    raise

        with self._lock:
            if self._closed:
                raise ClusterError(_NOBODY_WRITES)
            self._futures.add(future)
            self._waiting.put(act)
        try:
            value: Value = future.result()
        finally:
            with self._lock:
                self._futures.discard(future)
        return value

    def wake(self) -> None:
        """Let `serve` return."""
        self._waiting.put(None)

    def serve(self) -> None:
        """Run the next function, or none after `wake`; waits for it."""
        function = self._waiting.get()
        if function is not None:
            function()

    def close(self) -> None:
        """Nobody serves any more: whoever waits, or comes, is told."""
        with self._lock:
            self._closed = True
            for future in self._futures:
                if not future.done():
                    future.set_exception(ClusterError(_NOBODY_WRITES))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, Ctrl-C interrupts `serve` before it takes the next function, and not one that it runs.

        A thread whose function was interrupted half-way would wait for ever. A second Ctrl-C comes through at once.
        """
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield  # nobody presses it here, or it is ignored (nohup)
            return

        def raise_here() -> None:
            raise KeyboardInterrupt

        def handle(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, before)
            self._waiting.put(raise_here)  # may be called within another put

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class SharedLedger:
    """A ledger for other threads.

    Args:
        ledger: of the thread that serves.
        writer: of that thread.
    """

    def __init__(self, ledger: Ledger, writer: Writer) -> None:
        self._ledger, self._writer = ledger, writer

    def recorded(self, key: EvaluationKey, config_from_json: ConfigFromJson, purpose: str) -> list[Evaluation]:
        """What the database has."""
        return self._writer.run(partial(self._ledger.recorded, key, config_from_json, purpose))

    def record(self, key: EvaluationKey, evaluation: Evaluation) -> None:
        """Add an evaluation to the database."""
        self._writer.run(partial(self._ledger.record, key, evaluation))

    def owns(self, fingerprint: str, name: str) -> bool:
        """Whether a kernel is to be written under this name."""
        return self._writer.run(partial(self._ledger.owns, fingerprint, name))

    def report(self, program: str, configs: int) -> None:
        """So many configs of a program are done."""
        self._writer.run(partial(self._ledger.report, program, configs))
