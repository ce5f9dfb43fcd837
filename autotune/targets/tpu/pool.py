"""Several child processes at once: calls are given to whichever child is free."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from autotune.targets.isolation import Worker, WorkerFailure

Call = Callable[[Worker], Any]
"""What to do with a child; raises WorkerFailure when that fails."""


class WorkerPool:
    """Children of one kind, made when they are first needed and used again.

    Args:
        make: makes a worker; its child starts at the first call.
    """

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._closed = False

    def run(self, call: Call) -> Any:
        """One call in a free child.

        Raises:
            WorkerFailure: from the call.
            RuntimeError: the pool is closed.
        """
        with self._worker() as worker:
            return call(worker)

    def map(
        self,
        calls: Sequence[Call],
        *,
        at_once: int,
        on_result: Callable[[int, Any], None] | None = None,
    ) -> list[Any]:
        """Several calls, each in a child of its own for its time.

        Args:
            calls: what to do.
            at_once: how many children may work at the same time.
            on_result: told the number of a call and its result as soon as there is one, in the order in which they
                end, in the thread of the caller.

        Returns:
            For each call its value, or the WorkerFailure that it ended with.
        """
        results: list[Any] = [None] * len(calls)
        executor = ThreadPoolExecutor(max_workers=max(1, min(at_once, len(calls))))
        try:
            futures: dict[Future[Any], int] = {executor.submit(self.run, call): i for i, call in enumerate(calls)}
            for future in as_completed(futures):
                index = futures[future]
                try:
                    results[index] = future.result()
                except WorkerFailure as failure:
                    results[index] = failure
                if on_result is not None:
                    on_result(index, results[index])
        except BaseException:  # Ctrl-C, or an error of on_result: nobody waits for the rest
            executor.shutdown(wait=False, cancel_futures=True)
            self._kill_busy()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        return results

    def process_ids(self, *, busy: bool = False) -> list[int]:
        """Of the children that live, or only of those in the middle of a call."""
        with self._lock:
            workers = [*self._busy] if busy else [*self._idle, *self._busy]
        return [worker.process_id for worker in workers if worker.alive and worker.process_id is not None]

    def close(self) -> None:
        """End all children, at once."""
        self._kill_busy()
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.stop()

    @contextlib.contextmanager
    def _worker(self) -> Iterator[Worker]:
        with self._lock:
            if self._closed:
                raise RuntimeError("the compiler has been closed")
            worker = self._idle.pop() if self._idle else self._make()
            self._busy.add(worker)
        try:
            yield worker
        finally:
            self._give_back(worker)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            closed = self._closed
            if not closed:
                self._idle.append(worker)
        if closed:
            worker.stop()

    def _kill_busy(self) -> None:
        """End children in the middle of a call; the threads that wait for them see a WorkerFailure."""
        for process_id in self.process_ids(busy=True):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process_id, signal.SIGKILL)  # a child leads its own process group
