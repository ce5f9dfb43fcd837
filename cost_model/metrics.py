"""How well scores rank runtimes. Pure functions of two arrays; numpy only.

Scores follow the convention of the whole project: lower is faster. A metric that is not defined for its arguments
(fewer than two configs, nothing but ties, a nan) is nan, never an invented number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class _Pairs:
    """How the pairs i < j of two rankings relate; exact integers."""

    total: int
    tied_first: int
    tied_second: int
    tied_both: int
    discordant: int

    @property
    def concordant(self) -> int:
        return self.total - self.tied_first - self.tied_second + self.tied_both - self.discordant


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    r"""Kendall's rank correlation, tau-b (with the correction for ties), in O(n log^2 n).

    .. math:: \tau_b = \frac{c - d}{\sqrt{(n_0 - n_1)(n_0 - n_2)}}

    with c concordant and d discordant of :math:`n_0 = n(n-1)/2` pairs, of which :math:`n_1` are tied in the first and
    :math:`n_2` in the second argument.

    Args:
        first: numbers[n].
        second: numbers[n].

    Returns:
        A number from -1 to 1. nan when it is not defined: fewer than two entries, all of one argument equal, or a nan
        among them.

    Raises:
        ValueError: the two are not one-dimensional and of equal length.

    Source: M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    pairs = _count_pairs(*_paired(first, second))
    if pairs is None:
        return math.nan
    product = (pairs.total - pairs.tied_first) * (pairs.total - pairs.tied_second)
    if product == 0:
        return math.nan
    return (pairs.concordant - pairs.discordant) / math.sqrt(product)


def ordered_pair_accuracy(scores: ArrayLike, runtimes: ArrayLike) -> float:
    """The share of pairs of configs with different runtimes that the scores put in the right order.

    Args:
        scores: predicted costs, numbers[n].
        runtimes: measured costs in any unit, numbers[n]; only their order counts.

    Returns:
        A number from 0 to 1; a pair with equal scores counts as half right. nan when no two runtimes differ or when a
        nan is among the arguments.

    Raises:
        ValueError: the two are not one-dimensional and of equal length.
    """
    pairs = _count_pairs(*_paired(scores, runtimes))
    if pairs is None or pairs.total == pairs.tied_second:
        return math.nan
    undecided = pairs.tied_first - pairs.tied_both
    return (pairs.concordant + 0.5 * undecided) / (pairs.total - pairs.tied_second)


def top_k_slowdown(scores: ArrayLike, runtimes: ArrayLike, k: int) -> float:
    """How much slower than the best config is the best of the k that the scores put first.

    Args:
        scores: predicted costs, numbers[n]; equal scores keep their order.
        runtimes: measured costs, positive numbers[n].
        k: how many configs would be tried, 1 or more.

    Returns:
        A ratio of 1 or more; 1 means that the best config is among the k. inf if all of the k have an infinite runtime
        but not every config has; nan if every config has, without configs, or with a nan among the arguments.

    Raises:
        ValueError: k is below 1, a runtime is not positive, or the arrays differ in length.
    """
    predicted, measured = _paired(scores, runtimes)
    if k < 1:
        raise ValueError(f"k: expected 1 or more, found {k}")
    if (measured <= 0).any():
        raise ValueError("runtimes: expected positive numbers (0 marks data without labels), found others")
    if len(predicted) == 0 or np.isnan(predicted).any() or np.isnan(measured).any():
        return math.nan
    chosen = np.argsort(predicted, kind="stable")[:k]
    # As Python numbers, which become inf and nan without a warning.
    return float(measured[chosen].min()) / float(measured.min())


def top_k_score(scores: ArrayLike, runtimes: ArrayLike, k: int) -> float:
    """The score of the tile collection in the contest "Google - Fast or Slow?": 2 - `top_k_slowdown`, with k = 5.

    Args:
        scores: predicted costs, numbers[n]; equal scores keep their order.
        runtimes: measured costs, positive numbers[n].
        k: how many configs would be tried, 1 or more.

    Returns:
        1 if the best config is among the k, 0 if the best of them takes twice as long, and so on without a lower end:
        -inf where the slowdown is inf. nan where it is nan.

    Raises:
        ValueError: k is below 1, a runtime is not positive, or the arrays differ in length.
    """
    return 2.0 - top_k_slowdown(scores, runtimes, k)


def bootstrap_interval(
    values: ArrayLike, seed: int, *, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """An interval for the mean of values (one per program, for example), by resampling them with replacement.

    Args:
        values: numbers[n].
        seed: makes the interval reproducible.
        confidence: the share of resampled means that lie inside.
        resamples: how many means are drawn.

    Returns:
        The lower and the upper end; (nan, nan) without values, or with a value that is nan or infinite.

    Source: percentile bootstrap, B. Efron, "Bootstrap methods", Annals of Statistics 7 (1979).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    # One row at a time: a matrix of all draws would grow with resamples times n.
    means = np.array([sample[rng.integers(sample.size, size=sample.size)].mean() for _ in range(resamples)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"expected two arrays of one and the same length, found shapes {left.shape} and {right.shape}")
    return left, right


def _count_pairs(first: NDArray[np.float64], second: NDArray[np.float64]) -> _Pairs | None:
    """Counts the pairs of each kind; None when there are no pairs or a nan has no place in the order."""
    if len(first) < 2 or np.isnan(first).any() or np.isnan(second).any():
        return None
    first_ranks = np.unique(first, return_inverse=True)[1].reshape(-1)
    second_ranks = np.unique(second, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((second_ranks, first_ranks))
    return _Pairs(
        total=len(first) * (len(first) - 1) // 2,
        tied_first=_tied(first_ranks),
        tied_second=_tied(second_ranks),
        tied_both=_tied(first_ranks * len(first) + second_ranks),
        discordant=_inversions(second_ranks[order]),
    )


def _tied(ranks: NDArray[np.intp]) -> int:
    """The number of pairs of equal entries."""
    counts = np.unique(ranks, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _inversions(ranks: NDArray[np.intp]) -> int:
    """The number of pairs i < j with ranks[i] > ranks[j].

    Bit by bit: two entries that agree in all higher bits are inverted by this bit when the earlier one has it and the
    later one has not. Entries that agree in the higher bits are brought together by a stable sort.
    """
    total = 0
    for bit in range(int(ranks.max()).bit_length()):
        group = ranks >> (bit + 1)
        order = np.argsort(group, kind="stable")
        group, ones = group[order], (ranks[order] >> bit) & 1
        before = np.cumsum(ones) - ones
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        in_group = before - np.repeat(before[starts], np.diff(starts, append=len(group)))
        total += int(in_group[ones == 0].sum())
    return total
