"""The submission of the contest "Google - Fast or Slow?": the configs of every test program, best first.

A CSV with the columns ID and TopConfigs; a row reads `layout:xla:random:<file stem>,5;0;3;...`. Layout programs list
all of their configs, tiles the best 5. Configs with equal scores stand in the order of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cost_model import CostModel
from training.data.collections import COLLECTIONS
from training.data.stored_graph import StoredGraph
from training.errors import TrainingDataError
from training.evaluation.predictions import (
    Predictions,
    Progress,
    ScoredCount,
    Scores,
    config_id,
    score_stored,
    write_file,
)

HEADER: Final = "ID,TopConfigs"
TILES_LISTED: Final = 5
_NAMES: Final = 3


@dataclass(frozen=True)
class Submission:
    """The rows of a submission.

    Attributes:
        rows: by id, positions of configs in the published file, best first.
    """

    rows: Mapping[str, tuple[int, ...]]

    def counts(self) -> dict[str, int]:
        """The number of programs of each collection that has any, in the order of COLLECTIONS."""
        counts = Counter(name.rpartition(":")[0] for name in self.rows)
        return {collection: counts[collection] for collection in COLLECTIONS if counts[collection]}

    def to_csv(self) -> str:
        """The file's text."""
        lines = [HEADER, *(f"{name},{';'.join(map(str, configs))}" for name, configs in self.rows.items())]
        return "\n".join(lines) + "\n"

    def save(self, path: Path) -> None:
        """Writes the file in one step.

        Raises:
            TrainingError: it cannot be written.
        """
        write_file(path, self.to_csv().encode())


def predict(
    model: CostModel,
    graphs: Sequence[StoredGraph],
    *,
    split: str = "test",
    progress: Progress | None = None,
) -> Predictions:
    """Scores all configs of programs, with or without labels.

    Args:
        model: the cost model.
        graphs: the programs.
        split: which split they are.
        progress: told after every batch.

    Raises:
        TrainingError: the model cannot score a program.
    """
    count = ScoredCount(sum(len(graph) for graph in graphs), progress)
    scores: dict[str, Scores] = {}
    for graph in graphs:
        distinct = score_stored(model, graph, np.arange(len(graph)), scored=count.of(graph.name))
        scores[config_id(graph.collection, graph.name)] = distinct[graph.raw_ids]
    return Predictions(split, scores, {graph.collection: model.name for graph in graphs})


def make_submission(
    predictions: Predictions, *, sample: Sequence[str] | None = None, partial: bool = False
) -> Submission:
    """The submission that follows from scores.

    Args:
        predictions: scores of all programs.
        sample: the ids of a sample submission, which also gives the order of the rows; None without one: collection
            after collection, programs by name.
        partial: allow that ids of the sample, or without one collections, are missing.

    Raises:
        TrainingDataError: programs are missing, or not in the sample, or a config has no score.
    """
    order = order_ids(predictions.scores.keys(), sample=sample, partial=partial)
    return Submission({name: _best_first(name, predictions.scores[name]) for name in order})


def order_ids(ids: Collection[str], *, sample: Sequence[str] | None, partial: bool) -> list[str]:
    """The order of the rows; also finds out, before anything is scored, whether the rows will be complete.

    Args:
        ids: of all programs.
        sample: see `make_submission`.
        partial: see `make_submission`.

    Raises:
        TrainingDataError: programs are missing, or not in the sample.
    """
    if sample is None:
        return _by_collection(ids, partial=partial)
    _check_sample(ids, sample, partial=partial)
    there = set(ids)
    return [name for name in sample if name in there]


def read_sample(path: Path) -> tuple[str, ...]:
    """The ids of a sample submission, in its order.

    Raises:
        TrainingDataError: the file cannot be read, or is no submission, or names an id twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TrainingDataError(f"{path}: expected a CSV file with the columns {HEADER}, found no text") from None
    if not lines or lines[0].strip() != HEADER:
        found = lines[0] if lines else "an empty file"
        raise TrainingDataError(f"{path}: expected a CSV file with the columns {HEADER}, found {found!r:.80}")
    ids = [line.partition(",")[0].strip() for line in lines[1:] if line.strip()]
    if not ids:
        raise TrainingDataError(f"{path}: expected at least one row, found the header alone")
    for name, count in Counter(ids).items():
        if count > 1 or name.rpartition(":")[0] not in COLLECTIONS:
            expected = "every id once" if count > 1 else "ids such as layout:xla:random:<file stem>"
            raise TrainingDataError(f"{path}: expected {expected}, found {name!r:.200}, {count} times")
    return tuple(ids)


def _by_collection(ids: Collection[str], *, partial: bool) -> list[str]:
    order = [name for collection in COLLECTIONS for name in sorted(ids) if name.rpartition(":")[0] == collection]
    there = {name.rpartition(":")[0] for name in order}
    missing = [collection for collection in COLLECTIONS if collection not in there]
    if missing and not partial:
        raise TrainingDataError(
            f"expected scores of all five collections, found none of {', '.join(missing)}: add their checkpoints or "
            "scores, or write what there is with --partial"
        )
    return order


def _check_sample(ids: Collection[str], sample: Sequence[str], *, partial: bool) -> None:
    wanted, there = set(sample), set(ids)
    extra = sorted(there - wanted)
    missing = [name for name in sample if name not in there]
    problems = [_listed(names, what) for names, what in ((extra, "not in the sample"), (missing, "missing")) if names]
    if extra or (missing and not partial):
        advice = "" if extra else ". Add the checkpoints or scores of these, or write what there is with --partial"
        raise TrainingDataError(f"expected the {len(wanted):,} ids of the sample, found {'; '.join(problems)}{advice}")


def _listed(names: Sequence[str], what: str) -> str:
    more = ", ..." if len(names) > _NAMES else ""
    return f"{len(names):,} {what}: {', '.join(names[:_NAMES])}{more}"


def _best_first(name: str, scores: Scores) -> tuple[int, ...]:
    without = np.flatnonzero(np.isnan(scores))
    if len(without):
        raise TrainingDataError(
            f"{name}: expected a score of every config, found none for {len(without):,} of {len(scores):,}, "
            f"the first of them {without[0]}: scores of judged configs alone do not make a submission"
        )
    order = np.argsort(scores, kind="stable")
    return tuple((order[:TILES_LISTED] if name.startswith("tile:") else order).tolist())
