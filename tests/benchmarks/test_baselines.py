"""The baselines: a linear model by hand and against scikit-learn, trees against what they can and cannot express."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder

from benchmarks.baselines import boosted_trees_scores, ridge_scores
from cost_model import LayoutConfigs, TileConfigs
from cost_model.metrics import kendall_tau
from cost_model.npz import read_npz


def _configs(*choices: tuple[int, ...]) -> LayoutConfigs:
    """One configurable node, whose three tensors take layout (0, 1) or (1, 0), or for 2 none."""
    layouts = np.full((3, 6), -1, np.float32)
    layouts[0, :2], layouts[1, :2] = (0, 1), (1, 0)
    return LayoutConfigs(layouts[np.array(choices)].reshape(len(choices), 1, 18))


def _random(count: int, seed: int) -> tuple[NDArray[np.int64], LayoutConfigs]:
    choices = np.random.default_rng(seed).integers(3, size=(count, 3))
    return choices, _configs(*map(tuple, choices.tolist()))


def test_ridge_by_hand() -> None:
    # One tensor varies. Centred columns (.5, -.5) and (-.5, .5); X'X = [[1, -1], [-1, 1]] for four configs; log
    # runtimes -1, -1, 1, 1 centred, so X'y = (-2, 2); with penalty 2 (eigenvalue 2 + 2): w = (-.5, .5).
    train = _configs((0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0))
    runtimes = np.rint(np.exp([10.0, 10.0, 12.0, 12.0])).astype(np.int64)
    scores = ridge_scores(train, runtimes, _configs((0, 0, 0), (1, 0, 0), (2, 0, 0)), penalty=2)
    # The third layout is new: neither column is set.
    np.testing.assert_allclose(scores, [-0.5, 0.5, 0], atol=1e-4)


def test_ridge_agrees_with_scikit_learn() -> None:
    choices, train = _random(200, 0)
    others, valid = _random(50, 1)
    runtimes = np.random.default_rng(2).integers(1000, 9000, size=200)
    encoder = OneHotEncoder(sparse_output=False).fit(choices)
    model = Ridge(alpha=3.0).fit(encoder.transform(choices), np.log(runtimes))
    expected = model.predict(encoder.transform(others)) - np.log(runtimes).mean()
    np.testing.assert_allclose(ridge_scores(train, runtimes, valid, penalty=3), expected, atol=1e-9)


def test_ridge_without_a_choice_scores_all_the_same() -> None:
    train = _configs((0, 0, 0), (0, 0, 0))
    assert ridge_scores(train, np.array([10, 20]), _configs((1, 1, 1), (0, 0, 0))).tolist() == [0, 0]


def test_trees_learn_what_a_linear_model_cannot() -> None:
    choices, train = _random(400, 0)
    others, valid = _random(100, 1)

    def cost(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slow where the first two tensors disagree: no sum of costs per tensor."""
        return np.where(rows[:, 0] == rows[:, 1], 1000, 1500)

    trees = kendall_tau(boosted_trees_scores(train, cost(choices), valid, trees=20), cost(others))
    linear = kendall_tau(ridge_scores(train, cost(choices), valid), cost(others))
    assert trees > linear + 0.3
    order = np.argsort(boosted_trees_scores(train, cost(choices), valid, trees=20))
    assert (np.diff(cost(others)[order]) >= 0).all()


def test_trees_take_tiles() -> None:
    # Sizes 1 and 2, 20 configs each, which is the least number of a leaf.
    tiles = TileConfigs(np.repeat(np.repeat([[1.0], [2.0]], 20, axis=0), 24, axis=1).astype(np.float32))
    scores = boosted_trees_scores(tiles, np.repeat([300, 100], 20), tiles, trees=1)
    # One step of learning rate .1 from the mean 200 towards 300 and 100.
    np.testing.assert_allclose(scores, np.repeat([210.0, 190.0], 20))


def test_arguments_that_do_not_belong_together() -> None:
    train = _configs((0, 0, 0), (1, 0, 0))
    runtimes = np.array([10, 20])
    for scores in (ridge_scores, boosted_trees_scores):
        with pytest.raises(ValueError, match="different graphs"):
            scores(train, runtimes, LayoutConfigs(np.zeros((2, 2, 18), np.float32)))
        with pytest.raises(ValueError, match="expected 2 above 0, one per config"):
            scores(train, runtimes * 0, train)


def test_ridge_on_alexnet(shared: Path) -> None:
    """The figure of an independent experiment on the same files: about .834."""
    train, valid = (read_npz(shared / "data/tpugraphs/layout_alexnet" / f"{name}.npz") for name in ("train", "valid"))
    assert isinstance(train.configs, LayoutConfigs)
    assert isinstance(valid.configs, LayoutConfigs)
    assert train.runtimes is not None
    assert valid.runtimes is not None
    scores = ridge_scores(train.configs, train.runtimes, valid.configs)
    assert kendall_tau(scores, valid.runtimes) == pytest.approx(0.834, abs=0.001)
