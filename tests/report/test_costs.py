"""What instructions cost, worked out by hand, and the same sum by another way."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import api
from autotune.report.costs import by_compiler, by_roofline
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram
from autotune.targets.cpu import CpuTarget
from autotune.targets.isolation import run_in_child
from cost_model.devices import DEVICES
from tests import programs

PEAK, BANDWIDTH = DEVICES["cpu"].peak_float32, DEVICES["cpu"].memory_bandwidth

FUSED = """HloModule fused

fused {
  p = f32[8,16]{1,0} parameter(0)
  t = f32[16,8]{1,0} transpose(p), dimensions={1,0}
  ROOT e = f32[16,8]{1,0} exponential(t)
}

body {
  s = (s32[], f32[8,16]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  x = f32[8,16]{1,0} get-tuple-element(s), index=1
  one = s32[] constant(1)
  next = s32[] add(i, one)
  c = f32[8,16]{1,0} copy(x)
  ROOT r = (s32[], f32[8,16]) tuple(next, c)
}

condition {
  s = (s32[], f32[8,16]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  n = s32[] constant(5)
  ROOT l = pred[] compare(i, n), direction=LT
}

ENTRY main {
  a = f32[8,16]{1,0} parameter(0)
  zero = s32[] constant(0)
  init = (s32[], f32[8,16]) tuple(zero, a)
  loop = (s32[], f32[8,16]) while(init), condition=condition, body=body
  b = f32[8,16]{1,0} get-tuple-element(loop), index=1
  ROOT f = f32[16,8]{1,0} fusion(b), kind=kLoop, calls=fused, metadata={op_name="the/exponential"}
}
"""


def module(text: str) -> bytes:
    parsed: bytes = run_in_child("autotune.hlo.jaxlib", "parse_hlo_text", text, time_limit=60)
    return parsed


def test_two_dots_by_hand() -> None:
    program = by_roofline(programs.two_dots().module, "cpu")
    by_name = {each.name: each.cost for each in program.instructions}
    # x[8,16] w[16,32] -> h[8,32] -> tanh -> times v[32,8]: all are bound by traffic at these sizes.
    expected = [(8 * 16 + 16 * 32 + 8 * 32) * 4 / BANDWIDTH, 2 * 8 * 32 * 4 / BANDWIDTH]
    expected.append((8 * 32 + 32 * 8 + 8 * 8) * 4 / BANDWIDTH)
    assert sorted(cost for cost in by_name.values() if cost is not None) == pytest.approx(sorted(expected))
    assert program.total == pytest.approx(sum(expected))
    assert program.instructions[0].cost == max(expected), "the dearest first"
    assert (program.copies, program.copy_bytes, program.unpriced) == (0, 0, 0)


def test_a_fusion_has_the_arithmetic_of_what_is_in_it_and_a_loop_its_turns() -> None:
    program = by_roofline(module(FUSED), "cpu")
    by_opcode = {each.opcode: each for each in program.instructions}
    fusion, copy = by_opcode["fusion"], by_opcode["copy"]
    size = 8 * 16 * 4
    # Its traffic, and one operation for each element of transpose and exponential.
    assert fusion.cost == pytest.approx(2 * size / BANDWIDTH + 2 * 8 * 16 / PEAK)
    assert fusion.work == "transpose, exponential"
    assert fusion.operation == "the/exponential"
    assert fusion.shape == "f32[16,8]{1,0}"
    assert copy.executions == 5
    assert copy.cost == pytest.approx(5 * 2 * size / BANDWIDTH)
    assert program.copies == 5 + 1, "the copy in the loop, and the transpose in the fusion"
    assert program.copy_bytes == 6 * size


@pytest.mark.slow
def test_xla_cpu_shows_what_it_compiles() -> None:
    with CpuTarget() as target:
        prepared: PreparedProgram = target.prepare(programs.two_dots())
        modules = target.optimised(prepared, [LayoutConfig(), LayoutConfig()])
    default, same = (by_roofline(each, "cpu") for each in modules)
    assert default.total == same.total > 0
    assert any("dot" in (each.work or each.opcode) for each in default.instructions)


@pytest.mark.slow
def test_cycles_per_instruction_add_up_to_the_estimate_of_the_program(tmp_path: Path) -> None:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    from autotune.targets.tpu.target import TpuTarget

    program = programs.product(1024, 512, 256, bias_and_tanh=True)
    with TpuTarget("v5e") as target:
        result = api.search(program, target=target, database=tmp_path / "db.sqlite", budget=2, space="layout")
        modules = target.optimised(result.prepared, [result.default.config])
    total = by_compiler(modules[0]).total
    assert total == result.default.details["cycles"]
    assert total > 0
    explanation = result.explanation
    assert explanation is not None
    assert explanation.default is not None
    assert explanation.tuned is not None
    assert explanation.unit == "compiler cycles"
    assert explanation.default.total == result.default.details["cycles"]
    assert explanation.tuned.total == result.runner_up.details["cycles"]
    assert {each.fate for each in explanation.layouts} <= {"kept", "refused", "free", "unknown"}
