"""The fingerprint follows what a program computes and nothing else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from autotune.errors import ProgramReadError
from autotune.hlo.fingerprint import fingerprint
from autotune.hlo.reader import read_bytes
from autotune.targets.isolation import Worker
from protos import hlo_pb2

TEXT = """HloModule program, entry_computation_layout={(f32[8,16]{1,0}, f32[16,4]{1,0})->(f32[8,4]{1,0}, f32[])}

maximum_of {
  first = f32[] parameter(0)
  second = f32[] parameter(1)
  ROOT largest = f32[] maximum(first, second)
}

ENTRY main {
  x = f32[8,16]{1,0} parameter(0), metadata={op_name="x" source_file="model.py" source_line=3}
  w = f32[16,4]{1,0} parameter(1)
  product = f32[8,4]{1,0} dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  scale = f32[] constant(2)
  wide = f32[8,4]{1,0} broadcast(scale), dimensions={}
  scaled = f32[8,4]{1,0} multiply(product, wide)
  unused = f32[8,4]{1,0} negate(product)
  also_unused = f32[8,4]{1,0} exponential(product)
  low = f32[] constant(-inf)
  peak = f32[] reduce(scaled, low), dimensions={0,1}, to_apply=maximum_of
  ROOT both = (f32[8,4]{1,0}, f32[]) tuple(scaled, peak)
}
"""


@pytest.fixture(scope="module")
def module() -> bytes:
    return read_bytes(TEXT.encode(), "x").module


def _of_texts(texts: list[str]) -> list[str]:
    with Worker("autotune.hlo.jaxlib") as worker:
        return [fingerprint(worker.call("parse_hlo_text", text, time_limit=60.0)) for text in texts]


def test_names_metadata_and_locations_do_not_count(module: bytes) -> None:
    renamed = TEXT
    for name in ("program", "maximum_of", "main", "product", "scaled", "unused", "peak"):
        renamed = renamed.replace(name, f"{name}_renamed")
    moved = TEXT.replace("model.py", "elsewhere.py").replace("source_line=3", "source_line=99")
    located = TEXT.replace(
        "tuple(scaled, peak)", 'tuple(scaled, peak), metadata={op_name="both" deduplicated_name="d"}'
    )
    assert set(_of_texts([TEXT, renamed, moved, located])) == {fingerprint(module)}


CHANGES = {
    "opcode": ("multiply(product", "add(product"),
    "operand order": (
        "lhs_contracting_dims={1}, rhs",
        "lhs_contracting_dims={1}, operand_precision={highest,highest}, rhs",
    ),
    "literal": ("constant(2)", "constant(3)"),
    "layout": ("product = f32[8,4]{1,0}", "product = f32[8,4]{0,1}"),
    "entry layout": ("f32[16,4]{1,0})->", "f32[16,4]{0,1})->"),
    "called computation": ("maximum(first, second)", "minimum(first, second)"),
    "operands of a called computation": ("maximum(first, second)", "maximum(second, first)"),
    "dead code": ("negate(product)", "abs(product)"),
    "partitions": ("HloModule program,", "HloModule program, num_partitions=2,"),
    "replicas": ("HloModule program,", "HloModule program, replica_count=2,"),
    "aliasing": ("HloModule program,", "HloModule program, input_output_alias={ {1}: (0, {}, may-alias) },"),
    "attributes": ("negate(product)", 'negate(product), frontend_attributes={kind="slow"}'),
    "control": ("exponential(product)", "exponential(product), control-predecessors={unused}"),
    "sharding": ("w = f32[16,4]{1,0} parameter(1)", "w = f32[16,4]{1,0} parameter(1), sharding={devices=[2,1]<=[2]}"),
}


def test_everything_else_counts(module: bytes) -> None:
    changed = []
    for before, after in CHANGES.values():
        assert TEXT.count(before) == 1, before
        changed.append(TEXT.replace(before, after))
    found = dict(zip(CHANGES, _of_texts(changed), strict=True))
    assert fingerprint(module) not in found.values()
    assert len(set(found.values())) == len(found), f"two changes give one fingerprint: {found}"


def _shuffled(module: bytes, seed: int) -> bytes:
    """Other ids, and another order of instructions and computations."""
    random = np.random.default_rng(seed)
    proto = hlo_pb2.HloModuleProto.FromString(module)
    ids: dict[int, int] = {}

    def new(identity: int) -> int:
        return ids.setdefault(identity, int(random.integers(1, 2**40)))

    for computation in proto.computations:
        for instruction in computation.instructions:
            instruction.id = new(instruction.id)
            instruction.operand_ids[:] = map(new, instruction.operand_ids)
            instruction.control_predecessor_ids[:] = map(new, instruction.control_predecessor_ids)
            instruction.called_computation_ids[:] = [1000 + i for i in instruction.called_computation_ids]
        computation.root_id = new(computation.root_id)
        computation.id += 1000
        order = random.permutation(len(computation.instructions))
        copies = hlo_pb2.HloComputationProto(instructions=[computation.instructions[i] for i in order])
        del computation.instructions[:]
        computation.instructions.MergeFrom(copies.instructions)
    proto.entry_computation_id += 1000
    reversed_order = list(proto.computations)[::-1]
    copy = hlo_pb2.HloModuleProto(computations=reversed_order)
    del proto.computations[:]
    proto.computations.MergeFrom(copy.computations)
    return proto.SerializeToString()


@pytest.mark.parametrize("seed", range(5))
def test_ids_and_order_do_not_count(seed: int, module: bytes) -> None:
    assert _shuffled(module, seed) != module
    assert fingerprint(_shuffled(module, seed)) == fingerprint(module)


def test_printing_and_parsing_keeps_it(module: bytes) -> None:
    with Worker("autotune.hlo.jaxlib") as worker:
        text = worker.call("print_hlo_text", module, time_limit=60.0)
        assert fingerprint(worker.call("parse_hlo_text", text, time_limit=60.0)) == fingerprint(module)


def test_large_constants_survive_printing() -> None:
    values = ", ".join(str(value) for value in range(100))
    text = f"HloModule m\nENTRY e {{\n  ROOT c = s32[100]{{0}} constant({{{values}}})\n}}\n"
    with Worker("autotune.hlo.jaxlib") as worker:
        module = worker.call("parse_hlo_text", text, time_limit=60.0)
        again = worker.call("parse_hlo_text", worker.call("print_hlo_text", module, time_limit=60.0), time_limit=60.0)
    literal = hlo_pb2.HloModuleProto.FromString(again).computations[0].instructions[0].literal
    assert list(literal.s32s) == list(range(100))


def test_channels_count_by_which_are_the_same() -> None:
    def collectives(first: int, second: int) -> str:
        groups = "replica_groups={{0,1}}, to_apply=sum"
        return (
            "HloModule m, replica_count=2\nsum {\n  a = f32[] parameter(0)\n  b = f32[] parameter(1)\n"
            "  ROOT s = f32[] add(a, b)\n}\nENTRY e {\n  p = f32[4] parameter(0)\n"
            f"  q = f32[4] all-reduce(p), channel_id={first}, {groups}\n"
            f"  ROOT r = f32[4] all-reduce(q), channel_id={second}, {groups}\n}}\n"
        )

    one, same, other = _of_texts([collectives(1, 2), collectives(7, 5), collectives(3, 3)])
    assert one == same
    assert one != other


def test_spellings_of_other_versions_do_not_count(module: bytes) -> None:
    proto = hlo_pb2.HloModuleProto.FromString(module)
    for computation in proto.computations:
        for instruction in computation.instructions:
            instruction.ClearField("frontend_attributes")
            instruction.shape.ClearField("is_dynamic_dimension")
            instruction.shape.layout.tail_padding_alignment_in_elements = 0
            instruction.feature_group_count = 1
            instruction.statistics_viz.stat_index_to_visualize = 3
    assert fingerprint(proto.SerializeToString()) == fingerprint(module)


def test_a_deep_program_needs_no_deep_recursion() -> None:
    proto = hlo_pb2.HloModuleProto(name="deep", entry_computation_id=1)
    computation = proto.computations.add(id=1, root_id=5000)
    computation.instructions.add(id=0, opcode="parameter")
    for identity in range(1, 5001):
        computation.instructions.add(id=identity, opcode="negate", operand_ids=[identity - 1])
    assert len(fingerprint(proto.SerializeToString())) == 32


def test_dangling_references_are_an_error(module: bytes) -> None:
    proto = hlo_pb2.HloModuleProto.FromString(module)
    proto.computations[1].instructions[2].operand_ids[:] = [12345, 12345]
    with pytest.raises(ProgramReadError, match="it refers to id 12345, which does not exist"):
        fingerprint(proto.SerializeToString())


def test_a_program_can_be_sent_to_another_process(module: bytes) -> None:
    program = read_bytes(TEXT.encode(), "x")
    size = len(pickle.dumps(program))
    assert program.proto.name == "program"
    assert program.fingerprint == fingerprint(module)
    again = pickle.loads(pickle.dumps(program))
    assert again == program
    assert again.fingerprint == program.fingerprint
    assert len(pickle.dumps(program)) == size, "what is cached is not sent"
