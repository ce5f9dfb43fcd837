"""Effects that are known, and improvements that are integrated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.ranking.effects import Effects, expected_improvement
from cost_model.metrics import kendall_tau


def test_expected_improvement_is_the_mean_of_what_is_below_the_best() -> None:
    draws = np.random.default_rng(0).normal(size=400_000)
    for mean, deviation, best in ((0.0, 1.0, 0.0), (0.5, 0.2, 0.0), (-1.0, 0.5, -1.2), (2.0, 1.0, -0.5)):
        sampled = np.maximum(best - (mean + deviation * draws), 0.0).mean()
        (found,) = expected_improvement(np.array([mean]), np.array([deviation]), best)
        assert found == pytest.approx(sampled, rel=0.02, abs=2e-4)


def test_effects_add_up_and_are_learned() -> None:
    random = np.random.default_rng(1)
    effects = random.normal(scale=0.1, size=8)
    seen, others = (random.integers(0, 2, size=(count, 8)).astype(float) for count in (60, 200))
    learned = Effects(seen, np.zeros(60), np.exp(seen @ effects), 0.0)
    assert kendall_tau(learned.predict(others, np.zeros(200)), others @ effects) > 0.97
    assert learned.correlation > 0.95


def test_correlation_is_of_predictions_without_each_evaluation() -> None:
    random = np.random.default_rng(2)
    factors, scores = random.normal(size=(12, 3)), random.normal(size=12)
    costs = np.exp(0.1 * random.normal(size=12))
    scale = np.sqrt(np.mean(np.log(costs) ** 2))
    without = []
    for left_out in range(12):
        rest = np.arange(12) != left_out
        # The same unit of the costs as with all of them: it is no part of what is left out.
        covariance = factors[rest] @ factors[rest].T + 0.1 * np.outer(scores[rest], scores[rest]) + 0.05 * np.eye(11)
        shared = factors[rest] @ factors[left_out] + 0.1 * scores[rest] * scores[left_out]
        without.append(shared @ np.linalg.solve(covariance, np.log(costs[rest]) / scale))
    expected = kendall_tau(np.array(without), np.log(costs))
    assert Effects(factors, scores, costs, 0.1).correlation == pytest.approx(expected)


def test_untried_decisions_are_chosen_before_tried_ones_and_no_two_alike() -> None:
    factors = np.repeat(np.eye(4), 3, axis=0)  # three configs for each of four decisions
    seen, costs = np.eye(4)[:1], np.array([1.1])
    chosen = Effects(seen, np.zeros(1), costs, 0.0).choose(factors, np.zeros(12), 3)
    assert sorted(index // 3 for index in chosen) == [1, 2, 3]


def test_what_is_known_to_be_good_is_chosen_with_others() -> None:
    seen = np.vstack([np.zeros(3), np.eye(3)])
    costs = np.array([1.0, 0.8, 0.85, 1.2])
    candidates = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    effects = Effects(seen, np.zeros(4), costs, 0.0)
    assert effects.choose(candidates, np.zeros(3), 1) == [0]
    assert len(effects.choose(candidates, np.zeros(3), 10)) == 3


def test_a_score_counts_once_evaluations_agree_with_it() -> None:
    factors, scores = np.zeros((6, 1)), np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5])
    candidates = np.array([1.4, -1.4])
    for sign in (1, -1):
        effects = Effects(factors, scores, np.exp(0.1 * sign * scores), 0.1)
        predicted = effects.predict(np.zeros((2, 1)), candidates)
        assert bool(predicted[1] < predicted[0]) is (sign == 1)
    none = Effects(factors, scores, np.exp(0.1 * scores), 0.0)
    assert none.predict(np.zeros((2, 1)), candidates) == pytest.approx([0.0, 0.0])


def test_a_score_counts_a_little_before_evaluations_tell_and_less_than_they_do() -> None:
    scores = np.array([1.0, 0.0, -1.0])
    nothing = Effects(np.zeros((0, 3)), np.zeros(0), np.zeros(0), 0.1, 0.2)
    assert nothing.predict(np.zeros((3, 3)), scores) == pytest.approx(0.2 * scores)
    assert nothing.choose(np.eye(3), scores, 3)[0] == 2, "what is said to be fast"
    seen = np.linspace(-1.0, 1.0, 12)
    against = Effects(np.zeros((12, 3)), seen, np.exp(-0.1 * seen), 0.1, 0.2)
    assert (np.diff(against.predict(np.zeros((3, 3)), scores)) > 0).all()
    assert against.correlation == pytest.approx(1.0)


def test_without_evaluations_and_with_equal_ones_there_is_a_choice() -> None:
    nothing = Effects(np.zeros((0, 2)), np.zeros(0), np.zeros(0), 0.1)
    assert len(nothing.choose(np.eye(2), np.array([1.0, -1.0]), 2)) == 2
    equal = Effects(np.eye(2), np.zeros(2), np.ones(2), 0.1)
    assert equal.predict(np.eye(2), np.zeros(2)) == pytest.approx([0.0, 0.0])
    assert np.isnan(equal.correlation)
