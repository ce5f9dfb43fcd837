"""Rows, merging and statistics against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Measured, Outcome
from autotune.spaces.base import config_id
from autotune.spaces.layout import LayoutConfig
from training.collecting.rows import Drawn, merge, noise, reference_seconds, summary


def _config(node: int) -> LayoutConfig:
    return LayoutConfig(((node, 0, (0, 1)),))


def _measured(seconds: float, default: float, copies: float = 0.02) -> Measured:
    return Measured(seconds, 0.0, default, copies, 0.0, 4, 24)


def _drawn(node: int, outcome: Outcome, way: str = "near", program: str = "") -> Drawn:
    details: dict[str, float | str] = {"optimised_program": program} if program else {}
    return Drawn(Evaluation(_config(node), outcome, details=details), way)


MEASURED = [
    _drawn(0, _measured(2e-6, 2e-6), "default", "a"),
    _drawn(1, _measured(1e-6, 2e-6, 0.04), "near", "b"),
    _drawn(2, _measured(6e-6, 4e-6, 0.06), "random", "c"),  # a slow moment: 1.5 times the default of then
    _drawn(3, _measured(1.2e-6, 2e-6, 0.08), "random", "b"),
    _drawn(4, Failed(FailureReason.COMPILE_ERROR, "no"), "random"),
    _drawn(5, _measured(1.8e-6, 2e-6, 0.0), "near", "a"),
]


def test_equal_programs_are_one_row_with_the_middle_of_their_runtimes() -> None:
    rows = merge(MEASURED)
    assert reference_seconds(MEASURED) == 2e-6
    # default and 5: costs 1 and 0.9; 1 and 3: costs 0.5 and 0.6; 2: cost 1.5; each times 2000 ns
    assert [(row.config, row.way, row.runtime) for row in rows] == [
        (_config(0), "default", 1900),
        (_config(1), "near", 1100),
        (_config(2), "random", 3000),
    ]
    assert [row.merged for row in rows] == [(config_id(_config(5)),), (config_id(_config(3)),), ()]


def test_a_second_measurement_counts_as_much_as_the_first() -> None:
    again = Evaluation(_config(1), _measured(2.2e-6, 2e-6), purpose="confirm")  # cost 1.1 after 0.5 and 0.6
    failed = Evaluation(_config(2), Failed(FailureReason.RUN_TIMED_OUT, "no"), purpose="confirm")
    drawn = [MEASURED[0], replace(MEASURED[1], again=again), replace(MEASURED[2], again=failed), MEASURED[3]]
    rows = merge(drawn)
    assert [row.costs for row in rows] == [(), (pytest.approx(0.55), pytest.approx(1.1)), ()]
    assert [row.runtime for row in rows] == [2000, round(2000 * (0.55 * 1.1) ** 0.5), 3000]


def test_the_summary() -> None:
    assert summary(MEASURED, merge(MEASURED)) == {
        "configs": 6,
        "rows": 3,
        "rows_by_way": {"default": 1, "near": 1, "random": 1},
        "merged_duplicates": 2,
        "failed": {"compile error": 1},
        "spread": pytest.approx(30 / 11),
    }


def test_noise() -> None:
    repeats = [
        Evaluation(_config(1), _measured(1.1e-6, 2e-6), purpose="confirm"),  # cost 0.55 after 0.5
        Evaluation(_config(2), _measured(3e-6, 2e-6), purpose="confirm"),  # cost 1.5 as before
    ]
    found = noise(MEASURED, repeats)
    assert found == {
        "default_between_rotations": 1.0,  # 4 us against 2 us
        "copies_of_default": 0.04,  # the median of 0, 2, 4, 6, 8 %
        "same_program": pytest.approx((0.2 + 1 / 9) / 2),  # 0.6 / 0.5 - 1 and 1 / 0.9 - 1
        "same_program_pairs": 2,
        "measured_twice": pytest.approx(0.1),
        "measured_twice_median": pytest.approx(0.05),
        "measured_twice_configs": 2,
    }


def test_cycles_are_taken_as_they_are_and_have_no_noise() -> None:
    drawn = [_drawn(0, Estimated(300.0, 300.0), "default"), _drawn(1, Estimated(0.0, 300.0))]
    assert [row.runtime for row in merge(drawn)] == [300, 2]  # the format takes 0 and 1 for no run
    assert noise(drawn, []) is None


def test_configs_of_unknown_programs_are_not_merged() -> None:
    assert len(merge([_drawn(node, Estimated(5.0, 5.0)) for node in range(3)])) == 3


def test_layouts_read_back_the_same_with_equal_figures_are_one() -> None:
    def drawn(node: int, taken: str, cycles: float, kept: float) -> Drawn:
        details: dict[str, float | str] = {"layouts_taken": taken, "cycles": cycles, "layouts_kept": kept}
        return Drawn(Evaluation(_config(node), Estimated(cycles, 9.0), details=details), "near")

    rows = merge([drawn(0, "[[0]]", 9, 1), drawn(1, "[[0]]", 9, 2), drawn(2, "[[0]]", 8, 1), drawn(3, "[[1]]", 9, 1)])
    assert [(row.config, row.runtime) for row in rows] == [(_config(0), 9), (_config(2), 8), (_config(3), 9)]
    assert rows[0].merged == (config_id(_config(1)),), "how many requests were kept makes no difference"
