"""Ways to search, against a target whose costs are known."""

from __future__ import annotations

import itertools

import pytest

from autotune.database import Database
from benchmarks.search_regret import WAYS, Known, _means, _options, _row, best_so_far
from tests import programs
from tests.tables import KnownTarget


@pytest.mark.parametrize("way", WAYS)
def test_every_way_spends_its_budget_and_keeps_the_best(way: str) -> None:
    if way == "tpe":
        pytest.importorskip("optuna", reason="Optuna is in the extra dev")
    target = KnownTarget()
    known = Known(target)
    prepared = known.prepare(programs.two_dots())
    space = known.space(prepared, "layout")
    best = best_so_far(known, WAYS[way], prepared, space, 15, 0)
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
    assert best_so_far(known, WAYS["random"], prepared, space, 10, 3) == first
    assert len(target.searched()) == asked


def test_evaluations_are_kept_for_the_next_call() -> None:
    with Database.in_memory() as database:
        first = Known(KnownTarget(), database)
        prepared = first.prepare(programs.two_dots())
        space = first.space(prepared, "layout")
        found = best_so_far(first, WAYS["random"], prepared, space, 10, 3)
        target = KnownTarget()
        assert best_so_far(Known(target, database), WAYS["random"], prepared, space, 10, 3) == found
        assert not target.searched()


def test_means_over_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import numpy as np

    monkeypatch.setattr(sys, "argv", ["x", "--programs", ".", "--budget", "5", "--random", "5", "--seeds", "2"])
    options = _options()
    best = {"guided": 0.8, "unguided": 0.9, "evolution": 0.9, "random": 0.8, "tpe": 1.0}
    rows = [_row("p", way, np.full((2, 5), cost)) for way, cost in best.items()]
    rows += [_row("q", way, np.full((2, 5), 1.0 if way != "random" else 0.5)) for way in best]
    *means, last = _means(rows, options)
    assert {row["way"]: row["after_5"] for row in means}["random"] == pytest.approx((0.8 * 0.5) ** 0.5)
    assert last["way"] == "1 of 2 programs"
