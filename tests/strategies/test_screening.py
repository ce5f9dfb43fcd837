"""One decision at a time, then the good ones together."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.errors import SpaceError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason
from autotune.spaces.base import Config, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import DotKernel, GemmTileSpace
from autotune.strategies import STRATEGIES
from autotune.strategies.screening import ScreeningStrategy
from tests import programs


@pytest.fixture
def space() -> LayoutSpace:
    return LayoutSpace(programs.two_dots().proto, places=2)


def estimated(config: Config, cost: float) -> Evaluation:
    return Evaluation(config, Estimated(1000.0 * cost, 1000.0))


def single(node: int, tensor: int) -> LayoutConfig:
    return LayoutConfig.of({(node, tensor): (0, 1)})


def test_layouts_of_a_tpu_are_screened_and_all_else_evolves(space: LayoutSpace) -> None:
    tiles = GemmTileSpace(DotKernel(256, 256, 256, "f32"))
    cpu = LayoutSpace(programs.two_dots().proto)
    assert [STRATEGIES["auto"](each).name for each in (space, cpu, tiles)] == [
        "screening",
        "evolutionary",
        "evolutionary",
    ]
    for other in (cpu, tiles):
        with pytest.raises(SpaceError, match="expected a space of layouts of a TPU"):
            ScreeningStrategy(other)


def test_at_first_every_role_is_proposed_alone(space: LayoutSpace) -> None:
    proposals = ScreeningStrategy(space).propose(100, np.random.default_rng(0))
    assert {config_id(each) for each in proposals} == {
        config_id(single(node, tensor)) for node in (2, 5) for tensor in (0, 1, 2)
    }


def test_decisions_are_added_to_good_configs_and_taken_from_them(space: LayoutSpace) -> None:
    strategy = ScreeningStrategy(space)
    good = LayoutConfig.of({(2, 0): (0, 1), (5, 1): (0, 1)})
    better, worse = single(2, 2), single(5, 2)
    failed = Evaluation(single(5, 0), Failed(FailureReason.COMPILER_CRASHED, "SIGABRT"))
    strategy.observe([estimated(good, 0.9), estimated(better, 0.8), estimated(worse, 1.1), failed])
    proposed = {config_id(each) for seed in range(20) for each in strategy.propose(100, np.random.default_rng(seed))}
    assert config_id(LayoutConfig.of(good.as_mapping() | better.as_mapping())) in proposed
    assert config_id(single(2, 0)) in proposed
    assert config_id(single(5, 1)) in proposed
    assert config_id(LayoutConfig.of(better.as_mapping() | worse.as_mapping())) in proposed, "worse alone, not with it"
    for known in (good, better, worse, failed.config, space.default):
        assert config_id(known) not in proposed
    by_failure = LayoutConfig.of(failed.config.as_mapping() | single(2, 1).as_mapping())  # type: ignore[attr-defined]
    assert config_id(by_failure) not in proposed, "what failed or is worse than the default is no parent"


def test_when_all_single_decisions_are_known_others_are_drawn(space: LayoutSpace) -> None:
    strategy = ScreeningStrategy(space)
    singles = [single(node, tensor) for node in (2, 5) for tensor in (0, 1, 2)]
    strategy.observe([estimated(each, 1.1) for each in singles])
    proposals = strategy.propose(100, np.random.default_rng(0))
    known = {config_id(each) for each in (*singles, space.default)}
    assert sum(config_id(each) not in known for each in proposals) > 20
    assert all(space.contains(each) for each in proposals)
