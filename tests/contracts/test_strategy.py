"""What every strategy must do, run over every implementation."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.evaluation import Evaluation, Failed, FailureReason, Measured
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutSpace
from autotune.spaces.tile import DotKernel, GemmTileSpace
from autotune.strategies import STRATEGIES, Strategy
from autotune.strategies.screening import ScreeningStrategy
from tests import programs


@pytest.fixture(params=["tiles", "layouts of a TPU"])
def space(request: pytest.FixtureRequest) -> Space:
    if request.param == "tiles":
        return GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    return LayoutSpace(programs.two_dots().proto, places=2)


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest, space: Space) -> Strategy:
    return STRATEGIES[request.param](space)


def measured(config: Config, seconds: float) -> Evaluation:
    return Evaluation(config, Measured(seconds, 0.01, 1.0, 0.01, 0.01, 4, 24))


def test_proposals_belong_to_the_space(strategy: Strategy, space: Space) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        proposals = strategy.propose(40, rng)
        assert 0 < len(proposals) <= 40
        assert all(space.contains(config) for config in proposals)
        strategy.observe([measured(config, 1.0) for config in proposals[:3]])


def test_same_seed_and_history_give_the_same_proposals(space: Space) -> None:
    for make in STRATEGIES.values():
        runs = []
        for _ in range(2):
            strategy, rng = make(space), np.random.default_rng(5)
            strategy.observe([measured(space.mutate(space.default, np.random.default_rng(0)), 0.5)])
            runs.append([config_id(config) for config in strategy.propose(30, rng)])
        assert runs[0] == runs[1]


def test_failures_are_taken_in_without_harm(strategy: Strategy, space: Space) -> None:
    rng = np.random.default_rng(0)
    failed = Evaluation(space.sample(rng), Failed(FailureReason.COMPILER_CRASHED, "SIGABRT"))
    strategy.observe([failed])
    assert strategy.propose(10, rng)


def test_has_a_name_under_which_it_is_registered(strategy: Strategy) -> None:
    assert strategy.name in {*STRATEGIES, ScreeningStrategy.name}  # which "auto" stands for
