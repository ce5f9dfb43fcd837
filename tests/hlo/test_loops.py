"""How often computations run: trip counts against counting loops out, and what cannot be known."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.hlo.loops import count_executions
from autotune.hlo.modules import instructions
from protos import hlo_pb2
from tests.hlo.tpu_programs import read

# A counter that goes from START by STEP while it is DIRECTION LIMIT; the limit comes in from outside, through copies.
COUNTED = """HloModule counted
body {
  state = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  x = f32[4]{0} get-tuple-element(state), index=1
  limit = s32[] get-tuple-element(state), index=2
  step = s32[] constant(STEP)
  next = s32[] CHANGE
  moved = s32[] copy(next)
  y = f32[4]{0} negate(x)
  ROOT out = (s32[], f32[4]{0}, s32[]) tuple(moved, y, limit)
}
condition {
  state = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  limit = s32[] get-tuple-element(state), index=2
  ROOT go = pred[] compare(TEST), direction=DIRECTION
}
ENTRY main {
  x = f32[4]{0} parameter(0)
  zero = s32[] constant(START)
  copied = s32[] copy(zero)
  n = s32[] constant(LIMIT)
  start = (s32[], f32[4]{0}, s32[]) tuple(copied, x, n)
  end = (s32[], f32[4]{0}, s32[]) while(start), condition=condition, body=body
  ROOT y = f32[4]{0} get-tuple-element(end), index=1
}
"""
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "NE": operator.ne,
}
MIRRORED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE"}


def _text(
    start: int, limit: int, step: int, direction: str, *, change: str = "add(i, step)", test: str = "i, limit"
) -> str:
    values = {"START": start, "LIMIT": limit, "STEP": step, "DIRECTION": direction, "CHANGE": change, "TEST": test}
    text = COUNTED
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


def _executions(module: hlo_pb2.HloModuleProto) -> dict[str, int]:
    counts = count_executions(module).counts
    return {computation.name: counts[computation.id] for computation in module.computations if computation.id in counts}


@functools.cache
def _counted(direction: str, change: str, test: str) -> hlo_pb2.HloModuleProto:
    return read(_text(0, 0, 0, direction, change=change, test=test))


def _with_numbers(module: hlo_pb2.HloModuleProto, **numbers: int) -> hlo_pb2.HloModuleProto:
    """The program with other constants, by name: reading its text each time would be slow."""
    result = hlo_pb2.HloModuleProto()
    result.CopyFrom(module)
    constants = {i.name: i.literal for i in instructions(result) if i.opcode == "constant"}
    assert set(constants) == set(numbers)
    for name, number in numbers.items():
        constants[name].s32s[:] = [number]
    return result


@given(
    start=st.integers(-20, 20),
    limit=st.integers(-20, 20),
    step=st.integers(-3, 3).filter(bool),
    direction=st.sampled_from(sorted(COMPARISONS)),
    change=st.sampled_from(["add(i, step)", "add(step, i)", "subtract(i, step)"]),
    test=st.sampled_from(["i, limit", "limit, i"]),
)
@settings(deadline=None)
def test_counts_agree_with_running_the_loop(
    start: int, limit: int, step: int, direction: str, change: str, test: str
) -> None:
    written = direction if test == "i, limit" else MIRRORED[direction]
    constant = -step if change.startswith("subtract") else step
    module = _with_numbers(_counted(written, change, test), zero=start, n=limit, step=constant)
    trips, counter = 0, start
    while COMPARISONS[direction](counter, limit) and trips < 100:
        counter, trips = counter + step, trips + 1
    executions = count_executions(module)
    if trips == 100:
        assert executions.unknown_loops == ("end",)  # runs until the counter overflows
    else:
        assert executions.unknown_loops == ()
        assert _executions(module) == {"main": 1, "body": trips, "condition": trips + 1}


@pytest.mark.parametrize(
    "text",
    [
        _text(0, 7, 1, "LT", change="multiply(i, step)"),
        _text(0, 7, 1, "LT", change="subtract(step, i)"),
        _text(0, 7, 1, "LT", change="add(limit, step)"),
        _text(0, 7, 1, "EQ"),
        _text(0, 7, 1, "LT").replace("tuple(moved, y, limit)", "tuple(moved, y, step)"),  # the limit changes
        _text(0, 7, 1, "LT").replace("constant(7)", "parameter(1)"),
        _text(0, 7, 1, "LT").replace("copied = s32[] copy(zero)", "copied = s32[] parameter(1)"),
    ],
)
def test_other_loops_count_once_and_are_named(text: str) -> None:
    module = read(text)
    assert count_executions(module).unknown_loops == ("end",)
    assert _executions(module) == {"main": 1, "body": 1, "condition": 2}


def test_a_count_that_is_written_down_is_believed() -> None:
    text = _text(0, 7, 1, "EQ").replace("body=body", 'body=body, backend_config={"known_trip_count":{"n":"12"}}')
    assert _executions(read(text)) == {"main": 1, "body": 12, "condition": 13}


def test_loops_in_loops_calls_and_branches_multiply() -> None:
    text = """HloModule nested
twice { p = f32[4]{0} parameter(0)  ROOT n = f32[4]{0} add(p, p) }
low { p = f32[4]{0} parameter(0)  a = f32[4]{0} call(p), to_apply=twice  ROOT b = f32[4]{0} call(a), to_apply=twice }
high { p = f32[4]{0} parameter(0)  ROOT n = f32[4]{0} negate(p) }
inner {
  s = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  x = f32[4]{0} get-tuple-element(s), index=1
  n = s32[] get-tuple-element(s), index=2
  one = s32[] constant(1)
  next = s32[] add(i, one)
  y = f32[4]{0} conditional(i, x, x), branch_computations={low, high}
  ROOT out = (s32[], f32[4]{0}, s32[]) tuple(next, y, n)
}
inner_test {
  s = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  n = s32[] get-tuple-element(s), index=2
  ROOT go = pred[] compare(i, n), direction=LT
}
outer {
  s = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  x = f32[4]{0} get-tuple-element(s), index=1
  n = s32[] get-tuple-element(s), index=2
  zero = s32[] constant(0)
  begin = (s32[], f32[4]{0}, s32[]) tuple(zero, x, n)
  ended = (s32[], f32[4]{0}, s32[]) while(begin), condition=inner_test, body=inner
  y = f32[4]{0} get-tuple-element(ended), index=1
  one = s32[] constant(1)
  next = s32[] add(i, one)
  ROOT out = (s32[], f32[4]{0}, s32[]) tuple(next, y, n)
}
outer_test {
  s = (s32[], f32[4]{0}, s32[]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  three = s32[] constant(3)
  ROOT go = pred[] compare(i, three), direction=LT
}
ENTRY main {
  x = f32[4]{0} parameter(0)
  zero = s32[] constant(0)
  five = s32[] constant(5)
  begin = (s32[], f32[4]{0}, s32[]) tuple(zero, x, five)
  ended = (s32[], f32[4]{0}, s32[]) while(begin), condition=outer_test, body=outer
  ROOT y = f32[4]{0} get-tuple-element(ended), index=1
}
"""
    # The inner limit 5 comes from main through the state of both loops. 3 x 5 times inside; `low` calls `twice` twice.
    expected = {"main": 1, "outer": 3, "outer_test": 4, "inner": 15, "inner_test": 18}
    assert _executions(read(text)) == {**expected, "low": 15, "high": 15, "twice": 30}


def test_a_body_of_two_loops_has_no_known_count() -> None:
    # What the state holds depends on which loop it is; nothing is said of either, and the body counts once for each.
    loop = "(s32[], f32[4]{0}, s32[]) while(start), condition=condition, body=body"
    module = read(_text(0, 7, 1, "LT").replace(f"  end = {loop}", f"  end = {loop}\n  other = {loop}"))
    assert sorted(count_executions(module).unknown_loops) == ["end", "other"]
    assert _executions(module) == {"main": 1, "body": 2, "condition": 4}
