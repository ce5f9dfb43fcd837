"""Ways to search, against a target whose costs are known."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.database import Database
from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, config_id
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram
from benchmarks import search_regret
from benchmarks.search_regret import WAYS, Course, Known, _means, _options, _row, best_so_far, second_look
from tests import programs
from tests.hlo_texts import matrix_product
from tests.tables import KnownTarget, few_constraints_are_good


@pytest.mark.parametrize("way", WAYS)
def test_every_way_spends_its_budget_and_keeps_the_best(way: str) -> None:
    if way == "tpe":
        pytest.importorskip("optuna", reason="Optuna is in the extra dev")
    target = KnownTarget()
    known = Known(target)
    prepared = known.prepare(programs.two_dots())
    space = known.space(prepared, "layout")
    best = best_so_far(known, WAYS[way], prepared, space, 15, 0).costs
    assert len(best) == 15
    assert all(later <= earlier for earlier, later in itertools.pairwise(best))
    assert best[0] <= 1.0


def test_a_config_is_evaluated_once_for_all_ways() -> None:
    target = KnownTarget()
    known = Known(target)
    prepared = known.prepare(programs.two_dots())
    space = known.space(prepared, "layout")
    first = best_so_far(known, WAYS["random"], prepared, space, 10, 3)
    asked = len(target.searched())
    assert best_so_far(known, WAYS["random"], prepared, space, 10, 3).costs.tolist() == first.costs.tolist()
    assert len(target.searched()) == asked


def test_evaluations_are_kept_for_the_next_call() -> None:
    with Database.in_memory() as database:
        first = Known(KnownTarget(), database)
        prepared = first.prepare(programs.two_dots())
        space = first.space(prepared, "layout")
        found = best_so_far(first, WAYS["random"], prepared, space, 10, 3)
        target = KnownTarget()
        second = Known(target, database)
        again = best_so_far(second, WAYS["random"], prepared, second.space(prepared, "layout"), 10, 3)
        assert again.configs == found.configs
        assert not target.searched()


def test_the_best_of_many_measurements_is_measured_again() -> None:
    class Lucky(KnownTarget):
        """Searches see some configs much too fast."""

        def evaluate(
            self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
        ) -> list[Evaluation]:
            self.cost = (lambda config: 1.0 - 0.1 * len(config.to_json()["layouts"])) if purpose == "search" else again
            return super().evaluate(prepared, configs, purpose=purpose)

    again = few_constraints_are_good
    target = Lucky(noise=0.02)
    known = Known(target)
    prepared = known.prepare(programs.two_dots())
    space = known.space(prepared, "layout")
    courses = {"random": [best_so_far(known, WAYS["random"], prepared, space, 12, seed) for seed in range(2)]}
    assert courses["random"][0].steps == [5, 10, 12]
    found, noise = second_look(known, prepared, space, courses)
    assert noise == 0.02
    for course, costs in zip(courses["random"], found["random"], strict=True):
        ends = [course.configs[step - 1] for step in course.steps]
        assert costs.tolist() == pytest.approx([min(1.0, few_constraints_are_good(config)) for config in ends])
        assert (costs > course.costs[np.array(course.steps) - 1]).all()
    confirmed = [identity for purpose, identity in target.log if purpose == "confirm"]
    assert len(confirmed) == len(set(confirmed))
    assert config_id(space.default) in confirmed


def test_means_over_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--programs", ".", "--budget", "5", "--random", "5", "--seeds", "2"])
    options = _options()

    def row(program: str, way: str, cost: float, noise: float) -> dict[str, Any]:
        courses = [Course(np.full(5, cost), [LayoutConfig()] * 5)] * 2
        return _row(program, way, courses, np.full((2, 1), cost), noise)

    costs = {"guided": 0.8, "unguided": 0.9, "evolution": 0.9, "random": 0.8, "tpe": 1.0}
    rows = [row("p", way, cost, 0.0) for way, cost in costs.items()]
    rows += [row("q", way, 1.0 if way != "random" else 0.5, 0.0) for way in costs]
    rows += [row("r", way, 1.0 if way != "random" else 0.97, 0.04) for way in costs]
    *means, last = _means(rows, options)
    assert {row["way"]: row["after_5"] for row in means}["random"] == pytest.approx((0.8 * 0.5 * 0.97) ** (1 / 3))
    assert last["way"] == "2 of 3 programs"
    (alone,) = _means([each for each in rows if each["way"] == "random"], options)
    assert "beside_guided" not in alone, "nothing to compare with"


def test_tiles_of_a_product_are_searched_in_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="Optuna is in the extra dev")
    (tmp_path / "dot.hlo").write_text(matrix_product(16, 24, 40))
    table = tmp_path / "table.json"
    ways = ["guided", "analytical", "random", "tpe"]
    options = ["--target", "cpu", "--space", "tile", "--ways", *ways, "--budget", "5", "--random", "6", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["x", "--programs", str(tmp_path), *options, "--json", str(table)])
    search_regret.main()
    rows = json.loads(table.read_text())["rows"]
    found = {row["way"]: row for row in rows if row["program"] == "dot"}
    assert set(found) == set(ways)
    for row in found.values():
        assert 0.1 < row["last"] < 100, "beside the library, slower or faster"
    assert rows[-1]["program"] == "guided at 5 as good as random at 6"
