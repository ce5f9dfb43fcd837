"""Counts and costs of a program whose numbers were worked out by hand."""

from __future__ import annotations

import io
import json

from rich.console import Console

from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from autotune.hlo.statistics import ConfigurableNode, Costs, Tensor, space_sizes, statistics
from autotune.rendering.inspect import render_statistics
from protos import hlo_pb2
from tests import programs


def test_two_dots() -> None:
    facts = statistics(programs.two_dots())
    assert (facts.name, facts.computations, facts.instructions) == ("two_dots", 1, 6)
    assert facts.opcodes == {"parameter": 3, "dot": 2, "tanh": 1}
    assert facts.parameters == (
        Tensor("x", "f32[8,16]", 512),
        Tensor("w", "f32[16,32]", 2048),
        Tensor("v", "f32[32,8]", 1024),
    )
    assert facts.results == (Tensor("result 0", "f32[8,8]", 256),)
    # Multiply and add count two: 2 * 8*16*32 + 2 * 8*32*8; one tanh per element of f32[8,32].
    # Bytes: every instruction reads its operands and writes its result; parameters cost nothing.
    first, tanh, second = 512 + 2048 + 1024, 1024 + 1024, 1024 + 1024 + 256
    assert facts.costs == Costs(flops=8192 + 4096, transcendentals=256, bytes_accessed=first + tanh + second)
    assert [(node.opcode, node.output, node.inputs) for node in facts.configurable_nodes] == [
        ("dot", "f32[8,32]", ("f32[8,16]", "f32[16,32]")),
        ("dot", "f32[8,8]", ("f32[8,32]", "f32[32,8]")),
    ]
    assert (facts.replicas, facts.partitions, facts.custom_calls) == (1, 1, {})
    json.dumps(facts.to_json())


def test_node_indices_run_over_all_computations() -> None:
    text = """HloModule m, num_partitions=2
f {
  a = f32[4,4] parameter(0)
  ROOT r = f32[16] reshape(a)
}
ENTRY e {
  p = f32[4,4] parameter(0)
  c = f32[16] call(p), to_apply=f
  q = (s32[], pred[3]) parameter(1)
  s = f32[16] custom-call(c), custom_call_target="Sharding"
  ROOT t = (f32[16], (s32[], pred[3])) tuple(s, q)
}
"""
    program = read_bytes(text.encode(), "x")
    facts = statistics(program)
    (node,) = facts.configurable_nodes
    order = [i.name for computation in program.proto.computations for i in computation.instructions]
    assert node == ConfigurableNode(order.index("r"), "r", "reshape", "f32[16]", ("f32[4,4]",))
    assert facts.custom_calls == {"Sharding": 1}
    assert (facts.replicas, facts.partitions) == (1, 2)
    assert facts.parameters[1] == Tensor("q", "(s32[], pred[3])", 4 + 3)
    assert [tensor.size for tensor in facts.results] == [64, 4, 3]


def test_costs_that_xla_cannot_count_have_a_reason() -> None:
    # XLA does not know what the call does, and marks that with a negative count.
    text = """HloModule m
ENTRY e {
  p = f32[4] parameter(0)
  ROOT c = f32[4] custom-call(p), custom_call_target="mystery"
}
"""
    facts = statistics(read_bytes(text.encode(), "x"))
    assert facts.costs is None
    assert facts.costs_missing == "the program has custom calls whose work XLA does not know"


def test_a_program_that_xla_does_not_load_has_a_reason_too() -> None:
    module = hlo_pb2.HloModuleProto()
    module.CopyFrom(programs.two_dots().proto)
    module.ClearField("host_program_shape")
    facts = statistics(Program("broken", module.SerializeToString(), "made for the test"))
    assert facts.costs is None
    assert "shape" in facts.costs_missing


def test_the_tables_say_it_all() -> None:
    facts = statistics(programs.two_dots())
    sizes = space_sizes(programs.two_dots())
    console = Console(file=io.StringIO(), width=200)
    console.print(render_statistics(facts, sizes | {"odd": "no choice", "large": 10**50}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "two_dots (HLO text)",
        facts.fingerprint,
        "12.3 k",
        "2 dot",
        "f32[16,32]",
        "parameter 3, dot 2, tanh 1",
    ):
        assert words in shown
    assert "parameters: 3, 3.58 kB" in shown
    assert "no choice" in shown
    assert "about 10^50 configs" in shown
