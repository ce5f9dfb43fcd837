"""What the compiler says of a whole program, against sums made by hand and against the compiler itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.hlo import reader
from autotune.targets.isolation import run_in_child
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.estimate import CompilerEstimate, estimate
from autotune.targets.tpu.kernel_kinds import WEIGHTS, KernelKind, kind_of
from autotune.targets.tpu.memory import HBM, VMEM, bytes_in, tiled_bytes
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2

LARGEST = 2**63 - 1
CONTRACTED = "lhs_contracting_dims={1}, rhs_contracting_dims={1}"


def notes(cycles: int, **others: object) -> str:
    """A backend_config as the TPU compiler writes it."""
    window = {"output_window_bounds": ["1"], "kernel_window_bounds": [], "estimated_cycles": str(cycles)}
    return f"backend_config={json.dumps({'window_config': window, **others})}"


# One kernel of each computation has a power of ten as its cycles, so the sum shows how often each computation ran.
PROGRAM = f"""HloModule program, is_scheduled=true, input_output_alias={{ {{1}}: (1, {{}}, must-alias) }}, \
entry_computation_layout={{(f32[64,128]{{1,0:T(8,128)}}, s32[]{{:T(128)}}, pred[]{{:T(512)}})->\
(f32[64,128]{{1,0:T(8,128)}}, s32[]{{:T(128)}})}}

inside_a_fusion {{
  f = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  ROOT fc = f32[64,128]{{1,0:T(8,128)}} copy(f), {notes(7)}
}}

inner_body {{
  is = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) parameter(0)
  ii = s32[]{{:T(128)}} get-tuple-element(is), index=0
  iv = f32[64,128]{{1,0:T(8,128)}} get-tuple-element(is), index=1
  ione = s32[]{{:T(128)}} constant(1)
  ij = s32[]{{:T(128)}} add(ii, ione)
  ik = f32[64,128]{{1,0:T(8,128)}} tanh(iv), {notes(100)}
  ic = f32[64,128]{{0,1:T(8,128)}} copy(ik)
  ib = f32[64,128]{{1,0:T(8,128)}} transpose(ic), dimensions={{0,1}}
  ROOT ir = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) tuple(ij, ib)
}}

inner_condition {{
  cs = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) parameter(0)
  ci = s32[]{{:T(128)}} get-tuple-element(cs), index=0
  cn = s32[]{{:T(128)}} constant(3)
  ROOT cc = pred[]{{:T(512)}} compare(ci, cn), direction=LT
}}

outer_body {{
  os = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) parameter(0)
  oi = s32[]{{:T(128)}} get-tuple-element(os), index=0
  ov = f32[64,128]{{1,0:T(8,128)}} get-tuple-element(os), index=1
  oone = s32[]{{:T(128)}} constant(1)
  ozero = s32[]{{:T(128)}} constant(0)
  oj = s32[]{{:T(128)}} add(oi, oone)
  ok = f32[64,128]{{1,0:T(8,128)}} tanh(ov), {notes(10)}
  ot = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) tuple(ozero, ok)
  ow = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) while(ot), body=inner_body, condition=inner_condition
  ox = f32[64,128]{{1,0:T(8,128)}} get-tuple-element(ow), index=1
  ROOT or = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) tuple(oj, ox)
}}

outer_condition {{
  ps = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) parameter(0)
  pi = s32[]{{:T(128)}} get-tuple-element(ps), index=0
  pn = s32[]{{:T(128)}} constant(LIMIT)
  ROOT pc = pred[]{{:T(512)}} compare(pi, pn), direction=LT
}}

dear {{
  d = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  ROOT dk = f32[64,128]{{1,0:T(8,128)}} tanh(d), {notes(100_000)}
}}

cheap {{
  h = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  hc = f32[64,128]{{1,0:T(8,128)}} copy(h)
  ROOT hk = f32[64,128]{{1,0:T(8,128)}} tanh(hc), {notes(90_000)}
}}

ENTRY main {{
  x = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  n = s32[]{{:T(128)}} parameter(1)
  p = pred[]{{:T(512)}} parameter(2)
  start = (f32[64,128]{{1,0:T(8,128)S(1)}}, f32[64,128]{{1,0:T(8,128)}}, u32[]{{:S(2)}}) copy-start(x)
  near = f32[64,128]{{1,0:T(8,128)S(1)}} copy-done(start)
  k = f32[64,128]{{1,0:T(8,128)S(1)}} fusion(near), kind=kLoop, calls=inside_a_fusion, \
{notes(1, used_scoped_memory_configs=[{"memory_space": "1", "offset": "0", "size": "5000"}])}
  c = f32[64,128]{{1,0:T(8,128)}} copy(k), {notes(1_000)}
  no_estimate = f32[64,128]{{1,0:T(8,128)}} exponential(c), {notes(LARGEST)}
  halves = f32[2,64,64]{{2,1,0:T(8,128)}} reshape(no_estimate)
  whole = f32[64,128]{{1,0:T(8,128)}} reshape(halves)
  zero = s32[]{{:T(128)}} constant(0)
  t = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) tuple(zero, whole)
  w = (s32[]{{:T(128)}}, f32[64,128]{{1,0:T(8,128)}}) while(t), body=outer_body, condition=outer_condition
  v = f32[64,128]{{1,0:T(8,128)}} get-tuple-element(w), index=1
  y = f32[64,128]{{1,0:T(8,128)}} conditional(p, v, v), true_computation=cheap, false_computation=dear
  ROOT r = (f32[64,128]{{1,0:T(8,128)}}, s32[]{{:T(128)}}) tuple(y, n)
}}
"""
ARRAY = 64 * 128 * 4


def parse(text: str) -> hlo_pb2.HloModuleProto:
    """The module exactly as the text has it (the reader would undo optimisations)."""
    return hlo_pb2.HloModuleProto.FromString(
        run_in_child("autotune.hlo.jaxlib", "parse_hlo_text", text, time_limit=60.0)
    )


def estimate_of(text: str) -> CompilerEstimate:
    return estimate(xla_pb2.HloModuleProtoWithConfig(hlo_module=parse(text)))


@pytest.fixture(scope="module")
def program() -> CompilerEstimate:
    return estimate_of(PROGRAM.replace("LIMIT", "4"))


def test_cycles_are_summed_over_what_runs(program: CompilerEstimate) -> None:
    # entry 1 + 1000; 4 turns of the outer loop, 3 of the inner in each; the dearer branch; nothing inside the fusion
    assert program.cycles == 1_001 + 4 * 10 + 4 * 3 * 100 + 100_000
    assert program.kernels == 3 + 4 + 4 * 3 + 1
    assert program.unknown_loops == ()


def test_cycles_are_weighed_by_kind_of_kernel(program: CompilerEstimate) -> None:
    # the copy, and the fusion that is nothing but a copy
    assert program.weighed_cycles == pytest.approx(program.cycles - (1 - WEIGHTS[KernelKind.COPY]) * 1_001)


@pytest.mark.parametrize(
    ("kernel", "fused", "kind"),
    [
        ("f32[8,128] copy(p)", "f32[8,128] negate(q)", KernelKind.COPY),
        ("f32[128,8] transpose(p), dimensions={1,0}", "f32[8,128] negate(q)", KernelKind.COPY),
        ("f32[8,128] tanh(p)", "f32[8,128] negate(q)", KernelKind.OTHER),
        (f"f32[8,8] dot(p, p), {CONTRACTED}", "f32[8,128] negate(q)", KernelKind.PRODUCT),
        ("f32[8,128] fusion(p), kind=kLoop, calls=fused", "f32[8,128] negate(q)", KernelKind.OTHER),
        ("f32[8,128] fusion(p), kind=kLoop, calls=fused", "f32[8,128] copy(q)", KernelKind.COPY),
        ("f32[8,8] fusion(p), kind=kOutput, calls=fused", f"f32[8,8] dot(q, q), {CONTRACTED}", KernelKind.PRODUCT),
        (
            "u32[8,128] fusion(s), kind=kLoop, calls=fused",
            "(u64[2], u32[8,128]) rng-bit-generator(q), algorithm=rng_default",
            KernelKind.RANDOM,
        ),
    ],
)  # fmt: skip
def test_kinds_of_kernels(kernel: str, fused: str, kind: KernelKind) -> None:
    argument = "u64[2]" if "(s)" in kernel else "f32[8,128]"
    root = "ROOT r" if not fused.startswith("(") else "r"
    extra = "" if root != "r" else "\n  ROOT g = u32[8,128] get-tuple-element(r), index=1"
    module = parse(
        f"HloModule m\n\nfused {{\n  q = {argument} parameter(0)\n  {root} = {fused}{extra}\n}}\n\n"
        "ENTRY e {\n  p = f32[8,128] parameter(0)\n  s = u64[2] parameter(1)\n"
        f"  ROOT k = {kernel}\n}}\n"
    )
    computations = {each.id: each for each in module.computations}
    entry = computations[module.entry_computation_id]
    assert kind_of(entry.instructions[-1], computations) is kind


def test_weights_are_those_of_the_benchmark(repo_root: Path) -> None:
    document = json.loads((repo_root / "benchmarks" / "results" / "kernel_weights.json").read_text())
    measured = {row["kind"]: row["weight"] for row in document["rows"] if "weight" in row}
    for kind, weight in WEIGHTS.items():
        if kind is not KernelKind.OTHER:  # its kernels took a microsecond: not taken over, see `WEIGHTS`
            assert measured[kind.value] == pytest.approx(weight, abs=0.01)


def test_moves_are_counted_by_kind_and_by_turn(program: CompilerEstimate) -> None:
    # The inner loop's copy writes {0,1:T(8,128)}: 128 rows of 64, which tiles pad to 128 rows of 128: twice the bytes.
    assert (program.copies, program.copy_bytes) == (1 + 12, ARRAY + 12 * 2 * ARRAY)
    assert (program.transposes, program.transpose_bytes) == (12, 12 * ARRAY)
    assert (program.asynchronous_copies, program.asynchronous_copy_bytes) == (1, ARRAY)


def test_work_without_an_estimate_is_counted_apart(program: CompilerEstimate) -> None:
    # The kernel marked with the largest int64, two reshapes, and in each inner turn a copy and a transpose. The sizes
    # of [2,64,64] and of {0,1} are padded to twice ARRAY. Loop counters are too small to count.
    assert program.unknown == 1 + 2 + 2 * 12
    assert program.unknown_bytes == (2 + 3 + 3 + 12 * (3 + 3)) * ARRAY


def test_a_program_that_hides_more_work_is_not_better_for_fewer_cycles(program: CompilerEstimate) -> None:
    visible = estimate_of(PROGRAM.replace("LIMIT", "4").replace(str(LARGEST), "1000000"))
    assert program.cycles < visible.cycles
    assert program.hides_more_than(visible)
    assert not visible.hides_more_than(program)
    assert not program.hides_more_than(program)


def test_memory(program: CompilerEstimate) -> None:
    # parameters: the array and two scalars of one tile of 512 bytes each; the scalar result is the second parameter
    assert program.argument_bytes == ARRAY + 512 + 512
    assert program.result_bytes == ARRAY
    assert program.hbm_bytes == 2 * ARRAY + 1024
    assert program.vmem_bytes == 2 * ARRAY + 5000, "the fusion's operand, its result and its scratch memory"


def test_a_loop_of_unknown_length_counts_once_and_is_named() -> None:
    text = PROGRAM.replace("pn = s32[]{:T(128)} constant(LIMIT)", "pn = s32[]{:T(128)} get-tuple-element(ps), index=0")
    found = estimate_of(text)
    assert found.cycles == 1_001 + 10 + 3 * 100 + 100_000
    assert found.unknown_loops == ("w",)
    details = found.to_details()
    assert details["loops_counted_once"] == "w"
    assert details["cycles"] == 101_311.0


def test_details_are_numbers_by_name(program: CompilerEstimate) -> None:
    details = program.to_details()
    assert details["copies"] == 13.0
    assert details["hbm_bytes"] == 2 * ARRAY + 1024
    assert "loops_counted_once" not in details
    assert all(isinstance(value, float) for value in details.values())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("f32[5,130]{1,0}", 5 * 130 * 4),
        ("f32[5,130]{1,0:T(8,128)}", 8 * 256 * 4),
        ("f32[5,130]{0,1:T(8,128)}", 136 * 128 * 4),
        ("bf16[3,5,130]{2,1,0:T(8,128)(2,1)}", 3 * 8 * 256 * 2),
        ("bf16[3,5,130]{2,1,0:T(4,128)(2,1)}", 3 * 8 * 256 * 2),
        ("f32[]{:T(128)}", 512),
        ("f32[100]{0:T(8,128)}", 8 * 128 * 4),
        ("pred[1000]{0:T(512)}", 1024),
        ("s4[64]{0:T(128)E(4)}", 64),
    ],
)
def test_tiles_are_stored_whole(shape: str, expected: int) -> None:
    module = parse(f"HloModule m\n\nENTRY e {{\n  ROOT p = {shape} parameter(0)\n}}\n")
    assert tiled_bytes(module.computations[0].instructions[0].shape) == expected


def test_bytes_are_told_apart_by_memory() -> None:
    module = parse(
        "HloModule m\n\nENTRY e {\n"
        "  ROOT p = (f32[8,128]{1,0:T(8,128)}, (bf16[16,128]{1,0:T(8,128)(2,1)S(1)}, s32[]{:T(128)})) parameter(0)\n}\n"
    )
    shape = module.computations[0].instructions[0].shape
    assert bytes_in(shape, HBM) == 4096 + 512
    assert bytes_in(shape, VMEM) == 4096


# ---- With the compiler ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiler() -> Iterator[TpuCompiler]:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    with TpuCompiler("v5e") as opened:
        yield opened


def test_a_real_program(compiler: TpuCompiler, repo_root: Path) -> None:
    example = reader.read(repo_root / "examples" / "transformer_block.hlo")
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(
        compiler.compile(example.module, compile_options(example.proto))
    )
    found = estimate(compiled)
    # A second way to the sum, for a program without loops: every estimate in the text.
    text = compiled.hlo_module.SerializeToString()
    estimates = [int(digits) for digits in re.findall(rb'"estimated_cycles":"(\d+)"', text)]
    assert found.cycles == sum(estimates) > 0
    assert found.kernels == len(estimates)
    assert found.unknown == 0
    # jaxlib 0.10.2, get_compiled_memory_stats of the same program: argument_size_in_bytes 917504; output_size_in_bytes
    # 787456, in which the result's table of pointers has 512 bytes.
    assert (found.argument_bytes, found.result_bytes) == (917_504, 786_944)
