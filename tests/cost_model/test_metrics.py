from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cost_model.metrics import bootstrap_interval, kendall_tau, ordered_pair_accuracy, top_k_score, top_k_slowdown

# Differences among these overflow, vanish or are nan: a metric may compare them, but must not subtract.
_extremes = st.sampled_from([-math.inf, -1.7e308, -1.0, -0.0, 0.0, 5e-324, 1e-323, 1.0, 1e308, 1.7e308, math.inf])
_extreme_pairs = st.lists(st.tuples(_extremes, _extremes), min_size=2, max_size=30)


def test_kendall_tau_by_hand() -> None:
    # Six pairs: (1,2) tied in the second; (3,4) discordant; four concordant. tau_b = (4 - 1) / sqrt(6 * 5)
    assert kendall_tau([1, 2, 3, 4], [5, 5, 9, 8]) == pytest.approx(3 / math.sqrt(30))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=60))
def test_kendall_tau_equals_scipy_with_ties(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    theirs = float(stats.kendalltau(first, second).statistic)
    assert kendall_tau(first, second) == pytest.approx(theirs, nan_ok=True)


@given(_extreme_pairs)
def test_kendall_tau_equals_scipy_at_the_extremes(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    theirs = float(stats.kendalltau(first, second).statistic)
    assert kendall_tau(first, second) == pytest.approx(theirs, nan_ok=True)


def test_kendall_tau_equals_scipy_without_ties() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=3000)
    second = first + rng.normal(size=3000)
    assert kendall_tau(first, second) == pytest.approx(float(stats.kendalltau(first, second).statistic))


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1.0], [2.0]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([1, math.nan, 3], [1, 2, 3])],
)
def test_kendall_tau_undefined(first: list[float], second: list[float]) -> None:
    assert math.isnan(kendall_tau(first, second))


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        kendall_tau([1, 2], [1, 2, 3])


def test_infinite_values_have_a_place_in_the_order() -> None:
    assert kendall_tau([1, 2, math.inf], [3, 4, 5]) == 1.0


def test_ordered_pair_accuracy_by_hand() -> None:
    # Five pairs with different runtimes: (0,1) right, (0,2) right, (0,3) right, (1,3) tied scores, (2,3) wrong;
    # (1,2) has equal runtimes and does not count: (3 + 0.5) / 5.
    assert ordered_pair_accuracy([1.0, 3.0, 4.0, 3.0], [10, 20, 20, 30]) == pytest.approx(0.7)
    assert math.isnan(ordered_pair_accuracy([1, 2], [5, 5]))
    assert ordered_pair_accuracy([2, 2], [5, 6]) == 0.5


@pytest.mark.parametrize(
    ("scores", "runtimes"),
    [([], []), ([1.0], [2.0]), ([1, 2], [math.inf, math.inf]), ([1, math.nan], [1, 2]), ([1, 2], [1, math.nan])],
)
def test_ordered_pair_accuracy_undefined(scores: list[float], runtimes: list[float]) -> None:
    assert math.isnan(ordered_pair_accuracy(scores, runtimes))


@given(_extreme_pairs)
def test_ordered_pair_accuracy_equals_counting(pairs: list[tuple[float, float]]) -> None:
    marks = [
        0.5 if one[0] == other[0] else float((one[0] < other[0]) == (one[1] < other[1]))
        for one, other in itertools.combinations(pairs, 2)
        if one[1] != other[1]
    ]
    expected = sum(marks) / len(marks) if marks else math.nan
    assert ordered_pair_accuracy(*zip(*pairs, strict=True)) == pytest.approx(expected, nan_ok=True)


def test_top_k_slowdown_by_hand() -> None:
    scores, runtimes = [0.1, 0.2, 0.3, 0.4], [30.0, 25.0, 50.0, 20.0]
    assert top_k_slowdown(scores, runtimes, 1) == pytest.approx(1.5)
    assert top_k_slowdown(scores, runtimes, 3) == pytest.approx(1.25)
    assert top_k_slowdown(scores, runtimes, 10) == 1.0
    assert top_k_slowdown([1, 1], [3, 2], 1) == 1.5  # equal scores keep their order
    assert math.isnan(top_k_slowdown([], [], 1))
    assert math.isnan(top_k_slowdown([1.0, math.nan], [1, 2], 1))


def test_top_k_slowdown_of_one_config() -> None:
    assert top_k_slowdown([7.0], [3.0], 5) == 1.0
    assert top_k_slowdown([-math.inf], [5e-324], 1) == 1.0


def test_top_k_slowdown_of_huge_and_infinite_values() -> None:
    assert top_k_slowdown([math.inf, -math.inf, 1e308], [1.0, 3.0, 2.0], 1) == 3.0
    assert top_k_slowdown([math.inf, -math.inf, 1e308], [1.0, 3.0, 2.0], 2) == 2.0
    assert top_k_slowdown([1, 2], [3e300, 1.5e300], 1) == 2.0
    assert top_k_slowdown([1, 2], [1e308, 1e-308], 1) == math.inf  # more than the largest float64
    assert top_k_slowdown([1, 2], [math.inf, 5.0], 1) == math.inf
    assert top_k_slowdown([1, 2], [5.0, math.inf], 1) == 1.0
    assert math.isnan(top_k_slowdown([1, 2], [math.inf, math.inf], 1))
    assert math.isnan(top_k_slowdown([1, 2], [1.0, math.nan], 1))


def test_top_k_score_by_hand() -> None:
    scores, runtimes = [0.1, 0.2, 0.3, 0.4, 0.5], [80.0, 40.0, 30.0, 25.0, 20.0]
    # 2 - 80/20, 2 - 40/20, 2 - 30/20, 2 - 25/20, 2 - 20/20
    assert [top_k_score(scores, runtimes, k) for k in (1, 2, 3, 4, 5)] == [-2.0, 0.0, 0.5, 0.75, 1.0]
    assert top_k_score(scores, runtimes, 50) == 1.0
    assert top_k_score([7.0], [3.0], 5) == 1.0
    assert top_k_score([1, 2], [math.inf, 5.0], 1) == -math.inf
    assert math.isnan(top_k_score([1, 2], [math.inf, math.inf], 1))
    assert math.isnan(top_k_score([], [], 5))
    with pytest.raises(ValueError, match="0 marks data without labels"):
        top_k_score([1, 2], [0, 0], 5)


def test_top_k_slowdown_refuses_data_without_labels() -> None:
    with pytest.raises(ValueError, match="0 marks data without labels"):
        top_k_slowdown([1, 2], [0, 0], 1)
    with pytest.raises(ValueError, match="k: expected 1 or more, found 0"):
        top_k_slowdown([1, 2], [3, 4], 0)


def test_bootstrap_interval() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(loc=5.0, scale=2.0, size=400)
    low, high = bootstrap_interval(values, seed=0, resamples=2000)
    # The standard error of the mean is 2 / 20, so the interval is about the mean plus and minus 0.196.
    assert low == pytest.approx(values.mean() - 0.196, abs=0.03)
    assert high == pytest.approx(values.mean() + 0.196, abs=0.03)
    assert bootstrap_interval(values, seed=0, resamples=2000) == (low, high)
    assert bootstrap_interval([3.0, 3.0], seed=0, resamples=10) == (3.0, 3.0)
    assert bootstrap_interval([-4.0], seed=0, resamples=10) == (-4.0, -4.0)


@pytest.mark.parametrize("values", [[], [1.0, math.inf], [-math.inf, 1.0], [math.nan, 1.0]])
def test_bootstrap_interval_undefined(values: list[float]) -> None:
    assert all(math.isnan(end) for end in bootstrap_interval(values, seed=0, resamples=10))
