"""The loop, against a target whose costs are known: no compiler, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune import api
from autotune.database import Database
from autotune.errors import AutotuneError, DefaultFailedError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, LabelKind
from autotune.hlo.graph import program_graph
from autotune.result import SMALLEST_GAIN, SearchResult
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.strategies.evolutionary import EvolutionaryStrategy
from autotune.targets.base import PreparedProgram
from autotune.tuner import Tuner
from cost_model import ConfigBatch, CostModel, LayoutConfigs, ProgramGraph
from tests import programs
from tests.cost_model.models import write_small
from tests.tables import KnownTarget, few_constraints_are_good

DEFAULT = config_id(LayoutConfig())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.sqlite"


def search(target: KnownTarget, database: Path, **options: Any) -> SearchResult:
    return api.search(programs.two_dots(), target=target, database=database, **{"budget": 20, **options})


@pytest.mark.parametrize("strategy", ["evolutionary", "random"])
@pytest.mark.parametrize("model", ["auto", "none"])
def test_finds_the_known_optimum_within_the_budget(strategy: str, model: str, database: Path) -> None:
    target = KnownTarget()
    result = search(target, database, strategy=strategy, model=model, budget=40)
    searched = target.searched()
    assert searched[0] == DEFAULT, "the default is measured first"
    assert len(searched) == 1 + 40
    assert len(set(searched)) == len(searched), "nothing is evaluated twice"
    assert result.improved
    assert result.speedup == pytest.approx(1 / 0.8)
    assert result.stopped == "budget used up"
    assert result.counts == {"measured": 41, "estimated": 0, "failed": 0}


def test_the_last_word_is_a_comparison_of_the_best_with_the_default(database: Path) -> None:
    target = KnownTarget()
    result = search(target, database)
    assert result.comparison is not None
    confirmed = [identity for purpose, identity in target.log if purpose == "confirm"]
    assert DEFAULT in confirmed
    assert config_id(result.best.config) in confirmed
    assert result.best.purpose == "confirm"


def test_a_gain_within_the_noise_is_no_gain(database: Path) -> None:
    result = search(KnownTarget(cost=lambda c: 1 / (1 + 0.9 * SMALLEST_GAIN) if c != LayoutConfig() else 1.0), database)
    assert not result.improved
    assert result.best.config == LayoutConfig()
    assert result.speedup == 1.0
    assert "no difference found" in result.verdict


def test_noise_is_what_the_copies_of_the_default_show(database: Path) -> None:
    result = search(KnownTarget(noise=0.4), database)
    assert result.noise == pytest.approx(0.4)
    assert not result.improved, "1.25x is within the noise of 40 %"


def test_same_command_again_reuses_everything(database: Path) -> None:
    first = search(KnownTarget(), database)
    again = KnownTarget()
    second = search(again, database)
    assert again.log == [], "nothing is evaluated again, not even the comparison"
    assert second.reused == 20
    assert config_id(second.best.config) == config_id(first.best.config)
    assert second.speedup == pytest.approx(first.speedup)


def test_a_larger_budget_goes_on(database: Path) -> None:
    search(KnownTarget(), database, budget=8)
    target = KnownTarget()
    result = search(target, database, budget=12)
    assert result.reused == 8
    assert len(target.searched()) == 4
    fresh = KnownTarget()
    assert search(fresh, database, budget=5, reuse=False).reused == 0
    assert len(fresh.searched()) == 6


def test_ctrl_c_keeps_the_best_so_far(database: Path) -> None:
    result = search(KnownTarget(interrupt_after=10), database)
    assert result.interrupted
    assert len(result.evaluations) == 10
    assert result.comparison is None
    target = KnownTarget()
    assert search(target, database).reused == 9, "all but the default count against the budget"


def test_failures_are_counted_and_permanent_ones_remembered(database: Path) -> None:
    def cost(config: Config) -> float | Failed:
        assert isinstance(config, LayoutConfig)
        if len(config.orders) >= 3:
            return Failed(FailureReason.COMPILER_CRASHED, "SIGABRT")
        if len(config.orders) == 2:
            return Failed(FailureReason.KILLED, "SIGKILL")
        return few_constraints_are_good(config)

    first = search(KnownTarget(cost=cost), database, budget=30, strategy="random")
    crashed, killed = first.failures["compiler crashed"], first.failures["killed from outside"]
    assert crashed > 0
    assert killed > 0
    again = KnownTarget(cost=few_constraints_are_good)
    second = search(again, database, budget=30, strategy="random")
    assert second.reused == 30 - killed, "what was killed from outside is tried again"
    assert second.failures == {"compiler crashed": crashed}


def test_a_guided_search_starts_with_the_landmarks(database: Path) -> None:
    target = KnownTarget()
    search(target, database, budget=3)
    space = LayoutSpace(programs.two_dots().proto)
    assert target.searched() == [DEFAULT, *(config_id(config) for config in space.landmarks)]


def test_time_limit(database: Path) -> None:
    result = search(KnownTarget(), database, time_limit=1e-9)
    assert result.stopped == "time limit reached"
    assert result.counts["measured"] == 1, "the default is measured all the same"


def test_a_space_that_is_used_up(database: Path) -> None:
    target = KnownTarget()
    result = search(target, database, budget=10_000)
    assert result.stopped == "space used up"
    assert len(set(target.searched())) == 3**6


def test_a_program_without_choice_is_measured_all_the_same(database: Path) -> None:
    result = api.search(programs.lookup(), target=KnownTarget(), database=database, budget=10)
    assert result.counts == {"measured": 1, "estimated": 0, "failed": 0}
    assert not result.improved
    assert result.stopped == "space used up"


def test_a_default_that_fails_is_an_error(database: Path) -> None:
    with pytest.raises(DefaultFailedError, match=r"compile timed out: no answer"):
        search(KnownTarget(cost=lambda c: Failed(FailureReason.COMPILE_TIMED_OUT, "no answer")), database)


def test_evaluations_are_committed_before_the_next_starts(database: Path) -> None:
    target = KnownTarget()
    counts: list[int] = []

    def cost(config: Config) -> float:
        with Database.open(database) as reader:
            counts.append(sum(program.measured for program in reader.programs()))
        return few_constraints_are_good(config)

    target.cost = cost
    search(target, database, budget=5)
    assert counts[:6] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget 0"),
        ({"time_limit": -1.0}, "time limit"),
        ({"strategy": "magic"}, "evolutionary, random"),
        ({"model": "oracle"}, "oracle"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str, database: Path) -> None:
    with pytest.raises(AutotuneError, match=message):
        search(KnownTarget(), database, **options)


def test_a_learned_model_from_a_checkpoint_chooses(database: Path, tmp_path: Path) -> None:
    write_small(tmp_path / "model.safetensors")
    result = search(KnownTarget(), database, model=str(tmp_path / "model.safetensors"), budget=12)
    assert result.cost_model == str(tmp_path / "model.safetensors")
    assert len(result.scores) == 13
    assert len(set(result.scores.values())) > 1


def test_a_model_of_another_space_ends_the_search_in_words(database: Path, tmp_path: Path) -> None:
    write_small(tmp_path / "tiles.safetensors", "tile")
    with pytest.raises(AutotuneError, match=r"tiles.safetensors': expected tile configs, found layout.*--model auto"):
        search(KnownTarget(), database, model=str(tmp_path / "tiles.safetensors"))
    with Database.open(database) as reader:
        assert sum(program.measured for program in reader.programs()) == 1  # what was measured is kept


def test_a_tie_with_a_reference_is_said(database: Path) -> None:
    from autotune.spaces.tile import DotKernel, GemmTileSpace, TileConfig

    class TileTarget(KnownTarget):
        def space(self, prepared: PreparedProgram, kind: str) -> Space:
            return GemmTileSpace(DotKernel(256, 256, 256, "f32"))

    def cost(config: Config) -> float:
        """The libraries at 1 and 0.82, XLA's own tile at 2, all others at 0.8."""
        known = {TileConfig(): 1.0, TileConfig("eigen"): 0.82, TileConfig("tiled", 11, 9, 1, 256): 2.0}
        assert isinstance(config, TileConfig)
        return known.get(config, 0.8)

    result = search(TileTarget(cost=cost), database, budget=5)
    assert result.speedup == pytest.approx(1.25)
    assert result.ties == ["library eigen"]
    assert "no faster than library eigen by more than that" in result.verdict
    assert result.comparison is not None
    own = result.comparison.of(TileConfig("tiled", 11, 9, 1, 256))
    assert own is not None, "the tiled product's own tile is part of every comparison"
    assert own.cost == pytest.approx(2.0)


@pytest.mark.parametrize("model", ["auto", "none"])
def test_layouts_of_a_tpu_are_screened_and_good_decisions_put_together(model: str, database: Path) -> None:
    """Of six tensors two are better in another order than the default, and best both together."""

    @dataclass
    class TpuTarget(KnownTarget):
        def space(self, prepared: PreparedProgram, kind: str) -> Space:
            return LayoutSpace(prepared.module.proto, places=2)

    def cost(config: Config) -> float:
        assert isinstance(config, LayoutConfig)
        effects = {(2, 0): 0.9, (5, 1): 0.8}
        changed = [(node, tensor) for node, tensor, order in config.orders if order == (0, 1)]
        return float(np.prod([effects.get(place, 1.2) for place in changed]))

    result = search(TpuTarget(cost=cost), database, budget=12, model=model)
    assert result.strategy == "screening"
    assert isinstance(result.best.config, LayoutConfig)
    changed = {place for place, order in result.best.config.as_mapping().items() if order == (0, 1)}
    assert changed == {(2, 0), (5, 1)}
    assert result.speedup == pytest.approx(1 / 0.72)
    assert result.ranking is not None
    assert (result.ranking.model == "none") is (model == "none") or result.ranking.adapted


@pytest.mark.parametrize("label", [LabelKind.ESTIMATED, LabelKind.MEASURED])
def test_of_estimated_layouts_all_but_the_worst_have_a_chance(label: LabelKind) -> None:
    space = LayoutSpace(programs.two_dots().proto, places=2)
    tensors = [(each.node, each.tensor, each.row_major) for each in space.tensors]
    assert len(tensors) == 6
    assert not space.landmarks
    few = [LayoutConfig((each,)) for each in tensors]
    proposals = [*few, *(LayoutConfig((tensors[0], each)) for each in tensors[1:4]), LayoutConfig(tuple(tensors))]

    class Proposals(EvolutionaryStrategy):
        def propose(self, count: int, rng: np.random.Generator) -> list[Config]:
            return list(proposals)

    class Decided(CostModel):
        """The more tensors are decided, the worse."""

        name = "decided"

        def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
            assert isinstance(configs, LayoutConfigs)
            decided: NDArray[np.float32] = np.sum(configs.node_config_feat >= 0, axis=(1, 2), dtype=np.float32)
            return decided

    chosen: set[str] = set()
    target = KnownTarget(label=label)
    for seed in range(30):
        tuner = Tuner(
            target=target,
            prepared=target.prepare(programs.two_dots()),
            space=space,
            strategy=Proposals(space),
            cost_models=[Decided()],
            graph=program_graph(programs.two_dots()),
            database=Database.in_memory(),
            budget=4,
            seed=seed,
        )
        chosen |= {config_id(each.config) for each in tuner.run().evaluations}
    worst = config_id(proposals[-1])
    assert (worst in chosen) is (label is LabelKind.MEASURED), "elsewhere some are drawn from all"
    assert chosen >= {config_id(each) for each in proposals} - {worst}


@pytest.mark.parametrize(
    ("weighed", "words"),
    [
        (0.8, "1.250x fewer cycles than the default: estimated"),
        (
            0.9,
            "1.250x fewer cycles than the default (1.111x when kinds of kernels are weighed as measured on a TPU v3): ",
        ),
        (1.1, "(0.909x when kinds of kernels are weighed as measured on a TPU v3, so it may be none: measure it): "),
        (None, "1.250x fewer cycles than the default: estimated"),
    ],
)
def test_a_gain_that_depends_on_kinds_of_kernels_is_said_to(weighed: float | None, words: str, database: Path) -> None:
    class Compiler(KnownTarget):
        def evaluate(
            self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
        ) -> list[Evaluation]:
            def evaluation(config: Config) -> Evaluation:
                ratio = 1.0 if config == LayoutConfig() else weighed
                details = {} if ratio is None else {"weighed_cycles": 1000.0 * ratio}
                return Evaluation(config, Estimated(few_constraints_are_good(config), 1.0), 0.1, purpose, details)

            return [evaluation(config) for config in configs]

    result = search(Compiler(label=LabelKind.ESTIMATED), database)
    assert words in result.verdict
    assert result.weighed_speedup == (None if weighed is None else pytest.approx(1 / weighed))
    assert result.to_json()["weighed_speedup"] == result.weighed_speedup
