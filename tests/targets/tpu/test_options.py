"""Options on the wire: XLA's own reader (in jaxlib, in a process of its own) is the second implementation."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from autotune.targets.isolation import PACKAGE_ROOT
from autotune.targets.tpu.options import compile_options, with_flags
from protos.hlo_pb2 import HloModuleProto
from protos.xla_data_pb2 import BF16, TOKEN, TUPLE, LayoutProto, ShapeProto
from protos.xla_pb2 import CompileOptionsProto
from tests.targets.tpu import programs

_XLA_READS = """
import json, sys
from jaxlib import xla_client
options = xla_client.CompileOptions.ParseFromString(sys.stdin.buffer.read())
build = options.executable_build_options
print(json.dumps({
    "arguments": [str(shape) for shape in options.argument_layouts or []],
    "result": str(build.result_layout),
    "counts": [build.num_replicas, build.num_partitions],
    "spmd": build.use_spmd_partitioning,
    "shardy": build.use_shardy_partitioner,
    "devices": str(build.device_assignment),
    "bytes": options.SerializeAsString().hex(),
}))
"""


def _read_by_xla(options: bytes) -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-c", _XLA_READS], input=options, cwd=PACKAGE_ROOT, capture_output=True, timeout=180
    )
    assert finished.returncode == 0, finished.stderr.decode()[-2000:]
    facts: dict[str, Any] = json.loads(finished.stdout)
    return facts


def test_xla_reads_what_was_meant() -> None:
    flags: dict[str, str | int | bool] = {"xla_a": "text", "xla_b": True, "xla_c": 7, "xla_d": False}
    options = compile_options(programs.module(programs.DOT), flags=flags, backend_only=True, partitions=3, replicas=2)
    facts = _read_by_xla(options)
    assert [text.replace(" ", "") for text in facts["arguments"]] == ["bf16[256,512]{0,1}", "bf16[512,128]{1,0}"]
    assert facts["result"].replace(" ", "") == "bf16[256,128]{0,1}"
    assert facts["counts"] == [2, 3]
    assert facts["spmd"]
    assert not facts["shardy"]
    # Devices of one replica are neighbours.
    expected = "DeviceAssignment{replica_count=2, computation_count=3, Computation0{0 3} Computation1{1 4} "
    assert facts["devices"] == expected + "Computation2{2 5}}"
    # What XLA writes after reading, read by our messages: nothing was lost or landed in another field.
    again = CompileOptionsProto.FromString(bytes.fromhex(facts["bytes"]))
    ours = CompileOptionsProto.FromString(options)
    assert again.env_option_overrides == ours.env_option_overrides
    assert again.argument_layouts == ours.argument_layouts
    for field in ours.executable_build_options.DESCRIPTOR.fields:
        found, meant = (getattr(each.executable_build_options, field.name) for each in (again, ours))
        assert found == meant, field.name
    assert ours.executable_build_options.run_backend_only


def test_layouts_that_the_module_does_not_have_are_left_to_the_compiler() -> None:
    plain = ShapeProto(element_type=BF16, dimensions=[4])
    placed = ShapeProto(element_type=BF16, dimensions=[4], layout=LayoutProto(minor_to_major=[0]))
    pair = ShapeProto(element_type=TUPLE, tuple_shapes=[placed, ShapeProto(element_type=TOKEN)])
    module = HloModuleProto()
    module.host_program_shape.parameters.extend([placed, plain])
    module.host_program_shape.result.CopyFrom(pair)
    options = CompileOptionsProto.FromString(compile_options(module))
    assert not options.argument_layouts, "one of two has no layout"
    assert options.executable_build_options.result_layout == pair
    module.host_program_shape.parameters[1].CopyFrom(pair)
    module.host_program_shape.result.tuple_shapes[0].CopyFrom(plain)
    options = CompileOptionsProto.FromString(compile_options(module))
    assert list(options.argument_layouts) == [placed, pair]
    assert not options.executable_build_options.HasField("result_layout")


def test_partitioned_module_is_not_divided_again() -> None:
    module, flags = HloModuleProto(), {"xla_disable_hlo_passes": "cse"}
    options = CompileOptionsProto.FromString(compile_options(module, flags=flags, partitions=4, partitioned=True))
    assert options.env_option_overrides["xla_disable_hlo_passes"].string_field == "cse,tpu-spmd-partitioning"
    options = CompileOptionsProto.FromString(compile_options(module, flags=flags, partitioned=True))
    assert options.env_option_overrides["xla_disable_hlo_passes"].string_field == "cse", "one device: never divided"


def test_shardy_where_the_module_asks_for_it() -> None:
    module = HloModuleProto()
    module.frontend_attributes.map["xla.sdy.meshes"] = "{}"
    options = CompileOptionsProto.FromString(compile_options(module, partitions=2))
    assert options.executable_build_options.use_shardy_partitioner


def test_more_flags_replace_flags_of_the_same_name() -> None:
    first = compile_options(HloModuleProto(), flags={"xla_a": "1", "xla_b": 2})
    both = CompileOptionsProto.FromString(with_flags(first, {"xla_b": True})).env_option_overrides
    assert both["xla_a"].string_field == "1"
    assert both["xla_b"].WhichOneof("value") == "bool_field"


def test_impossible_values() -> None:
    with pytest.raises(ValueError, match=r"flag xla_a: .* found 1\.5"):
        compile_options(HloModuleProto(), flags={"xla_a": 1.5})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="found 0 and 1"):
        compile_options(HloModuleProto(), partitions=0)
