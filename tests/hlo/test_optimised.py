"""Optimised programs become ordinary ones that compute the same, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.errors import UnsupportedProgramError
from autotune.hlo.optimised import is_optimised
from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from autotune.targets.isolation import run_in_child
from protos import hlo_pb2, xla_data_pb2
from tests import programs

# As a TPU compiler leaves it: tiles, two memories, fusions in fusions, bitcasts that matter, a schedule.
OPTIMISED = """HloModule optimised, is_scheduled=true, \
entry_computation_layout={(f32[16,256]{1,0:T(8,128)}, f32[256,8]{1,0:T(8,128)})->(f32[16,8]{0,1:T(8,128)}, f32[])}

maximum_of {
  first = f32[] parameter(0)
  second = f32[] parameter(1)
  ROOT largest = f32[] maximum(first, second)
}

inner {
  value = f32[16,8]{1,0:T(8,128)S(1)} parameter(0)
  ROOT turned = f32[8,16]{0,1:T(8,128)S(1)} bitcast(value)
}

multiply_and_transpose {
  left = f32[16,256]{1,0:T(8,128)S(1)} parameter(0)
  right = f32[256,8]{1,0:T(8,128)} parameter(1)
  product = f32[16,8]{1,0:T(8,128)} dot(left, right), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  transposed = f32[8,16]{0,1:T(8,128)} fusion(product), kind=kLoop, calls=inner
  ROOT curved = f32[8,16]{0,1:T(8,128)} tanh(transposed)
}

blocks_and_maximum {
  input = f32[16,256]{1,0:T(8,128)S(1)} parameter(0)
  blocks = f32[2,2,8,128]{3,2,1,0:T(8,128)} bitcast(input)
  block = f32[1,1,8,128]{3,2,1,0:T(8,128)} slice(blocks), slice={[0:1], [1:2], [0:8], [0:128]}
  low = f32[]{:T(128)} constant(-inf)
  ROOT peak = f32[]{:T(128)} reduce(block, low), dimensions={0,1,2,3}, to_apply=maximum_of
}

ENTRY main {
  a = f32[16,256]{1,0:T(8,128)} parameter(0)
  start = (f32[16,256]{1,0:T(8,128)S(1)}, f32[16,256]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(a)
  b = f32[256,8]{1,0:T(8,128)} parameter(1)
  near = f32[16,256]{1,0:T(8,128)S(1)} copy-done(start)
  bent = f32[8,16]{0,1:T(8,128)} fusion(near, b), kind=kOutput, calls=multiply_and_transpose, \
backend_config={"window_config":{"kernel_window_bounds":["1"]}}
  back = f32[16,8]{0,1:T(8,128)} transpose(bent), dimensions={1,0}
  peak = f32[]{:T(128)} fusion(near), kind=kInput, calls=blocks_and_maximum
  ROOT both = (f32[16,8]{0,1:T(8,128)}, f32[]{:T(128)}) tuple(back, peak)
}
"""


@pytest.fixture(scope="module")
def undone() -> Program:
    return read_bytes(OPTIMISED.encode(), "opt.hlo")


def test_only_optimised_programs_are_changed() -> None:
    assert not is_optimised(programs.two_dots().proto)
    assert is_optimised(read_bytes(OPTIMISED.encode(), "x", keep_optimised=True).proto)


@pytest.mark.parametrize(
    ("layout", "optimised"),
    [
        (xla_data_pb2.LayoutProto(minor_to_major=[0, 1]), False),
        (xla_data_pb2.LayoutProto(tiles=[xla_data_pb2.TileProto(dimensions=[8, 128])]), True),
        (xla_data_pb2.LayoutProto(memory_space=1), True),
        (xla_data_pb2.LayoutProto(split_configs=[xla_data_pb2.SplitConfigProto(dimension=0)]), True),
    ],
    ids=["plain", "tiles", "memory space", "split"],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_one_layout_is_enough(layout: xla_data_pb2.LayoutProto, optimised: bool, depth: int) -> None:
    shape = xla_data_pb2.ShapeProto(element_type=xla_data_pb2.F32, dimensions=[16, 256], layout=layout)
    for _ in range(depth):  # the last part of a tuple
        plain = xla_data_pb2.ShapeProto(element_type=xla_data_pb2.S32)
        shape = xla_data_pb2.ShapeProto(element_type=xla_data_pb2.TUPLE, tuple_shapes=[plain, shape])
    module = hlo_pb2.HloModuleProto()
    module.computations.add().instructions.add(opcode="parameter", shape=shape)
    assert is_optimised(module) is optimised


def test_what_is_left(undone: Program) -> None:
    instructions = {i.name: i for computation in undone.proto.computations for i in computation.instructions}
    opcodes = {instruction.opcode for instruction in instructions.values()}
    assert not opcodes & {"fusion", "bitcast", "copy-start", "copy-done"}
    assert instructions["near"].opcode == "copy"
    assert list(instructions["near"].operand_ids) == [instructions["a"].id]
    assert instructions["bent"].opcode == "call"
    assert list(instructions["bent"].operand_ids) == [instructions["near"].id, instructions["b"].id]
    assert b"T(8,128)" not in undone.module
    assert not undone.proto.HasField("schedule")
    assert not is_optimised(undone.proto)
    assert all(not i.backend_config for i in instructions.values())
    # The orders of dimensions stay: they are the program's own.
    assert list(undone.proto.host_program_shape.result.tuple_shapes[0].layout.minor_to_major) == [0, 1]
    (note,) = undone.notes
    assert note == (
        "optimisations undone: bitcasts became reshapes and transposes (2), fusions became calls (3), "
        "asynchronous copies became copies (1), tiles and memory spaces removed from layouts, schedule removed"
    )


def test_the_values_are_the_same(undone: Program) -> None:
    random = np.random.default_rng(0)
    a = random.uniform(-1, 1, (16, 256)).astype(np.float32)
    b = random.uniform(-0.1, 0.1, (256, 8)).astype(np.float32)
    back, peak = run_in_child("tests.hlo.child", "run", undone.module, [a, b], time_limit=60.0)
    # By hand: the inner bitcast reads a row-major [16,8] as a column-major [8,16], which is its transpose; the other
    # one names the 8 x 128 tiles of a: tile (0, 1) holds rows 0-7 and columns 128-255.
    np.testing.assert_allclose(back, np.tanh(a @ b), rtol=1e-5, atol=1e-6)
    assert peak == a[0:8, 128:256].max()


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("kind=kLoop", "kind=kCustom", "1 x custom fusion"),
        (
            "transpose(bent), dimensions={1,0}",
            'custom-call(bent), custom_call_target="__cublas$gemm"',
            r"1 x custom call '__cublas\$gemm'",
        ),
        (
            "transpose(bent), dimensions={1,0}",
            'custom-call(bent), custom_call_target="tpu_custom_call"',
            "tpu_custom_call",
        ),
        ("turned = f32[8,16]", "turned = s32[8,16]", "bitcast 'turned' changes the type of elements"),
    ],
)
def test_what_cannot_be_undone_is_refused_with_advice(before: str, after: str, problem: str) -> None:
    assert before in OPTIMISED
    text = OPTIMISED.replace(before, after)
    with pytest.raises(UnsupportedProgramError, match=f"opt.hlo: .*{problem}.*dump it before optimisation instead"):
        read_bytes(text.encode(), "opt.hlo")


def test_asynchronous_wrappers_are_refused() -> None:
    text = """HloModule m, is_scheduled=true
wrapped {
  p = f32[4]{0} parameter(0)
  ROOT n = f32[4]{0} negate(p)
}
ENTRY e {
  x = f32[4]{0} parameter(0)
  begun = ((f32[4]{0}), f32[4]{0}, s32[]) async-start(x), calls=wrapped
  ROOT ended = f32[4]{0} async-done(begun)
}
"""
    with pytest.raises(UnsupportedProgramError, match="1 x async-start, 1 x async-done"):
        read_bytes(text.encode(), "x")
