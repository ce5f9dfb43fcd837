"""`collect`: programs x space x target -> a collection that the store can open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotune.database import Database
from autotune.targets.base import Target
from training.collecting.collection import Collection, Progress
from training.collecting.evaluator import LocalEvaluator
from training.collecting.program import attempt
from training.collecting.programs import Source
from training.collecting.request import Request
from training.errors import TrainingError


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
    with writable(out):
        collection = Collection(sources, LocalEvaluator(target, request.workers), request, out, database, progress)
        for source in sources:
            if collection.work.out_of_time():
                break
            collection.take(source, attempt(collection.work, source))
        return collection.finish()


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Turns errors of the file system into ours.

    Raises:
        TrainingError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written: {error.strerror or error}; choose another --out") from None
