"""One program per kernel: what is in it, how often it runs, and that the compiler makes of it what it made before."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from autotune.hlo.kernels import Kernel, is_one_kernel, split_kernels
from autotune.hlo.modules import entry_computation, instructions
from autotune.hlo.reader import read_bytes
from autotune.hlo.window_config import force_tile
from autotune.targets.isolation import run_in_child
from autotune.targets.tpu.compiler import TpuCompiler
from protos import hlo_pb2, xla_data_pb2
from tests.hlo import tpu_programs
from tests.hlo.tpu_programs import read

# As the TPU compiler leaves it: values in VMEM (S(1)), fusions in fusions, a loop, code that several kernels share.
OPTIMISED = """HloModule optimised, is_scheduled=true

sum_of {
  first = f32[] parameter(0)
  second = f32[] parameter(1)
  ROOT sum = f32[] add(first, second)
}

inner {
  value = f32[16,256]{1,0:T(8,128)S(1)} parameter(0)
  ROOT turned = f32[16,256]{1,0:T(8,128)} negate(value)
}

rows_of_negated {
  value = f32[16,256]{1,0:T(8,128)S(1)} parameter(0)
  negated = f32[16,256]{1,0:T(8,128)} fusion(value), kind=kLoop, calls=inner
  zero = f32[] constant(0)
  ROOT rows = f32[16]{0:T(128)} reduce(negated, zero), dimensions={1}, to_apply=sum_of
}

curve {
  value = f32[16,256]{1,0:T(8,128)S(1)} parameter(0)
  ROOT curved = f32[16,256]{1,0:T(8,128)S(1)} tanh(value)
}

parts {
  pair = (f32[16,256]{1,0:T(8,128)S(1)}, f32[16]{0:T(128)}) parameter(0)
  left = f32[16,256]{1,0:T(8,128)S(1)} get-tuple-element(pair), index=0
  right = f32[16]{0:T(128)} get-tuple-element(pair), index=1
  ROOT both = (f32[16]{0:T(128)}, f32[16,256]{1,0:T(8,128)S(1)}) tuple(right, left)
}

body {
  state = (s32[], f32[16,256]{1,0:T(8,128)S(1)}) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  one = s32[] constant(1)
  next = s32[] add(i, one)
  x = f32[16,256]{1,0:T(8,128)S(1)} get-tuple-element(state), index=1
  curved.1 = f32[16,256]{1,0:T(8,128)S(1)} fusion(x), kind=kLoop, calls=curve, \
metadata={op_name="tanh"}, backend_config={"window_config":{"kernel_window_bounds":[],"output_window_bounds":["2","2"],\
"estimated_cycles":"500"},"used_scoped_memory_configs":[{"memory_space":"1","offset":"0","size":"4096"}]}
  ROOT out = (s32[], f32[16,256]{1,0:T(8,128)S(1)}) tuple(next, curved.1)
}

test {
  state = (s32[], f32[16,256]{1,0:T(8,128)S(1)}) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  n = s32[] constant(9)
  ROOT go = pred[] compare(i, n), direction=LT
}

ENTRY main {
  a = f32[16,256]{1,0:T(8,128)} parameter(0)
  start = (f32[16,256]{1,0:T(8,128)S(1)}, f32[16,256]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(a)
  near = f32[16,256]{1,0:T(8,128)S(1)} copy-done(start)
  zero = s32[] constant(0)
  begin = (s32[], f32[16,256]{1,0:T(8,128)S(1)}) tuple(zero, near)
  ended = (s32[], f32[16,256]{1,0:T(8,128)S(1)}) while(begin), condition=test, body=body
  x = f32[16,256]{1,0:T(8,128)S(1)} get-tuple-element(ended), index=1
  curved.2 = f32[16,256]{1,0:T(8,128)S(1)} fusion(x), kind=kLoop, calls=curve
  rows.1 = f32[16]{0:T(128)} fusion(curved.2), kind=kInput, calls=rows_of_negated, \
backend_config={"window_config":{"kernel_window_bounds":[],"output_window_bounds":["1"],"estimated_cycles":"700"}}
  low = f32[] constant(0)
  rows.2 = f32[16]{0:T(128)} reduce(curved.2, low), dimensions={1}, to_apply=sum_of
  square = f32[16]{0:T(128)} multiply(rows.2, rows.2)
  pair = (f32[16,256]{1,0:T(8,128)S(1)}, f32[16]{0:T(128)}) tuple(curved.2, square)
  swapped = (f32[16]{0:T(128)}, f32[16,256]{1,0:T(8,128)S(1)}) fusion(pair), kind=kLoop, calls=parts
  room = f32[16]{0:T(128)S(1)} custom-call(), custom_call_target="AllocateBuffer"
  columns = f32[16,256]{0,1:T(8,128)} copy(curved.2), sharding={replicated}
  ROOT all = (f32[16]{0:T(128)}, f32[16]{0:T(128)}, f32[16,256]{0,1:T(8,128)}) tuple(rows.1, square, columns)
}
"""


@pytest.fixture(scope="module")
def kernels() -> dict[str, Kernel]:
    return {kernel.name: kernel for kernel in split_kernels(read(OPTIMISED))}


def _shapes(module: hlo_pb2.HloModuleProto) -> Iterator[xla_data_pb2.ShapeProto]:
    """Every array in the module."""
    for program in (module.host_program_shape, *(computation.program_shape for computation in module.computations)):
        for shape in (*program.parameters, program.result):
            yield from shape.tuple_shapes or [shape]
    for instruction in instructions(module):
        yield from instruction.shape.tuple_shapes or [instruction.shape]


def test_what_is_a_kernel_and_how_often_it_runs(kernels: dict[str, Kernel]) -> None:
    # Not: parameters, constants, tuples, the counter of the loop and its test, asynchronous copies, buffers.
    assert {name: (kernel.opcode, kernel.executions) for name, kernel in kernels.items()} == {
        "curved.1": ("fusion", 9),
        "curved.2": ("fusion", 1),
        "rows.1": ("fusion", 1),
        "rows.2": ("reduce", 1),
        "square": ("multiply", 1),
        "swapped": ("fusion", 1),
        "columns": ("copy", 1),
    }


def test_tiles(kernels: dict[str, Kernel]) -> None:
    bounds = {name: kernel.window.output_bounds for name, kernel in kernels.items() if kernel.window is not None}
    assert bounds == {"curved.1": (2, 2), "rows.1": (1,)}


def test_a_kernel_is_its_instruction_and_what_that_calls(kernels: dict[str, Kernel]) -> None:
    names = {name: [c.name for c in kernel.module.computations] for name, kernel in kernels.items()}
    assert sorted(names["rows.1"]) == ["inner", "main", "rows_of_negated", "sum_of"]
    assert names["rows.2"] == ["sum_of", "main"]
    assert names["columns"] == ["main"]
    entry = entry_computation(kernels["rows.2"].module)
    assert [i.opcode for i in entry.instructions] == ["parameter", "parameter", "reduce"]
    assert entry.root_id == entry.instructions[-1].id
    assert list(entry.instructions[-1].operand_ids) == [i.id for i in entry.instructions[:2]]


def test_layouts_stay_and_memories_go(kernels: dict[str, Kernel]) -> None:
    for kernel in kernels.values():
        assert all(shape.layout.memory_space == 0 for shape in _shapes(kernel.module)), kernel.name
    columns = kernels["columns"].module.host_program_shape
    assert list(columns.parameters[0].layout.minor_to_major) == [1, 0]
    assert list(columns.result.layout.minor_to_major) == [0, 1]
    assert [list(tile.dimensions) for tile in columns.result.layout.tiles] == [[8, 128]]


def test_what_belongs_to_the_program_is_left_out(kernels: dict[str, Kernel]) -> None:
    program = read(OPTIMISED)
    before = program.SerializeToString(deterministic=True)
    split_kernels(program)
    assert program.SerializeToString(deterministic=True) == before, "the program is left alone"
    for kernel in kernels.values():
        for instruction in instructions(kernel.module):
            left = {field.name for field, _ in instruction.ListFields()}
            assert not left & {"metadata", "backend_config", "sharding", "control_predecessor_ids"}, kernel.name


def test_an_operand_used_twice_is_one_parameter(kernels: dict[str, Kernel]) -> None:
    parameter, root = entry_computation(kernels["square"].module).instructions
    assert list(root.operand_ids) == [parameter.id, parameter.id]
    assert len(kernels["square"].module.host_program_shape.parameters) == 1


def test_a_tuple_is_one_parameter(kernels: dict[str, Kernel]) -> None:
    (shape,) = kernels["swapped"].module.host_program_shape.parameters
    assert [list(part.dimensions) for part in shape.tuple_shapes] == [[16, 256], [16]]


def test_equal_kernels_have_one_fingerprint(kernels: dict[str, Kernel]) -> None:
    # The first is in a loop and has a tile, the second has neither.
    assert kernels["curved.1"].fingerprint == kernels["curved.2"].fingerprint
    assert len({kernel.fingerprint for kernel in kernels.values()}) == len(kernels) - 1


def test_the_config_of_a_custom_call_belongs_to_the_call() -> None:
    text = """HloModule m
ENTRY main {
  x = f32[8,128]{1,0} parameter(0)
  ROOT y = f32[8,128]{1,0} custom-call(x), custom_call_target="tpu_custom_call", backend_config={"body":"abc"}
}
"""
    (kernel,) = split_kernels(read(text))
    assert kernel.window is None
    assert json.loads(entry_computation(kernel.module).instructions[-1].backend_config) == {"body": "abc"}


def test_a_kernel_computes_what_it_did(kernels: dict[str, Kernel]) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (16, 256)).astype(np.float32)
    program = read_bytes(kernels["rows.1"].module.SerializeToString(), "rows.1.pb")  # un-fused for the CPU
    (rows,) = run_in_child("tests.hlo.child", "run", program.module, [values], time_limit=60.0)
    np.testing.assert_allclose(rows, -values.sum(axis=1), rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# With the compiler


@pytest.fixture(scope="module")
def compiler() -> Iterator[TpuCompiler]:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    with TpuCompiler("v5e", time_limit=120.0) as compiler:
        yield compiler


@pytest.mark.parametrize("name", tpu_programs.PROGRAMS)
def test_with_everything_in_hbm_kernels_get_the_same_tiles_alone(compiler: TpuCompiler, name: str) -> None:
    hbm_only: dict[str, str | int | bool] = {"xla_vf_vmem_memory_space_assignment": "false"}
    optimised = tpu_programs.optimise(compiler, read(tpu_programs.PROGRAMS[name]), flags=hbm_only)
    kernels = [kernel for kernel in split_kernels(optimised) if kernel.window is not None]
    assert len(kernels) >= 3
    for kernel in kernels:
        alone = tpu_programs.optimise(compiler, kernel.module, flags=hbm_only, backend_only=True)
        assert tpu_programs.windows(alone)[kernel.name] == kernel.window, "bounds, cycles and all"


@pytest.mark.parametrize("name", tpu_programs.PROGRAMS)
def test_most_kernels_get_the_same_tiles_alone_and_all_take_others(compiler: TpuCompiler, name: str) -> None:
    optimised = tpu_programs.optimise(compiler, read(tpu_programs.PROGRAMS[name]))
    kernels = {kernel.name: kernel for kernel in split_kernels(optimised) if kernel.window is not None}
    same = 0
    for kernel in kernels.values():
        assert kernel.window is not None
        window = tpu_programs.windows(tpu_programs.optimise(compiler, kernel.module, backend_only=True))[kernel.name]
        same += (window.output_bounds, window.kernel_bounds) == (
            kernel.window.output_bounds,
            kernel.window.kernel_bounds,
        )
    assert same >= len(kernels) - 1, "one dot had its left side in VMEM"
    for instruction, tile in tpu_programs.CANDIDATES[name].items():
        forced = force_tile(kernels[instruction].module, instruction, *tile)
        window = tpu_programs.windows(tpu_programs.optimise(compiler, forced, backend_only=True))[instruction]
        assert (window.output_bounds, window.kernel_bounds, window.estimated_cycles) == tile


def test_the_body_of_a_loop_runs_as_often_as_the_loop(compiler: TpuCompiler) -> None:
    optimised = tpu_programs.optimise(compiler, read(tpu_programs.LOOP_OF_DOTS))
    executions = {kernel.name: kernel.executions for kernel in split_kernels(optimised)}
    assert executions["convolution_tanh_fusion.2"] == 7
    assert executions["convolution_reduce_fusion"] == 1


KERNEL = """HloModule kernel, is_scheduled=true
ENTRY main {
  x = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT y = f32[8,128]{1,0:T(8,128)} negate(x)
}
"""


@pytest.mark.parametrize(
    ("text", "one"),
    [
        (KERNEL, True),
        (KERNEL.replace(", is_scheduled=true", "").replace(":T(8,128)", ""), False),
        (KERNEL.replace("ROOT y", "y").replace("\n}", "\n  ROOT z = f32[8,128]{1,0:T(8,128)} negate(y)\n}"), False),
        (KERNEL.replace("ROOT y = f32[8,128]{1,0:T(8,128)} negate(x)", "ROOT y = f32[] constant(1)"), False),
    ],
    ids=["one", "not optimised", "two instructions", "a constant"],
)
def test_files_that_are_one_kernel(text: str, one: bool) -> None:
    program = read_bytes(text.encode(), "kernel", keep_kernels=True)
    assert is_one_kernel(program.proto) is one
    assert bool(program.notes) is not (one or "T(8" not in text), "only what is not one kernel is un-fused"
    assert not is_one_kernel(read_bytes(text.encode(), "kernel").proto)
