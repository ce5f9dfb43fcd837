"""Predictions that follow the evaluations, against formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.ranking.residual import FORMS, Form, Residual, coordinates, distances
from cost_model import LayoutConfigs, TileConfigs
from cost_model.metrics import kendall_tau

BOTH = Form(from_score=True, from_evaluations=True)


def _layouts(count: int, tensors: int = 12, seed: int = 0) -> LayoutConfigs:
    """Every tensor is undecided, row-major or column-major."""
    orders = np.array([[-1] * 6, [1, 0, -1, -1, -1, -1], [0, 1, -1, -1, -1, -1]], np.float32)
    chosen = np.random.default_rng(seed).integers(3, size=(count, tensors))
    return LayoutConfigs(orders[chosen].reshape(count, tensors // 3, 18))


def test_distance_of_layouts_is_the_number_of_tensors_that_differ() -> None:
    configs = _layouts(5)
    places = coordinates(configs)
    entries = configs.node_config_feat.reshape(5, -1, 6)
    expected = [[(a != b).any(axis=1).sum() for b in entries] for a in entries]
    assert distances(places, places).tolist() == expected


def test_distance_of_tiles_is_between_logarithms_of_bounds() -> None:
    rows = np.zeros((2, 24), np.float32)
    rows[0, 3], rows[1, 3], rows[1, 7] = 1, 7, 3
    places = coordinates(TileConfigs(rows))
    assert distances(places, places)[0, 1] == pytest.approx(np.hypot(3 - 1, 2))


def test_without_each_evaluation_is_what_training_without_it_says() -> None:
    configs = _layouts(12)
    random = np.random.default_rng(1)
    scores, costs, places = random.random(12), np.exp(random.random(12)), coordinates(configs)
    whole = Residual(BOTH, scores, places, costs)
    # The same covariance, solved without one evaluation at a time; scale and centre are those of all.
    logarithms = (np.log(costs) - np.log(costs).mean()) / np.log(costs).std()
    standard = (scores - scores.mean()) / scores.std()
    between = distances(places, places)
    unit = np.median(between[between > 0])
    covariance = 1 + 4 * np.outer(standard, standard) + np.exp(-between / unit)
    without = []
    for left_out in range(12):
        kept = np.arange(12) != left_out
        noisy = covariance[np.ix_(kept, kept)] + BOTH.noise * np.eye(11)
        without.append(covariance[left_out, kept] @ np.linalg.solve(noisy, logarithms[kept]))
    assert whole.correlation == pytest.approx(kendall_tau(np.array(without), costs))


def test_learns_what_the_scores_do_not_say() -> None:
    configs, others = _layouts(60, seed=2), _layouts(200, seed=3)
    weights = np.random.default_rng(4).random(12)

    def costs(batch: LayoutConfigs) -> np.ndarray:
        decided = batch.node_config_feat.reshape(len(batch), 12, 6)[:, :, 0]
        return np.asarray(np.exp(((decided == 0) * weights).sum(axis=1)))

    nothing = np.zeros(60)
    adapted = Residual(Form(False, True), nothing, coordinates(configs), costs(configs))
    assert kendall_tau(adapted.predict(np.zeros(200), coordinates(others)), costs(others)) > 0.5


def test_plain_scores_come_first() -> None:
    assert FORMS[0] == Form(from_score=True, from_evaluations=False)
