"""The compiler's record of layouts: matching it with nodes, and what became of requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest

from autotune.hlo.modules import instructions
from autotune.hlo.rewrite import FIRST_INPUT, OUTPUT, SECOND_INPUT, Order, constrain_layouts
from autotune.spaces.layout import LayoutConfig
from autotune.targets.isolation import run_in_child
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.estimate import estimate
from autotune.targets.tpu.layout_decisions import Decision, Fate, compare, decisions, place
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2

# A loop body with a dot and a reshape, a fusion with a reshape, two branches of equal form, and an entry with two dots.
SEVERAL = """HloModule several

body {
  bs = (s32[], f32[64,64]) parameter(0)
  bi = s32[] get-tuple-element(bs), index=0
  bv = f32[64,64] get-tuple-element(bs), index=1
  one = s32[] constant(1)
  bj = s32[] add(bi, one)
  body_dot = f32[64,64] dot(bv, bv), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  body_up = f32[8,8,64] reshape(body_dot)
  body_down = f32[64,64] reshape(body_up)
  ROOT br = (s32[], f32[64,64]) tuple(bj, body_down)
}

condition {
  cs = (s32[], f32[64,64]) parameter(0)
  ci = s32[] get-tuple-element(cs), index=0
  n = s32[] constant(3)
  ROOT cc = pred[] compare(ci, n), direction=LT
}

fused {
  fp = f32[64,64] parameter(0)
  fr = f32[4096] reshape(fp)
  ROOT ft = f32[4096] tanh(fr)
}

yes {
  yp = f32[64,64] parameter(0)
  ROOT yes_dot = f32[64,64] dot(yp, yp), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

no {
  np = f32[64,64] parameter(0)
  ROOT no_dot = f32[64,64] dot(np, np), lhs_contracting_dims={0}, rhs_contracting_dims={1}
}

ENTRY main {
  x = f32[64,64] parameter(0)
  p = pred[] parameter(1)
  k = f32[8,16,32] parameter(2)
  batched = f32[8,16,16] dot(k, k), lhs_batch_dims={0}, rhs_batch_dims={0}, lhs_contracting_dims={2}, \
rhs_contracting_dims={2}
  zero = s32[] constant(0)
  t = (s32[], f32[64,64]) tuple(zero, x)
  w = (s32[], f32[64,64]) while(t), body=body, condition=condition
  v = f32[64,64] get-tuple-element(w), index=1
  c = f32[64,64] conditional(p, v, v), true_computation=yes, false_computation=no
  flat = f32[4096] fusion(c), kind=kLoop, calls=fused
  ROOT r = (f32[4096], f32[8,16,16]) tuple(flat, batched)
}
"""
BATCHED: Decision = ((2, 1), (2, 1), (1, 2))
BODY_DOT: Decision = ((0, 1), (), ())
BODY_UP: Decision = ((2, 1, 0), (1, 0))
FREE_RESHAPE: Decision = ((), ())
ROW_DOT: Decision = ((1, 0), (), ())

CONVOLUTION = """HloModule convolution

ENTRY main {
  x = bf16[8,8,8,32]{3,2,1,0} parameter(0)
  k = bf16[3,3,32,64]{3,2,1,0} parameter(1)
  y = bf16[8,8,8,64]{3,2,1,0} convolution(x, k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
  z = bf16[8,8,8,64]{3,2,1,0} tanh(y)
  flat = bf16[8,4096]{1,0} reshape(z)
  v = bf16[4096,128]{1,0} parameter(2)
  ROOT d = bf16[8,128]{1,0} dot(flat, v), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def parse(text: str) -> hlo_pb2.HloModuleProto:
    return hlo_pb2.HloModuleProto.FromString(
        run_in_child("autotune.hlo.jaxlib", "parse_hlo_text", text, time_limit=60.0)
    )


def record(entries: Sequence[Decision]) -> xla_pb2.HloModuleProtoWithConfig:
    """A result with this record and an empty program."""
    compiled = xla_pb2.HloModuleProtoWithConfig()
    for entry in entries:
        node = compiled.config.layout_config.add()
        for order in entry:
            node.lists.add(vals=order)
    return compiled


@pytest.fixture(scope="module")
def several() -> hlo_pb2.HloModuleProto:
    return parse(SEVERAL)


def node_of(module: hlo_pb2.HloModuleProto, name: str) -> int:
    return [instruction.name for instruction in instructions(module)].index(name)


def by_name(module: hlo_pb2.HloModuleProto, taken: Sequence[Decision]) -> dict[str, Decision]:
    names = [instruction.name for instruction in instructions(module)]
    return {names[node]: decision for node, decision in place(taken, module).items()}


def test_the_record_is_read_as_it_stands() -> None:
    assert decisions(record([BATCHED, FREE_RESHAPE])) == (BATCHED, FREE_RESHAPE)
    assert decisions(xla_pb2.HloModuleProtoWithConfig()) == ()


def test_computations_are_found_in_whatever_order_they_are_recorded(several: hlo_pb2.HloModuleProto) -> None:
    body = [BODY_DOT, BODY_UP, FREE_RESHAPE]
    expected = {
        "batched": BATCHED,
        "body_dot": BODY_DOT,
        "body_up": BODY_UP,
        "body_down": FREE_RESHAPE,
        "yes_dot": ROW_DOT,
        "no_dot": ROW_DOT,
    }
    for order in ([*body, ROW_DOT, ROW_DOT, BATCHED], [BATCHED, ROW_DOT, *body, ROW_DOT], [ROW_DOT, *body, BATCHED]):
        taken = order if len(order) == 6 else [*order, ROW_DOT]
        assert by_name(several, taken) == expected, "the branches have equal forms, but also equal decisions"


def test_what_is_not_certain_is_left_out(several: hlo_pb2.HloModuleProto) -> None:
    other: Decision = ((0, 1), (), ())
    found = by_name(several, [BATCHED, ROW_DOT, other, BODY_DOT, BODY_UP, FREE_RESHAPE])
    assert set(found) == {"batched", "body_dot", "body_up", "body_down"}


def test_a_record_of_another_program_matches_nothing(several: hlo_pb2.HloModuleProto) -> None:
    fitting = [BATCHED, ROW_DOT, ROW_DOT, BODY_DOT, BODY_UP, FREE_RESHAPE]
    assert len(place(fitting, several)) == 6
    assert place(fitting[:-1], several) == {}, "a node is missing"
    assert place([((2, 1, 0), (2, 1), (1, 2)), *fitting[1:]], several) == {}, "a dot has two recorded dimensions"
    assert place([((3, 1), (2, 1), (1, 2)), *fitting[1:]], several) == {}, "there is no dimension 3"
    assert place([((1, 1), (2, 1), (1, 2)), *fitting[1:]], several) == {}, "a dimension stands twice"
    assert place([*fitting[:-2], ((2, 1), (1, 0)), FREE_RESHAPE], several) == {}, "a reshape has its full order"


def test_fates_by_hand(several: hlo_pb2.HloModuleProto) -> None:
    requested = LayoutConfig.of(
        {
            (node_of(several, "batched"), OUTPUT): (2, 1, 0),  # kept: [2, 1]
            (node_of(several, "batched"), FIRST_INPUT): (1, 2, 0),  # [2, 1] was taken
            (node_of(several, "batched"), SECOND_INPUT): (1, 2, 0),  # kept: [1, 2]
            (node_of(several, "body_dot"), FIRST_INPUT): (0, 1),  # free
            (node_of(several, "body_up"), OUTPUT): (2, 1, 0),  # kept
            (node_of(several, "body_up"), FIRST_INPUT): (0, 1),  # [1, 0] was taken
            (node_of(several, "body_down"), OUTPUT): (0, 1),  # free
            (node_of(several, "yes_dot"), OUTPUT): (1, 0),  # one of two branches that cannot be told apart
            (node_of(several, "fr"), OUTPUT): (0,),  # inside a fusion: nothing is recorded
        }
    )
    other: Decision = ((0, 1), (), ())
    taken = [BATCHED, ROW_DOT, other, BODY_DOT, BODY_UP, FREE_RESHAPE]
    found = compare(requested, several, record(taken))
    assert found.counts == {
        ("dot", OUTPUT, Fate.KEPT): 1,
        ("dot", FIRST_INPUT, Fate.REFUSED): 1,
        ("dot", SECOND_INPUT, Fate.KEPT): 1,
        ("dot", FIRST_INPUT, Fate.FREE): 1,
        ("reshape", OUTPUT, Fate.KEPT): 1,
        ("reshape", FIRST_INPUT, Fate.REFUSED): 1,
        ("reshape", OUTPUT, Fate.FREE): 1,
        ("dot", OUTPUT, Fate.UNKNOWN): 1,
        ("reshape", OUTPUT, Fate.UNKNOWN): 1,
    }
    details = found.to_details()
    assert [details[f"layouts_{fate.value}"] for fate in Fate] == [3.0, 2.0, 2.0, 2.0]
    assert details["layouts_refused_dot_first_input"] == 1.0
    assert json.loads(str(details["layouts_taken"])) == [[list(order) for order in entry] for entry in taken]


def test_a_search_with_too_many_orders_is_given_up() -> None:
    """Forty computations with 1 to 40 free reshapes: every one of 40! orders fits."""
    text = "HloModule many\n\n"
    for index in range(40):
        reshapes = "".join(f"  r{index}_{each} = f32[4] reshape(a{index})\n" for each in range(index + 1))
        root = f"  ROOT o{index} = f32[2,2] negate(a{index})\n"
        text += f"callee{index} {{\n  a{index} = f32[2,2] parameter(0)\n{reshapes}{root}}}\n\n"
    calls = "".join(f"  c{index} = f32[2,2] call(p), to_apply=callee{index}\n" for index in range(40))
    text += f"ENTRY main {{\n  p = f32[2,2] parameter(0)\n{calls}  ROOT r = f32[2,2] add(c0, c1)\n}}\n"
    assert place([FREE_RESHAPE] * sum(range(1, 41)), parse(text)) == {}


# ---- With the compiler ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiler() -> Iterator[TpuCompiler]:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    with TpuCompiler("v5e") as opened:
        yield opened


def before(compiler: TpuCompiler, text: str) -> hlo_pb2.HloModuleProto:
    module = parse(text)
    return hlo_pb2.HloModuleProto.FromString(
        compiler.before_layout_assignment(module.SerializeToString(), compile_options(module))
    )


def compiled_with(
    compiler: TpuCompiler, module: hlo_pb2.HloModuleProto, orders: Mapping[tuple[int, int], Order]
) -> xla_pb2.HloModuleProtoWithConfig:
    constrained = constrain_layouts(module, orders)
    result = compiler.compile(constrained.SerializeToString(), compile_options(constrained))
    return xla_pb2.HloModuleProtoWithConfig.FromString(result)


def node_with(module: hlo_pb2.HloModuleProto, opcode: str) -> int:
    return [instruction.opcode for instruction in instructions(module)].index(opcode)


def test_a_convolution_keeps_what_it_can_do_and_refuses_the_rest(compiler: TpuCompiler) -> None:
    module = before(compiler, CONVOLUTION)
    node = node_with(module, "convolution")
    default = compiled_with(compiler, module, {})
    assert place(decisions(default), module)[node] == ((3, 0), (3, 0), (3, 2)), "features minor, batch next"

    batch_minor = {(node, OUTPUT): (0, 3, 2, 1)}
    kept = compiled_with(compiler, module, batch_minor)
    assert place(decisions(kept), module)[node][OUTPUT] == (0, 3)
    assert compare(LayoutConfig.of(batch_minor), module, kept).counts == {("convolution", OUTPUT, Fate.KEPT): 1}

    row_minor = {(node, OUTPUT): (1, 2, 3, 0)}  # the emitter cannot write a spatial dimension minor
    refused = compiled_with(compiler, module, row_minor)
    assert compare(LayoutConfig.of(row_minor), module, refused).counts == {("convolution", OUTPUT, Fate.REFUSED): 1}
    assert estimate(refused).copy_bytes > estimate(default).copy_bytes, "a refusal costs a copy"


def test_dots_and_reshapes(compiler: TpuCompiler) -> None:
    module = before(compiler, CONVOLUTION)
    dot = node_with(module, "dot")
    taken = place(decisions(compiled_with(compiler, module, {})), module)
    assert len(taken) == 3
    assert taken[dot][1:] == ((), ()), "inputs of a dot of rank two are free"
    inputs = {(dot, FIRST_INPUT): (0, 1), (dot, SECOND_INPUT): (0, 1)}
    found = compare(LayoutConfig.of(inputs), module, compiled_with(compiler, module, inputs))
    assert (found.total(Fate.FREE), found.total(Fate.UNKNOWN)) == (2, 0)


def test_a_batched_dot_keeps_an_order_of_its_two_minor_dimensions(compiler: TpuCompiler) -> None:
    plain = SEVERAL.replace("fusion(c), kind=kLoop, calls=fused", "reshape(c)")  # no fusions before layout assignment
    module = before(compiler, plain)
    node = next(  # the compiler may rename it, but it is the only one of rank three
        index
        for index, instruction in enumerate(instructions(module))
        if instruction.opcode == "dot" and len(instruction.shape.dimensions) == 3
    )
    swapped = {(node, OUTPUT): (1, 2, 0)}
    compiled = compiled_with(compiler, module, swapped)
    assert compare(LayoutConfig.of(swapped), module, compiled).counts == {("dot", OUTPUT, Fate.KEPT): 1}
    batch_minor = {(node, OUTPUT): (0, 2, 1)}
    compiled = compiled_with(compiler, module, batch_minor)
    assert compare(LayoutConfig.of(batch_minor), module, compiled).counts == {("dot", OUTPUT, Fate.REFUSED): 1}
