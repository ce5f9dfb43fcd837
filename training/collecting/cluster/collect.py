"""`collect_on_cluster`: as `collect`, several programs at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.database import Database
from training.collecting.cluster.evaluator import ClusterEvaluator
from training.collecting.cluster.writer import SharedLedger, Writer
from training.collecting.collect import writable
from training.collecting.collection import Collection, Progress
from training.collecting.program import Record, attempt
from training.collecting.programs import Source
from training.collecting.request import Request


def collect_on_cluster(
    sources: Sequence[Source],
    evaluator: ClusterEvaluator,
    request: Request,
    out: Path,
    database: Database,
    progress: Progress = lambda done, total, name: None,
) -> dict[str, Any]:
    """Collect from programs, one per worker at a time; the same configs are drawn as by `collect`.

    Each evaluation is committed as soon as its worker has returned it. An interruption costs those that workers are
    working on.

    Args:
        sources: as in `collect`.
        evaluator: the workers; ended by an interruption, otherwise not closed here.
        request: as in `collect`.
        out: as in `collect`.
        database: as in `collect`; written by this thread alone.
        progress: as in `collect`.

    Returns:
        The statistics, as `collect`.

    Raises:
        TrainingError, DatabaseError: as `collect`.
        ClusterError: no worker is left; what they have returned is committed.
    """
    with writable(out):
        collection = Collection(sources, evaluator, request, out, database, progress)
        _Spread(collection, evaluator).run(sources)
        return collection.finish()


class _Spread:
    """A thread per program in work; this one hands programs out and writes."""

    def __init__(self, collection: Collection, evaluator: ClusterEvaluator) -> None:
        self._collection, self._evaluator = collection, evaluator
        self._writer = Writer()
        self._work = replace(collection.work, ledger=SharedLedger(collection.work.ledger, self._writer))
        self._running: dict[Future[Record | str], Source] = {}

    def run(self, sources: Sequence[Source]) -> None:
        waiting = deque(sources)
        at_once = self._evaluator.size + 1  # one is read while the others are evaluated
        executor = ThreadPoolExecutor(at_once, thread_name_prefix="autotune-program")
        with self._writer.interruptible():
            self._share_out(executor, waiting, at_once)

    def _share_out(self, executor: ThreadPoolExecutor, waiting: deque[Source], at_once: int) -> None:
        try:
            while self._running or (waiting and not self._work.out_of_time()):
                while waiting and len(self._running) < at_once and not self._work.out_of_time():
                    self._start(executor, waiting.popleft())
                self._writer.serve()
                self._take_finished()
        except BaseException:
            self._wind_up()
            raise
        finally:
            self._writer.close()
            executor.shutdown()

    def _start(self, executor: ThreadPoolExecutor, source: Source) -> None:
        future = executor.submit(attempt, self._work, source)
        self._running[future] = source
        future.add_done_callback(lambda _: self._writer.wake())

    def _take_finished(self) -> None:
        for future in [each for each in self._running if each.done()]:
            self._collection.take(self._running.pop(future), future.result())

    def _wind_up(self) -> None:
        """End the calls of all programs, and write what came before."""
        self._evaluator.close()
        while not all(future.done() for future in self._running):
            self._writer.serve()
