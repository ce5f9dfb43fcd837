"""How well a model ranks the configs of the programs of a split: numbers per program, and their means."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cost_model.metrics import bootstrap_interval, kendall_tau, ordered_pair_accuracy
from training.evaluation.indices import Choice

METRICS: Final = ("tau", "top_1", "top_5", "top_10", "pair_accuracy", "top_5_score")
_BOOTSTRAP_SEED: Final = 0


@dataclass(frozen=True)
class GraphRanking:
    """One program.

    Attributes:
        name: stem of its file.
        configs: how many were judged.
        choice: which: the official ones, all distinct ones, or a sample.
        left_out: whether the published means leave it out.
        tau: Kendall's tau-b between scores and runtimes; nan if it is not defined (all scores equal).
        top_1: how much slower than the best config the one with the best score is (1: no slower). Where scores are
            equal, the expectation over all orders of the equal ones.
        top_5: the same, of the best among the 5 with the best scores.
        top_10: the same, of 10.
        pair_accuracy: the share of pairs with different runtimes that the scores order correctly.
        top_5_score: 2 - top_5, the contest's score of tiles; None for layouts.
    """

    name: str
    configs: int
    choice: Choice
    left_out: bool
    tau: float
    top_1: float
    top_5: float
    top_10: float
    pair_accuracy: float
    top_5_score: float | None


@dataclass(frozen=True)
class Mean:
    """A mean over programs of equal weight.

    Attributes:
        value: the mean; nan without programs.
        low: lower end of its 95 % bootstrap interval (programs resampled 10,000 times, seed 0); nan for fewer than two.
        high: the upper end.
        graphs: the number of programs in it.
        undefined: the number of programs that are not in it because the metric is not defined for them.
    """

    value: float
    low: float
    high: float
    graphs: int
    undefined: int


@dataclass(frozen=True)
class RankingReport:
    """How well a model ranks the configs of a split.

    Attributes:
        model: its name.
        collection: name of the collection.
        split: train, valid or test.
        graphs: the programs.
    """

    model: str
    collection: str
    split: str
    graphs: tuple[GraphRanking, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The programs that the published means leave out."""
        return tuple(graph.name for graph in self.graphs if graph.left_out)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that these programs have."""
        tiles = any(graph.top_5_score is not None for graph in self.graphs)
        return METRICS if tiles else METRICS[:-1]

    def mean(self, metric: str = "tau", *, everything: bool = False) -> Mean:
        """The mean of a metric.

        Args:
            metric: one of `metrics`.
            everything: with the programs that the published means leave out.
        """
        values = [getattr(graph, metric) for graph in self.graphs if everything or not graph.left_out]
        defined = [value for value in values if math.isfinite(value)]
        low, high = bootstrap_interval(defined if len(defined) > 1 else [], _BOOTSTRAP_SEED)
        value = float(np.mean(defined)) if defined else math.nan
        return Mean(value, low, high, len(defined), len(values) - len(defined))

    def means(self, *, everything: bool = False) -> dict[str, Mean]:
        """The means of all metrics, by name."""
        return {metric: self.mean(metric, everything=everything) for metric in self.metrics}

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it: null for what is not defined."""
        return {
            "model": self.model,
            "collection": self.collection,
            "split": self.split,
            "left_out_of_mean": list(self.left_out),
            "mean": {name: _json(asdict(mean)) for name, mean in self.means().items()},
            "mean_of_all": {name: _json(asdict(mean)) for name, mean in self.means(everything=True).items()},
            "graphs": [_json(asdict(graph)) for graph in self.graphs],
        }


def rank_graph(
    name: str,
    scores: NDArray[np.float32],
    costs: NDArray[np.float64],
    *,
    choice: Choice = "distinct",
    left_out: bool = False,
    tiles: bool = False,
) -> GraphRanking:
    """Compares scores with what the configs really took.

    Args:
        name: of the program.
        scores: predicted, lower = faster; float32[k].
        costs: measured, above 0; float64[k].
        choice: which configs these are.
        left_out: whether the published means leave out this program.
        tiles: whether they are tiles, for which the contest has a score of its own.
    """
    top_1, top_5, top_10 = (expected_slowdown(scores, costs, k) for k in (1, 5, 10))
    return GraphRanking(
        name=name,
        configs=len(scores),
        choice=choice,
        left_out=left_out,
        tau=kendall_tau(scores, costs),
        top_1=top_1,
        top_5=top_5,
        top_10=top_10,
        pair_accuracy=ordered_pair_accuracy(scores, costs),
        top_5_score=2 - top_5 if tiles else None,
    )


def expected_slowdown(scores: NDArray[np.float32], costs: NDArray[np.float64], k: int) -> float:
    r"""`cost_model.metrics.top_k_slowdown`, in expectation over all orders of configs with equal scores.

    Files often list the default config first, so that a model which cannot tell configs apart would look good if ties
    kept the order of the file. Let s be the score in place k, and let m configs have it, of which r are among the k.
    The cheapest of r drawn from m costs :math:`c_{(1)} \le \dots \le c_{(m)}` is no better than the j-th with

    .. math:: P_j = \binom{m-j+1}{r} / \binom{m}{r}

    Args:
        scores: predicted; float32[n], n >= 1.
        costs: measured, above 0; float64[n].
        k: how many configs would be tried, 1 or more.

    Returns:
        A ratio of 1 or more.
    """
    boundary = np.partition(scores, k - 1)[k - 1] if k < len(scores) else scores.max()
    sure, tied = costs[scores < boundary], np.sort(costs[scores == boundary])
    drawn, count = min(k, len(scores)) - len(sure), len(tied)
    ranks = np.arange(count)
    at_least = np.cumprod(np.concatenate([[1.0], np.clip((count - drawn - ranks) / (count - ranks), 0, None)]))
    cheapest = np.minimum(tied, sure.min(initial=math.inf))
    return float(-np.diff(at_least) @ cheapest / costs.min())


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
