"""Which model ranks, and whether it is adapted, with models whose scores are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason
from autotune.hlo.graph import program_graph
from autotune.ranking.residual_ranker import ResidualRanker
from autotune.spaces.base import Config
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from cost_model import ConfigBatch, CostModel, ProgramGraph
from tests import programs


class Known(CostModel):
    """Scores by a function of what a config decides."""

    def __init__(self, name: str, function: Callable[[NDArray[np.float32]], NDArray[np.float64]]) -> None:
        self._name, self._function = name, function

    @property
    def name(self) -> str:
        return self._name

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        return self._function(configs.node_config_feat).astype(np.float32)  # type: ignore[union-attr]


def _decided(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray((rows.reshape(len(rows), -1, 6)[:, :, 0] >= 0).sum(axis=1), dtype=np.float64)


def _hash(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Says nothing about costs."""
    return np.asarray(np.sin(1000 * (rows.reshape(len(rows), -1) @ np.arange(1, rows[0].size + 1))))


RIGHT, WRONG, NOISE = Known("right", _decided), Known("wrong", lambda rows: -_decided(rows)), Known("noise", _hash)


@pytest.fixture(scope="module")
def space() -> LayoutSpace:
    return LayoutSpace(programs.two_dots().proto)


def _configs(space: LayoutSpace, count: int, seed: int = 0) -> list[Config]:
    random = np.random.default_rng(seed)
    return list({repr(config): config for config in (space.sample(random) for _ in range(count))}.values())


def _evaluate(space: LayoutSpace, configs: list[Config], cost: Callable[[Config], float]) -> list[Evaluation]:
    return [Evaluation(config, Estimated(1000.0 * cost(config), 1000.0)) for config in configs]


def _by_decisions(config: Config) -> float:
    assert isinstance(config, LayoutConfig)
    return 1.0 + len(config.orders)


def _ranker(space: LayoutSpace, *models: CostModel) -> ResidualRanker:
    return ResidualRanker(models, program_graph(programs.two_dots()), space)


def test_the_first_model_ranks_until_there_are_evaluations(space: LayoutSpace) -> None:
    ranker, configs = _ranker(space, WRONG, RIGHT), _configs(space, 20)
    assert ranker.rank(configs) == pytest.approx(-_decided(space.encode(configs).node_config_feat))
    assert ranker.standing.describe() == "wrong"


def test_a_good_model_stays_as_it_is(space: LayoutSpace) -> None:
    ranker = _ranker(space, RIGHT, NOISE)
    ranker.observe(_evaluate(space, _configs(space, 20), _by_decisions))
    assert ranker.standing.describe() == "right"
    assert ranker.standing.correlation == pytest.approx(1.0)
    others = _configs(space, 30, seed=5)
    ranks = ranker.rank(others)
    assert ranks is not None
    assert np.array_equal(
        np.argsort(ranks, kind="stable"), np.argsort([_by_decisions(c) for c in others], kind="stable")
    )


def test_another_model_stands_in_for_one_that_is_worse(space: LayoutSpace) -> None:
    ranker = _ranker(space, NOISE, RIGHT)
    ranker.observe(_evaluate(space, _configs(space, 20), _by_decisions))
    assert ranker.standing.model == "right"
    assert ranker.standing.first_correlation < 0.5
    assert ranker.standing.correlation == pytest.approx(1.0)


def test_with_many_evaluations_not_every_one_is_followed_at_once_but_all_in_the_end(space: LayoutSpace) -> None:
    evaluations = _evaluate(space, _configs(space, 200), _by_decisions)
    ranker, whole = _ranker(space, NOISE, RIGHT), _ranker(space, NOISE, RIGHT)
    fits = 0
    for evaluation in evaluations:
        before = ranker.standing
        ranker.observe([evaluation])
        fits += ranker.standing is not before
    assert 20 < fits < len(evaluations) - 10
    whole.observe(evaluations)
    assert ranker.settle() == whole.standing
    assert ranker.settle() is ranker.standing


def test_what_no_model_says_is_learned_from_the_evaluations(space: LayoutSpace) -> None:
    ranker, configs = _ranker(space, NOISE), _configs(space, 60)
    ranker.observe(_evaluate(space, configs, _by_decisions))
    assert ranker.standing.adapted
    assert ranker.standing.correlation > 0.4


def test_a_ranking_that_follows_nothing_is_not_asked(space: LayoutSpace) -> None:
    random = np.random.default_rng(0)
    ranker, configs = _ranker(space, NOISE), _configs(space, 60)
    ranker.observe(_evaluate(space, configs, lambda config: float(np.exp(random.random()))))
    assert not ranker.standing.asked
    assert ranker.rank(configs) is None
    assert "no ranking follows" in ranker.standing.describe()


def test_failures_alone_and_equal_costs_teach_nothing(space: LayoutSpace) -> None:
    ranker, configs = _ranker(space, RIGHT), _configs(space, 20)
    failed = Failed(FailureReason.COMPILE_ERROR, "no")
    ranker.observe([Evaluation(config, failed) for config in configs])
    assert ranker.scores == {}
    assert ranker.settle().describe() == "right"
    ranker.observe(_evaluate(space, configs, lambda config: 1.0))
    assert ranker.standing.describe() == "right"
    assert len(ranker.scores) == len(configs)


def test_what_fails_is_ranked_like_the_worst(space: LayoutSpace) -> None:
    """Whatever decides the first tensor fails; all else costs the same, so only failures can teach that."""
    first = (space.tensors[0].node, space.tensors[0].tensor)

    def fails(config: Config) -> bool:
        assert isinstance(config, LayoutConfig)
        return first in config.as_mapping()

    ranker, configs = _ranker(space, NOISE), _configs(space, 60)
    random = np.random.default_rng(0)
    for config in configs:
        outcome = Failed(FailureReason.COMPILER_CRASHED, "SIGABRT")
        cost = Estimated(1000.0 + random.random(), 1000.0)
        ranker.observe([Evaluation(config, outcome if fails(config) else cost)])
    ranker.settle()
    others = _configs(space, 60, seed=5)
    ranks = ranker.rank(others)
    assert ranks is not None
    failing = np.array([fails(config) for config in others])
    assert ranks[failing].mean() > ranks[~failing].mean() + 0.5, "in spreads of the costs"
    assert len(ranker.scores) == sum(not fails(config) for config in configs)
