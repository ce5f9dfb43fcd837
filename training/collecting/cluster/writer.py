"""One thread writes what several find out: the one that opened the database."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from autotune.database import EvaluationKey
from autotune.evaluation import Evaluation
from training.collecting.ledger import ConfigFromJson, Ledger

Value = TypeVar("Value")


class Writer:
    """Runs functions of other threads in the one that calls `serve`."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run(self, function: Callable[[], Value]) -> Value:
        """Have a function run, and wait for it. Not from the thread that serves."""
        future: Future[Any] = Future()

        def act() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Exception):  # Ctrl-C is for the thread that serves, too
                    raise

        self._waiting.put(act)
        value: Value = future.result()
        return value

    def wake(self) -> None:
        """Let `serve` return."""
        self._waiting.put(None)

    def serve(self) -> None:
        """Run the next function, or none after `wake`; waits for it."""
        function = self._waiting.get()
        if function is not None:
            function()


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
