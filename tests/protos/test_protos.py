"""The wire formats agree with XLA's own, and the generated modules with the `.proto` files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from protos import generate, hlo_pb2, tuning_pb2, xla_data_pb2

ROOT = Path(__file__).resolve().parents[2]

# Prints the descriptors of the XLA that is compiled into tensorflow, as JSON: message -> field number -> facts.
_XLA_FIELDS = """
import json
from google.protobuf import descriptor_pb2
from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

messages, enums = {}, {}
def visit(prefix, message):
    name = prefix + message.name
    messages[name] = {
        field.number: [field.name, field.type, field.label, field.type_name.removeprefix(".xla."),
                       message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""]
        for field in message.field
    }
    for enum in message.enum_type:
        enums[name + "." + enum.name] = {value.number: value.name for value in enum.value}
    for nested in message.nested_type:
        visit(name + ".", nested)
for module in (xla_data_pb2, hlo_pb2):
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        visit("", message)
    for enum in file.enum_type:
        enums[enum.name] = {value.number: value.name for value in enum.value}
print(json.dumps([messages, enums]))
"""


def _run(script: str) -> str:
    """Runs a script in a fresh interpreter at the root of the repository; tensorflow must not enter this process."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed (extra `tensorflow`)")
    finished = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    written = generate.generate(tmp_path)
    modules = [
        f"{name}_pb2.{suffix}"
        for name in ("hlo", "measurement", "tuning", "xla_data", "xla")
        for suffix in ("py", "pyi")
    ]
    assert {path.name for path in written} == {*modules, "measurement_pb2_grpc.py"}
    for path in written:
        committed = ROOT / "protos" / path.name
        assert committed.read_text() == path.read_text(), f"{committed} is out of date: run python -m protos.generate"


def _ours() -> tuple[dict[str, dict[str, list[object]]], dict[str, dict[str, str]]]:
    """The descriptors of our messages in the form of `_XLA_FIELDS` (keys as JSON makes them: text)."""
    messages: dict[str, dict[str, list[object]]] = {}
    enums: dict[str, dict[str, str]] = {}

    def visit(prefix: str, message: descriptor_pb2.DescriptorProto) -> None:
        name = prefix + message.name
        messages[name] = {
            str(field.number): [
                field.name,
                field.type,
                field.label,
                field.type_name.removeprefix(".xla_autotune."),
                message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
            ]
            for field in message.field
        }
        for enum in message.enum_type:
            enums[f"{name}.{enum.name}"] = {str(value.number): value.name for value in enum.value}
        for nested in message.nested_type:
            visit(f"{name}.", nested)

    for module in (xla_data_pb2, hlo_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        assert file.package == "xla_autotune"
        for message in file.message_type:
            visit("", message)
        for enum in file.enum_type:
            enums[enum.name] = {str(value.number): value.name for value in enum.value}
    return messages, enums


def test_every_field_is_as_in_xla() -> None:
    xla_messages, xla_enums = json.loads(_run(_XLA_FIELDS))
    messages, enums = _ours()
    for name, fields in messages.items():
        for number, facts in fields.items():
            assert facts == xla_messages[name][number], f"{name}, field {number}"
    for name, values in enums.items():
        assert values == xla_enums[name], name
    # What is left out on purpose, so that a field which XLA adds is noticed when tensorflow is upgraded.
    left_out = {
        f"{name}.{facts[0]}"
        for name, fields in messages.items()
        for number, facts in xla_messages[name].items()
        if number not in fields
    }
    assert left_out == {
        "OpMetadata.profile_type",
        "OpMetadata.profile_info",
        "HloModuleProto.profile_info",
        "HloProto.buffer_assignment",
    }


@pytest.mark.parametrize("tensorflow_first", [True, False])
def test_lives_with_tensorflow_in_one_process(tensorflow_first: bool) -> None:
    imports = [
        "import tensorflow; from tensorflow.compiler.xla.service import hlo_pb2 as theirs",
        "from protos import hlo_pb2 as ours, tuning_pb2",
    ]
    lines = imports if tensorflow_first else imports[::-1]
    use = [
        "a = ours.HloModuleProto(name='m', computations=[ours.HloComputationProto(name='c', root_id=7)])",
        "b = theirs.HloModuleProto.FromString(a.SerializeToString())",
        "assert b.computations[0].root_id == 7 and b.SerializeToString() == a.SerializeToString()",
        "print(ours.DESCRIPTOR.package, theirs.DESCRIPTOR.package)",
    ]
    assert _run("\n".join(lines + use)).split() == ["xla_autotune", "xla"]


def _varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low]) if value < 0x80 else bytes([low | 0x80]) + _varint(value >> 7)


def test_unknown_fields_survive_a_round_trip() -> None:
    # Field 13 of the module (profile_info, left out) holds 3 bytes; field 4000 of an instruction holds the number 5.
    instruction = hlo_pb2.HloInstructionProto(name="x", opcode="add").SerializeToString() + _varint(4000 << 3) + b"\x05"
    computation = b"\x12" + _varint(len(instruction)) + instruction
    module = b"\x0a\x01m" + b"\x1a" + _varint(len(computation)) + computation + _varint(13 << 3 | 2) + b"\x03abc"
    parsed = hlo_pb2.HloModuleProto.FromString(module)
    assert parsed.computations[0].instructions[0].opcode == "add"
    parsed.name = "n"
    again = parsed.SerializeToString()
    assert _varint(13 << 3 | 2) + b"\x03abc" in again
    assert _varint(4000 << 3) + b"\x05" in again
    assert len(again) == len(module)


def test_literal_round_trip() -> None:
    literal = xla_data_pb2.LiteralProto(
        shape=xla_data_pb2.ShapeProto(element_type=xla_data_pb2.BF16, dimensions=[2]), bf16s=b"\x80\x3f\x00\xc0"
    )
    literal.tuple_literals.add(f32s=[1.0, float("inf"), -0.0], s4s=b"\x0f")
    again = xla_data_pb2.LiteralProto.FromString(literal.SerializeToString())
    assert again == literal
    assert again.bf16s == b"\x80\x3f\x00\xc0"
    assert str(again.tuple_literals[0].f32s[2]) == "-0.0"


def test_published_tuning_data(shared: Path) -> None:
    data = tuning_pb2.ModuleTuningData.FromString((shared / "data/tpugraphs/module_tuning_data_layout.pb").read_bytes())
    # shared/README.md: 3,163 instructions, 122 runs of which 112 are good.
    assert sum(len(computation.instructions) for computation in data.module.computations) == 3163
    assert len(data.runs) == 122
    assert sum(not run.error for run in data.runs) == 112
    assert all(len(run.module_config.layout_config.nodes) == len(data.config_index_to_node) for run in data.runs)
