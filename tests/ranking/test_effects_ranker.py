"""Which decisions a search tries next, with effects that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Outcome
from autotune.hlo.graph import program_graph
from autotune.ranking import make_ranker
from autotune.ranking.effects_ranker import EffectsRanker
from autotune.ranking.residual_ranker import ResidualRanker
from autotune.spaces.base import Config, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.strategies import Guidance
from cost_model import CostModel
from tests import programs
from tests.ranking.test_residual_ranker import NOISE, RIGHT, WRONG, Known


@pytest.fixture(scope="module")
def space() -> LayoutSpace:
    return LayoutSpace(programs.two_dots().proto, places=2)


def _ranker(space: LayoutSpace, *models: CostModel) -> EffectsRanker:
    assert space.factors is not None
    return EffectsRanker(models, program_graph(programs.two_dots()) if models else None, space, space.factors)


def _evaluate(configs: Sequence[Config], cost: Callable[[LayoutConfig], float | None]) -> list[Evaluation]:
    evaluations = []
    for config in configs:
        assert isinstance(config, LayoutConfig)
        found = cost(config)
        outcome: Outcome = Failed(FailureReason.COMPILER_CRASHED, "SIGABRT")
        if found is not None:
            outcome = Estimated(1000.0 * found, 1000.0)
        evaluations.append(Evaluation(config, outcome))
    return evaluations


def _singles(space: LayoutSpace) -> list[Config]:
    return [LayoutConfig.of({(each.node, each.tensor): (0, 1)}) for each in space.tensors]


def _sum_of_effects(config: LayoutConfig) -> float:
    effects = {(2, 0): 0.9, (2, 1): 1.2, (2, 2): 1.0, (5, 0): 1.1, (5, 1): 0.8, (5, 2): 1.3}
    return float(np.prod([effects[node, tensor] for node, tensor, order in config.orders if order == (0, 1)]))


def test_a_screening_of_roles_learns_effects_and_all_else_what_is_alike(space: LayoutSpace) -> None:
    graph = program_graph(programs.two_dots())
    cpu = LayoutSpace(programs.two_dots().proto)
    assert isinstance(make_ranker([], None, space, Guidance.EFFECTS, estimated=True), EffectsRanker)
    assert isinstance(make_ranker([RIGHT], graph, space, Guidance.SCORES, estimated=True), ResidualRanker)
    assert isinstance(make_ranker([RIGHT], graph, cpu, Guidance.EFFECTS, estimated=False), ResidualRanker)
    assert make_ranker([], None, cpu, Guidance.EFFECTS, estimated=False) is None
    assert make_ranker([RIGHT], graph, space, Guidance.NONE, estimated=True) is None


def test_good_decisions_are_put_together(space: LayoutSpace) -> None:
    ranker, random = _ranker(space), np.random.default_rng(0)
    ranker.observe(_evaluate([space.default, *_singles(space)], _sum_of_effects))
    pairs: list[Config] = [
        LayoutConfig.of({first: (0, 1), second: (0, 1)})
        for first in ((2, 0), (2, 1), (2, 2))
        for second in ((5, 0), (5, 1), (5, 2))
    ]
    (best,) = ranker.choose(pairs, 1, random)
    assert pairs[best] == LayoutConfig.of({(2, 0): (0, 1), (5, 1): (0, 1)})
    assert ranker.standing.model == "none"
    assert ranker.scores == {}


def test_what_failed_is_avoided(space: LayoutSpace) -> None:
    ranker = _ranker(space)
    singles = _singles(space)
    ranker.observe(_evaluate(singles[1:], lambda config: 1.5 if config == singles[1] else 1.0))
    ranker.observe(_evaluate(singles[:1], lambda config: None))
    pairs: list[Config] = [
        LayoutConfig.of({(2, 0): (0, 1), (5, 1): (0, 1)}),
        LayoutConfig.of({(2, 2): (0, 1), (5, 1): (0, 1)}),
    ]
    assert ranker.choose(pairs, 1, np.random.default_rng(0)) == [1]


def test_the_model_that_would_have_predicted_best_is_taken(space: LayoutSpace) -> None:
    random = np.random.default_rng(0)
    configs = list({repr(c): c for c in (space.sample(random) for _ in range(40))}.values())

    def rising(config: LayoutConfig) -> float:
        return 1.0 + 0.1 * len(config.orders)

    ranker = _ranker(space, NOISE, RIGHT)
    assert ranker.standing.describe() == "noise"
    ranker.observe(_evaluate(configs[:5], rising))
    assert ranker.standing.describe() == "noise", "too early to tell"
    ranker.observe(_evaluate(configs[5:], rising))
    assert ranker.standing.describe() == "right, adapted to the evaluations"
    assert ranker.standing.correlation > 0.5
    assert ranker.standing.first_correlation < 0.5
    assert len(ranker.scores) == len(configs)
    wrong = _ranker(space, WRONG)
    wrong.observe(_evaluate(configs, rising))
    assert wrong.standing.correlation > 0.5, "a model that is always wrong tells as much"


class _Rounded(Known):
    """Calls everything equal."""

    def __init__(self) -> None:
        super().__init__("rounded", lambda rows: np.ones(len(rows)))

    def without_rounding(self) -> CostModel:
        return RIGHT


def test_scores_are_not_rounded(space: LayoutSpace) -> None:
    ranker = _ranker(space, _Rounded())
    configs = _singles(space)
    ranker.observe(_evaluate([space.default, *configs], lambda config: 1.0 + len(config.orders)))
    assert [ranker.scores[config_id(each)] for each in (space.default, configs[0])] == [0.0, 1.0]


def test_before_any_evaluation_a_model_tells_what_makes_a_difference(space: LayoutSpace) -> None:
    pairs: list[Config] = [
        *_singles(space),
        LayoutConfig.of({(each.node, each.tensor): (0, 1) for each in space.tensors}),
    ]
    for ranker in (_ranker(space), _ranker(space, RIGHT)):
        assert ranker.choose(pairs, 1, np.random.default_rng(0)) == [len(pairs) - 1]
    assert len(_ranker(space).choose(pairs, 100, np.random.default_rng(0))) == len(pairs)
