"""XLA:CPU, for real: layouts and tiles are applied, wrong results are found, faults cost one evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.evaluation import Failed, FailureReason, Measured
from autotune.hlo.reader import read_bytes
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tile import TileConfig
from autotune.targets.base import PreparedProgram, TunedProgram
from autotune.targets.cpu import CpuTarget
from autotune.targets.isolation import run_in_child
from tests import programs
from tests.targets.faults import faulty

pytestmark = pytest.mark.slow


def test_a_constraint_on_an_input_costs_a_copy() -> None:
    with CpuTarget() as target:
        prepared = target.prepare(programs.two_dots())
        forced = LayoutConfig.of({(2, 1): (0, 1)})
        plain, column_major = target.evaluate(prepared, [LayoutConfig(), forced])
        assert isinstance(column_major.outcome, Measured)
        assert float(column_major.details["copies"]) > float(plain.details["copies"])
        assert column_major.details["optimised_program"] != plain.details["optimised_program"]
        assert plain.details["optimised_program"] == prepared.details["optimised_program"]


def test_tiles_are_applied_and_correct() -> None:
    with CpuTarget() as target:
        prepared = target.prepare(programs.product(256, 256, 256))
        space = target.space(prepared, "tile")
        slow, fast = TileConfig("tiled", 1, 1, 1, 256), TileConfig("tiled", 8, 4, 4, 256)
        library, poor, good = target.evaluate(prepared, [space.default, slow, fast])
        for evaluation in (library, poor, good):
            assert isinstance(evaluation.outcome, Measured), evaluation.outcome
            assert float(evaluation.details["largest_error"]) < 1e-4
        # 1 x 1 x 1 keeps one accumulator busy, 8 x 4 x 4 keeps 32: several times apart on any machine
        assert poor.outcome.seconds > 2 * good.outcome.seconds  # type: ignore[union-attr]


class _WrongTarget(CpuTarget):
    """Realises every config but the default as another program: what a miscompilation looks like."""

    def realise(self, prepared: PreparedProgram, config: object) -> TunedProgram:
        if config == LayoutConfig():
            return super().realise(prepared, LayoutConfig())
        text = prepared.program.module.replace(b"tanh", b"sign")
        return TunedProgram(text)


def test_a_wrong_result_is_a_failure() -> None:
    with _WrongTarget() as target:
        prepared = target.prepare(programs.two_dots())
        wrong, right = target.evaluate(prepared, [LayoutConfig.of({(2, 0): (0, 1)}), LayoutConfig()])
        assert isinstance(wrong.outcome, Failed)
        assert wrong.outcome.reason is FailureReason.WRONG_RESULT
        assert "output 0 differs" in wrong.outcome.message
        assert isinstance(right.outcome, Measured), "the others of the rotation are measured all the same"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang", FailureReason.COMPILE_TIMED_OUT),
        ("abort", FailureReason.COMPILER_CRASHED),
        ("crash while running", FailureReason.RUN_CRASHED),
        ("kill", FailureReason.KILLED),
    ],
)
def test_a_fault_costs_one_evaluation(fault: str, reason: FailureReason, tmp_path: Path) -> None:
    with CpuTarget(**faulty({2: fault}, tmp_path)) as target:
        prepared = target.prepare(programs.two_dots())
        outcomes = [target.evaluate(prepared, [LayoutConfig()])[0].outcome for _ in range(3)]
    assert isinstance(outcomes[0], Measured)
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].reason is reason
    assert reason.transient is (fault == "kill")
    assert isinstance(outcomes[2], Measured), "a fresh child goes on"


def test_donated_arguments_survive_the_measurement() -> None:
    text = """HloModule step, input_output_alias={ {}: (0, {}, may-alias) }
ENTRY main { w = f32[64,64] parameter(0) x = f32[64,64] parameter(1)
  d = f32[64,64] dot(w, x), lhs_contracting_dims={1}, rhs_contracting_dims={0} ROOT r = f32[64,64] subtract(w, d) }
"""
    with CpuTarget() as target:
        prepared = target.prepare(read_bytes(text.encode(), "step"))
        assert any("donated" in note for note in prepared.notes)
        (evaluation,) = target.evaluate(prepared, [LayoutConfig.of({(2, 0): (1, 0)})])
        assert isinstance(evaluation.outcome, Measured), evaluation.outcome
        tuned = target.realise(prepared, LayoutConfig())
        assert b"w" in tuned.module
        text = run_in_child("autotune.hlo.jaxlib", "print_hlo_text", tuned.module, time_limit=60)
        assert "input_output_alias" in text, "the tuned program that the user gets still donates"


@pytest.mark.parametrize("dtype", ["pred", "s4", "u8", "s32", "s64", "f16", "bf16", "f8e4m3fn", "f64", "c64"])
def test_inputs_of_every_type_reach_the_program_unchanged(dtype: str) -> None:
    text = f"HloModule same\nENTRY main {{ x = {dtype}[16,8] parameter(0) ROOT y = {dtype}[8,16] reshape(x) }}\n"
    with CpuTarget() as target:
        prepared = target.prepare(read_bytes(text.encode(), "same"))
        (evaluation,) = target.evaluate(prepared, [LayoutConfig()])
        assert isinstance(evaluation.outcome, Measured), evaluation.outcome
        assert evaluation.details["largest_error"] == 0.0


def test_indices_are_valid_and_spread_over_the_table() -> None:
    from autotune.targets.inputs import input_specs, make_inputs

    specs = input_specs(programs.lookup().proto)
    assert (specs[1].low, specs[1].high) == (0, 100)
    ids = list(make_inputs(specs, seed=3))[1]
    assert ids.min() >= 0
    assert ids.max() < 100
    assert len(np.unique(ids)) > 1


def test_weights_keep_the_variance() -> None:
    from autotune.targets.inputs import input_specs

    x, w, v = input_specs(programs.two_dots().proto)
    # fan-in of the first dot is 16, of the second 32: uniform over +-sqrt(3 / fan-in) has variance 1 / fan-in
    assert w.high == pytest.approx((3 / 16) ** 0.5)
    assert v.high == pytest.approx((3 / 32) ** 0.5)
    assert x.high == pytest.approx((3 / 16) ** 0.5)
