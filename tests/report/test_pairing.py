"""Which instruction stands for which."""

from __future__ import annotations

from autotune.report.explanation import CompiledProgram, InstructionCost
from autotune.report.pairing import pairs
from tests.report.folders import instruction


def program(*instructions: InstructionCost) -> CompiledProgram:
    return CompiledProgram(sum(each.cost or 0.0 for each in instructions), instructions, 0, 0.0, 0, 0, 0)


def names(default: CompiledProgram, tuned: CompiledProgram) -> list[tuple[str | None, str | None]]:
    return [
        (pair.default.name if pair.default else None, pair.tuned.name if pair.tuned else None)
        for pair in pairs(default, tuned)
    ]


def test_by_the_operation_that_they_come_from_whatever_their_names() -> None:
    before = program(instruction("fusion.1", 9.0, operation="attention"), instruction("fusion.2", 5.0, operation="mlp"))
    after = program(instruction("fusion.1", 7.0, operation="mlp"), instruction("fusion.2", 4.0, operation="attention"))
    assert names(before, after) == [("fusion.1", "fusion.2"), ("fusion.2", "fusion.1")]


def test_of_equal_ones_the_dearest_with_the_dearest() -> None:
    before = program(instruction("a", 9.0, operation="dot"), instruction("b", 5.0, operation="dot"))
    after = program(instruction("c", 8.0, operation="dot"), instruction("d", 3.0, operation="dot"))
    assert names(before, after) == [("a", "c"), ("b", "d")]


def test_by_name_then_by_what_they_do_and_write() -> None:
    before = program(instruction("fusion.1", 9.0), instruction("fusion.7", 5.0, shape="f32[4]{0}"))
    after = program(
        instruction("fusion.8", 6.0, shape="f32[4]{0}"), instruction("fusion.1", 2.0, shape="f32[8,8]{0,1}")
    )
    assert names(before, after) == [("fusion.1", "fusion.1"), ("fusion.7", "fusion.8")], "the order is no size"


def test_what_has_no_counterpart_stands_alone_and_what_has_no_estimate_not_at_all() -> None:
    before = program(instruction("copy.1", 3.0, opcode="copy", work=""), instruction("reshape.1", None))
    after = program(instruction("fusion.1", 4.0))
    assert names(before, after) == [(None, "fusion.1"), ("copy.1", None)]
    assert [pair.costs for pair in pairs(before, after)] == [(0.0, 4.0), (3.0, 0.0)]
