"""Judges a cost model: scores the configs of a split, and compares with what they really took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model import CostModel
from training.data.collections import left_out_of_means
from training.data.stored_graph import StoredGraph
from training.errors import TrainingDataError
from training.evaluation.indices import Choice, Indices, choose_configs
from training.evaluation.predictions import Predictions, Progress, ScoredCount, Scores, config_id, score_stored
from training.evaluation.ranking import RankingReport, rank_graph


@dataclass(frozen=True, eq=False)
class ScoredGraph:
    """One program whose configs were judged.

    Attributes:
        graph: the program.
        ids: which of its configs, int64[k].
        scores: predicted, lower = faster; float32[k].
        costs: what they took, float64[k]: ns (layouts), runtime / normalizer (tiles).
        choice: which configs these are.
    """

    graph: StoredGraph
    ids: NDArray[np.int64]
    scores: Scores
    costs: NDArray[np.float64]
    choice: Choice

    def file_scores(self) -> Scores:
        """One score per config of the published file, in its order; float32[C], nan: not judged."""
        distinct = np.full(len(self.graph), np.nan, np.float32)
        distinct[self.ids] = self.scores
        return distinct[self.graph.raw_ids]


def evaluate_model(
    model: CostModel,
    graphs: Sequence[StoredGraph],
    *,
    split: str = "valid",
    indices: Indices | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> RankingReport:
    """How well a model ranks the configs of programs.

    Args:
        model: the cost model.
        graphs: programs of one collection, with labels.
        split: which split they are; the published means leave out programs of "valid".
        indices: the official ones, by program; programs that are not there are judged by all their distinct configs.
        limit: at most so many configs of each program, the same ones in each call; None for all.
        seed: of that sample.
        progress: told after every batch.

    Raises:
        TrainingError: a program has no labels, or the model cannot score it.
    """
    scored = score_graphs(model, graphs, indices=indices, limit=limit, seed=seed, progress=progress)
    return report(model.name, split, list(scored))


def score_graphs(
    model: CostModel,
    graphs: Sequence[StoredGraph],
    *,
    indices: Indices | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[ScoredGraph]:
    """Scores the configs that are to be judged, one program after the other.

    Args:
        model: see `evaluate_model`, as all others.
        graphs: programs of one collection, with labels.
        indices: the official ones.
        limit: at most so many configs of each program.
        seed: of that sample.
        progress: told after every batch.

    Raises:
        TrainingError: a program has no labels, or the model cannot score it.
    """
    # All of them first: what is wrong with the last file must be known before the first is scored.
    chosen = [choose_configs(graph, indices, limit, seed=seed) for graph in graphs]
    # The official indices may name a config twice: it is scored once.
    distinct = [np.unique(judged.ids, return_inverse=True) for judged in chosen]
    count = ScoredCount(sum(len(ids) for ids, _ in distinct), progress)
    for graph, judged, (ids, places) in zip(graphs, chosen, distinct, strict=True):
        scores = score_stored(model, graph, ids, scored=count.of(graph.name))[places]
        yield ScoredGraph(graph, judged.ids, scores, judged.costs, judged.choice)


def report(model: str, split: str, scored: Iterable[ScoredGraph]) -> RankingReport:
    """What scores are worth.

    Args:
        model: name of the model that gave them.
        split: which split the programs are.
        scored: programs of one collection; at least one.

    Raises:
        TrainingDataError: there are none, or of several collections.
    """
    everything = list(scored)
    collections = {each.graph.collection for each in everything}
    if len(collections) != 1:
        raise TrainingDataError(
            f"expected programs of one collection, found {', '.join(sorted(collections)) or 'none'}"
        )
    (collection,) = collections
    rankings = (
        rank_graph(
            each.graph.name,
            each.scores,
            each.costs,
            choice=each.choice,
            left_out=left_out_of_means(collection, split, each.graph.name),
            tiles=collection.startswith("tile:"),
        )
        for each in everything
    )
    return RankingReport(model, collection, split, tuple(rankings))


def predictions(model: str, split: str, scored: Sequence[ScoredGraph]) -> Predictions:
    """The scores, to be kept in a file."""
    scores = {config_id(each.graph.collection, each.graph.name): each.file_scores() for each in scored}
    return Predictions(split, scores, {each.graph.collection: model for each in scored})
