"""Metrics of programs and their means, worked out by hand or by trying every order of equal scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_model.metrics import bootstrap_interval, top_k_slowdown
from training.evaluation.ranking import METRICS, GraphRanking, RankingReport, expected_slowdown, rank_graph


def _scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_a_program_by_hand() -> None:
    # Of six pairs, one is in the wrong order: configs 1 and 2.
    ranking = rank_graph("p", _scores(1, 2, 3, 4), np.array([10.0, 30, 20, 40]))
    assert ranking.tau == pytest.approx((5 - 1) / 6)
    assert ranking.pair_accuracy == pytest.approx(5 / 6)
    assert (ranking.top_1, ranking.top_5, ranking.top_10) == (1, 1, 1)
    assert ranking.configs == 4
    assert ranking.top_5_score is None


def test_tiles_have_the_score_of_the_contest() -> None:
    # The best five of the scores are 2, 3, ..., 6 times as slow as the best config.
    costs = np.array([1.0, 6, 5, 4, 3, 2])
    ranking = rank_graph("k", _scores(9, 1, 2, 3, 4, 5), costs, tiles=True)
    assert (ranking.top_1, ranking.top_5, ranking.top_10) == (6, 2, 1)
    assert ranking.top_5_score == 0


def test_equal_scores_count_as_any_order_of_them() -> None:
    # First of three equal ones: 1, 2 or 3 times as slow. Two of them: 1 in two cases of three, else 2.
    scores, costs = _scores(5, 5, 5), np.array([20.0, 10, 30])
    assert expected_slowdown(scores, costs, 1) == pytest.approx(2)
    assert expected_slowdown(scores, costs, 2) == pytest.approx((1 + 1 + 2) / 3)
    assert expected_slowdown(scores, costs, 3) == pytest.approx(1)
    assert expected_slowdown(scores, costs, 10) == pytest.approx(1)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_slowdown_is_the_mean_over_all_orders_of_the_file(configs: list[tuple[int, int]], k: int) -> None:
    orders = [np.array(order) for order in itertools.permutations(range(len(configs)))]
    scores, costs = _scores(*(score for score, _ in configs)), np.array([float(cost) for _, cost in configs])
    expected = np.mean([top_k_slowdown(scores[order], costs[order], k) for order in orders])
    assert expected_slowdown(scores, costs, k) == pytest.approx(expected)


def _graph(name: str, tau: float, *, left_out: bool = False) -> GraphRanking:
    return GraphRanking(name, 10, "distinct", left_out, tau, 1.5, 1.2, 1.0, 0.5, None)


def test_means_with_and_without_what_is_left_out() -> None:
    report = RankingReport("m", "c", "valid", (_graph("a", 0.2), _graph("b", 0.6), _graph("unet", -0.5, left_out=True)))
    mean, everything = report.mean(), report.mean(everything=True)
    assert mean.value == pytest.approx(0.4)
    assert (mean.graphs, mean.undefined) == (2, 0)
    assert (mean.low, mean.high) == bootstrap_interval([0.2, 0.6], seed=0)
    assert everything.value == pytest.approx(0.1)
    assert everything.graphs == 3
    assert report.left_out == ("unet",)
    assert report.mean("top_5").value == pytest.approx(1.2)
    assert report.metrics == METRICS[:-1]


def test_what_is_not_defined_is_counted_apart() -> None:
    mean = RankingReport("m", "c", "valid", (_graph("a", 0.2), _graph("b", math.nan))).mean()
    assert mean.value == pytest.approx(0.2)
    assert (mean.graphs, mean.undefined) == (1, 1)
    assert math.isnan(mean.low), "one program says nothing about others"
    assert math.isnan(RankingReport("m", "c", "valid", ()).mean().value)


def test_json_has_null_for_what_is_not_defined() -> None:
    values = RankingReport("m", "c", "valid", (_graph("a", math.nan),)).to_json()
    assert values["graphs"][0]["tau"] is None
    assert values["mean"]["tau"] == {"value": None, "low": None, "high": None, "graphs": 0, "undefined": 1}
    assert values["mean"]["top_1"]["value"] == 1.5
    assert (values["model"], values["collection"], values["split"]) == ("m", "c", "valid")
