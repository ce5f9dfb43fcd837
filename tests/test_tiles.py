"""Tiles after the layouts: which kernels are searched, with how much of the budget, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.database import Database
from autotune.evaluation import Evaluation, Failed, FailureReason, LabelKind
from autotune.hlo.kernels import Kernel
from autotune.hlo.reader import read_bytes
from autotune.hlo.window_config import ForcedTile, TileCandidate, WindowConfig
from autotune.spaces.tpu_tile import TpuTileConfig
from autotune.tiles import FEWEST_TILES, MOST_KERNELS, KernelTiles, better_tiles, search_tiles, tile_budget
from cost_model import CostModel, LayoutConfigs, ProgramGraph, TileConfigs, features
from tests.tables import TILES, ListedTarget


def kernel(name: str, cycles: int | None, *, size: int = 8, executions: int = 1) -> Kernel:
    """Kernels of one size are equal, whatever their names; without cycles there is no tile."""
    text = (
        f"HloModule {name}, is_scheduled=true\n"
        f"ENTRY main {{ x = f32[{size},128] parameter(0) ROOT {name} = f32[{size},128] negate(x) }}\n"
    )
    module = read_bytes(text.encode(), name, keep_optimised=True).proto
    window = None if cycles is None else WindowConfig((), (64,), estimated_cycles=cycles)
    return Kernel(name, "negate", module, window, executions)


class SmallestFirst(CostModel):
    """Finds small tiles fast: the opposite of the cycles in `TILES`."""

    name = "smallest first"

    def score(self, graph: ProgramGraph, configs: LayoutConfigs | TileConfigs) -> NDArray[np.float32]:
        assert isinstance(configs, TileConfigs)
        return configs.config_feat[:, features.OUTPUT_BOUNDS.product]


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as database:
        yield database


def search(
    target: ListedTarget, kernels: list[Kernel], database: Database, *, budget: int = 12, **options: Any
) -> list[KernelTiles]:
    standard: dict[str, Any] = {
        "models": (),
        "strategy": "evolutionary",
        "seed": 0,
        "reuse": True,
        "on_progress": lambda progress: None,
        "on_stage": lambda stage: None,
    }
    return search_tiles(target, kernels, database=database, budget=budget, **(standard | options))


@pytest.mark.parametrize(("budget", "tiles"), [(1, 0), (8, 0), (9, 3), (11, 3), (30, 10), (100, 33)])
def test_a_third_of_the_budget_is_for_tiles_unless_it_is_too_little(budget: int, tiles: int) -> None:
    assert tile_budget(budget) == tiles


def test_shares_of_the_cycles_and_equal_kernels_once(database: Database) -> None:
    # 100 of loop b run twice, and 500 + 300 of the equal kernels a and c: 1000 in all.
    kernels = [kernel("a", 500), kernel("b", 100, size=16, executions=2), kernel("c", 300), kernel("d", None, size=24)]
    target, stages = ListedTarget(), list[str]()
    found = search(target, kernels, database, on_stage=stages.append)
    assert [(each.kernel.name, each.share) for each in found] == [("a", 0.8), ("b", 0.2), ("d", 0.0)]
    assert "c" not in target.searched(), "it is a under another name"
    assert stages[0] == "tiles of kernel a (80% of the cycles)"
    facts = found[1].to_json()
    assert (facts["kernel"], facts["executions"], facts["share_of_cycles"]) == ("b", 2, 0.2)
    assert facts["chosen_by_compiler"] == {"output_bounds": [64], "kernel_bounds": [], "estimated_cycles": 100}


def test_kernels_without_an_estimate_have_no_share(database: Database) -> None:
    (only,) = search(ListedTarget(), [kernel("a", None)], database)
    assert only.share == 0.0
    assert search(ListedTarget(), [], database) == []


@pytest.mark.parametrize(
    ("budget", "tried"),
    [
        (12, {"k0": 3, "k1": 3, "k2": 3, "k3": 3}),
        (14, {"k0": 4, "k1": 4, "k2": 3, "k3": 3}),
        (11, {"k0": 4, "k1": 4, "k2": 3}),
        (5, {"k0": 5}),
        (3, {"k0": 3}),
    ],
)
def test_the_budget_is_shared_by_the_dearest_kernels(budget: int, tried: dict[str, int], database: Database) -> None:
    assert (MOST_KERNELS, FEWEST_TILES) == (4, 3), "what the table above was written for"
    kernels = [kernel(f"k{place}", 1000 - place, size=8 * (place + 1)) for place in range(6)]
    target = ListedTarget()
    found = search(target, kernels[::-1], database, budget=budget)
    assert target.searched() == tried
    assert [each.kernel.name for each in found] == list(tried)
    assert all(each.result is not None and each.result.stopped == "budget used up" for each in found)


def test_the_same_search_again_evaluates_nothing(database: Database) -> None:
    kernels = [kernel("a", 500), kernel("b", 100, size=16)]
    first = search(ListedTarget(), kernels, database)
    again = ListedTarget()
    second = search(again, kernels, database)
    assert again.log == []
    assert [each.to_json() for each in second] == [each.to_json() for each in first]
    fresh = ListedTarget()
    search(fresh, kernels, database, reuse=False)
    assert fresh.searched() == {"a": 6, "b": 6}


def test_a_kernel_without_tiles_says_why_and_the_next_one_is_searched(database: Database) -> None:
    kernels = [kernel("a", 500), kernel("b", 300, size=16), kernel("c", 200, size=24)]
    refused = Failed(FailureReason.COMPILE_ERROR, "no")
    target = ListedTarget(candidates={"a": []})
    first, second, third = search(target, kernels, database)
    assert first.result is None
    assert "kernel 'a' (negate) has no choice of tiles" in first.reason
    assert (first.leading, first.better) == ([], None)
    assert (first.to_json()["not_searched"], first.to_json()["ranked_by"]) == (first.reason, None)
    assert target.searched() == {"b": 4, "c": 4}
    assert (second.reason, third.reason) == ("", "")
    assert second.to_json()["not_searched"] is None
    failing = ListedTarget(outcome=lambda config: refused if config == TpuTileConfig() else None)
    (found,) = search(failing, kernels[:1], database, reuse=False)
    assert found.result is None
    assert "could not be evaluated on listed: compile error: no" in found.reason


def test_what_to_measure_first_is_up_to_the_model_or_else_to_the_cycles(database: Database) -> None:
    by_cycles, by_score = (
        search(ListedTarget(), [kernel("a", 500)], database, models=models)[0] for models in ((), (SmallestFirst(),))
    )
    assert by_cycles.result is not None
    assert len(by_cycles.result.evaluations) == 7, "six tiles and the default: all that there are"
    assert [_bounds(each) for each in by_cycles.leading] == [(32,), (16,), (8,)]
    assert [_bounds(each) for each in by_score.leading] == [(1,), (2,), (4,)]
    facts = by_score.to_json()
    assert facts["ranked_by"] == "smallest first"
    assert facts["measure_first"][0] == {
        "output_bounds": [1],
        "kernel_bounds": [],
        "estimated_cycles": 700.0,
        "score": 1.0,
    }
    assert by_cycles.to_json()["ranked_by"] == "none"
    assert by_cycles.to_json()["measure_first"][0]["score"] is None


def test_tiles_that_did_not_hold_are_not_recommended(database: Database) -> None:
    other = Failed(FailureReason.NOT_APPLIED, "another")
    target = ListedTarget(outcome=lambda config: other if config.output_bounds in ((32,), (1,)) else None)
    (found,) = search(target, [kernel("a", 500)], database)
    assert [_bounds(each) for each in found.leading] == [(16,), (8,), (4,)]
    assert len(found.accepted) == 4
    assert found.to_json()["failed"] == {"not applied": 2}


def test_tiles_with_fewer_cycles_than_the_compiler_s_choice(database: Database) -> None:
    # In the program the compiler has chosen (64,); alone, b takes 90 cycles with (2,) and 80 with (4,).
    cheaper = [*TILES[:4], TileCandidate(80, (4,)), TileCandidate(90, (2,))]
    equal = [*TILES[:1], TileCandidate(100, (4,)), TileCandidate(150, (2,))]
    kernels = [kernel("a", 500), kernel("b", 300, size=16)]
    found = search(ListedTarget(candidates={"a": equal, "b": cheaper}), kernels, database, budget=20)
    first, second = found
    assert first.better is None
    assert second.better is not None
    assert second.better.cost == pytest.approx(0.8)
    assert better_tiles(found) == {"b": ForcedTile((4,), (), 80)}


def test_tiles_that_were_timed_are_ranked_by_the_clock(database: Database) -> None:
    target = ListedTarget(label=LabelKind.MEASURED)  # of which (1,) is the fastest: 7 times as fast as the default
    (found,) = search(target, [kernel("a", 500)], database, models=(SmallestFirst(),), budget=20)
    assert found.measured
    assert [_bounds(each) for each in found.leading] == [(1,), (2,), (4,)]
    assert found.better is not None
    assert found.better.cost == pytest.approx(1 / 7)
    assert better_tiles([found]) == {}, "the table gives no cycles with a time, and without them no tile is forced"
    facts = found.to_json()
    assert "measure_first" not in facts
    assert facts["fastest"][0] == {
        "output_bounds": [1],
        "kernel_bounds": [],
        "estimated_cycles": None,
        "seconds": pytest.approx(1e-6 / 700),
        "default_seconds": pytest.approx(1e-8),
        "score": 1.0,
    }


def test_a_kernel_by_itself_has_the_tile_that_the_compiler_would_choose(database: Database) -> None:
    alone = Kernel("a", "negate", kernel("a", None).module, None, 1)
    (found,) = search(ListedTarget(), [alone], database)
    assert found.own == TILES[0]
    assert found.to_json()["chosen_by_compiler"] == {
        "output_bounds": [64],
        "kernel_bounds": [],
        "estimated_cycles": 100,
    }


def test_ctrl_c_ends_the_search_of_all_kernels(database: Database) -> None:
    kernels = [kernel("a", 500), kernel("b", 300, size=16), kernel("c", 200, size=24)]
    target = ListedTarget(interrupt_after=7)  # a: the default and four tiles; b: the default and two at once
    found = search(target, kernels, database)
    assert target.searched() == {"a": 4, "b": 2}
    assert [each.kernel.name for each in found] == ["a", "b"]
    assert found[1].result is not None
    assert found[1].result.interrupted
    assert len(found[1].accepted) == 2, "what was found until then is kept"


def test_ctrl_c_before_a_kernel_s_first_evaluation(database: Database) -> None:
    target = ListedTarget(interrupt_after=5)  # a: the default and six tiles, two at once; b: nothing
    kernels = [kernel("a", 500), kernel("b", 300, size=16), kernel("c", 200, size=24)]
    first, second = search(target, kernels, database)
    assert first.result is not None
    assert (second.kernel.name, second.result, second.reason) == ("b", None, "interrupted")


def _bounds(evaluation: Evaluation) -> tuple[int, ...]:
    assert isinstance(evaluation.config, TpuTileConfig)
    return evaluation.config.output_bounds
