"""A kernel in a loop: what it computes, and that XLA:CPU leaves it there."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.errors import SpaceError
from autotune.hlo.modules import entry_computation, instructions
from autotune.hlo.reader import read_bytes
from autotune.hlo.repeat import repeat
from autotune.targets.isolation import Worker, run_in_child
from protos import hlo_pb2
from protos.xla_data_pb2 import PRED, S32, ShapeProto

DOT = """HloModule kernel
ENTRY main {
  x = f32[8,16] parameter(0)
  w = f32[16,4] parameter(1)
  ROOT y = f32[8,4] dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""
SEVERAL_OUTPUTS = """HloModule kernel
both { a = s32[5] parameter(0) b = s32[5] parameter(1)
  s = s32[5] add(a, b) d = s32[5] subtract(a, b) ROOT r = (s32[5], s32[5]) tuple(s, d) }
ENTRY main { b = s32[5] parameter(1) a = s32[5] parameter(0) ROOT k = (s32[5], s32[5]) call(b, a), to_apply=both }
"""


def kernel(text: str) -> hlo_pb2.HloModuleProto:
    return read_bytes(text.encode(), "kernel").proto


def run(module: hlo_pb2.HloModuleProto, executions: int, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    arguments = [np.array(executions, np.int32), *arrays]
    results: list[NDArray[Any]] = run_in_child(
        "tests.hlo.child", "run", module.SerializeToString(), arguments, time_limit=120
    )
    return results


@pytest.mark.parametrize("guarded", [True, False])
def test_outputs_are_those_of_the_kernel(guarded: bool) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.random((8, 16), np.float32), rng.random((16, 4), np.float32)
    before = np.full((8, 4), 7.0, np.float32)
    loop = repeat(kernel(DOT), guarded=guarded)
    assert np.array_equal(run(loop, 0, x, w, before)[0], before), "no turn, no output"
    for executions in (1, 5):
        np.testing.assert_allclose(run(loop, executions, x, w, before)[0], x @ w, rtol=1e-6)


def test_operands_in_any_order_and_several_outputs() -> None:
    a, b = np.arange(5, dtype=np.int32), np.array([3, 1, 4, 1, 5], np.int32)
    zeros = np.zeros(5, np.int32)
    total, difference = run(repeat(kernel(SEVERAL_OUTPUTS)), 3, a, b, zeros, zeros)
    assert total.tolist() == [3, 2, 6, 4, 9]
    assert difference.tolist() == [3, 0, 2, -2, 1], "the call takes b first"


@pytest.mark.parametrize("guarded", [True, False])
def test_only_the_guard_keeps_xla_from_taking_the_kernel_out(guarded: bool) -> None:
    with Worker("tests.targets.cpu_compiler") as worker:
        loop = repeat(kernel(DOT), guarded=guarded).SerializeToString()
        _, text = worker.call("compiled", loop, time_limit=120)
    computations = re.findall(r"^(?:ENTRY )?%(\S+) \(.*?^}", text, re.MULTILINE | re.DOTALL)
    bodies = dict(zip(computations, re.split(r"^}", text, flags=re.MULTILINE), strict=False))
    (body,) = re.findall(r"while\(.*body=%([\w.]+)", text)
    calls = re.findall(r"(?:calls|to_apply)=%([\w.]+)", bodies[body])
    in_loop = any(" dot(" in bodies[each] for each in (body, *calls))
    assert in_loop is guarded


def test_the_program_is_as_described() -> None:
    loop = repeat(kernel(DOT))
    entry = entry_computation(loop)
    shapes = [tuple(each.dimensions) for each in loop.host_program_shape.parameters]
    assert shapes == [(), (8, 16), (16, 4), (8, 4)]
    assert [tuple(each.dimensions) for each in loop.host_program_shape.result.tuple_shapes] == [(8, 4)]
    (run_of_kernel,) = (each for each in instructions(loop) if each.opcode == "dot")
    assert run_of_kernel.name == "y", "by its name its tile is found"
    assert entry.id in loop.schedule.sequences
    identities = [each.id for each in instructions(loop)]
    assert len(set(identities)) == len(identities)
    scheduled = [identity for each in loop.schedule.sequences.values() for identity in each.instruction_ids]
    assert sorted(scheduled) == sorted(identities)


def test_scalars_have_the_layouts_that_they_are_given() -> None:
    tiled: dict[int, ShapeProto] = {kind: ShapeProto(element_type=kind) for kind in (S32, PRED)}
    for shape, size in zip(tiled.values(), (128, 512), strict=True):
        shape.layout.tiles.add(dimensions=[size])
    loop = repeat(kernel(DOT), tiled, guarded=False)
    found = {
        (each.shape.element_type, *(tuple(tile.dimensions) for tile in each.shape.layout.tiles))
        for each in instructions(loop)
        if not each.shape.dimensions and not each.shape.tuple_shapes
    }
    assert found == {(S32, (128,)), (PRED, (512,))}


@pytest.mark.parametrize(
    ("text", "guarded", "message"),
    [
        (DOT.replace("ROOT y", "y").replace("\n}", "\n  ROOT z = f32[8,4] negate(y)\n}"), False, "not one instruction"),
        ("HloModule k\nENTRY main { x = (f32[2]) parameter(0) ROOT y = f32[2] get-tuple-element(x), index=0 }", False,
         "not one instruction of plain arrays"),
        ("HloModule k\nENTRY main { ROOT y = f32[8] iota(), iota_dimension=0 }", True, "no elements to write"),
        ("HloModule k\nENTRY main { x = f32[] parameter(0) ROOT y = f32[8] broadcast(x), dimensions={} }", True,
         "no elements to write"),
    ],
)  # fmt: skip
def test_what_cannot_be_repeated(text: str, guarded: bool, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        repeat(kernel(text), guarded=guarded)
