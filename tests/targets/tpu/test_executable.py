"""The header in front of executables, against the one that jaxlib writes."""

from __future__ import annotations

import pytest

from autotune.hlo.reader import read_bytes
from autotune.targets.isolation import Worker, run_in_child
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.executable import for_jax
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.toolchain import ENVIRONMENT
from protos import hlo_pb2, xla_pb2

SEVERAL = """HloModule several, entry_computation_layout={(f32[4,8]{0,1}, s32[])->(bf16[300]{0}, f32[8,4]{1,0}, pred[])}
ENTRY main {
  x = f32[4,8]{0,1} parameter(0)
  n = s32[] parameter(1)
  t = f32[8,4]{1,0} transpose(x), dimensions={1,0}
  c = bf16[] constant(1)
  b = bf16[300]{0} broadcast(c), dimensions={}
  q = pred[] compare(n, n), direction=LT
  ROOT r = (bf16[300]{0}, f32[8,4]{1,0}, pred[]) tuple(b, t, q)
}
"""
DOT = """HloModule dot
ENTRY main {
  x = bf16[256,512]{1,0} parameter(0)
  w = bf16[512,384]{0,1} parameter(1)
  ROOT y = f32[256,384]{1,0} dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def header(serialized: bytes) -> bytes:
    """The length, and as many bytes."""
    length, shift, place = 0, 0, 0
    while True:
        length |= (serialized[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if serialized[place - 1] < 0x80:
            return serialized[: place + length]


@pytest.mark.parametrize("text", [SEVERAL, DOT], ids=["several", "dot"])
@pytest.mark.parametrize("generation", ["v3", "v5e", "tpu7x"])
def test_the_header_is_that_of_jaxlib_for_tpus(libtpu: None, generation: str, text: str) -> None:
    module = read_bytes(text.encode(), "program").proto
    code, options = module.SerializeToString(), compile_options(module)
    with TpuCompiler(generation, time_limit=120) as compiler:
        (found,) = compiler.executables([CompileRequest(code, options)])
        assert isinstance(found, tuple), found
        topology = compiler.topology.name
    with Worker("tests.targets.tpu.jax_child", environment=ENVIRONMENT) as worker:
        theirs = worker.call("serialized", topology, code, options, time_limit=120)
    optimised = xla_pb2.HloModuleProtoWithConfig.FromString(found[0]).hlo_module
    ours = for_jax(found[1], optimised)
    assert header(ours) == header(theirs)
    assert ours[len(header(ours)) :] == found[1]
    # The executables themselves differ by what each way of compiling writes into them, so their sizes must do.
    assert len(found[1]) == pytest.approx(len(theirs) - len(header(theirs)), rel=0.2)


@pytest.mark.parametrize(
    "dtype", ["pred", "s4", "u4", "s8", "u16", "s32", "u64", "f16", "bf16", "f8e4m3fn", "f8e5m2", "f64", "c64", "c128"]
)
def test_types_are_numbered_as_jaxlib_does(dtype: str) -> None:
    text = f"HloModule same\nENTRY main {{ x = {dtype}[16,8] parameter(0) ROOT y = {dtype}[8,16] reshape(x) }}\n"
    module = read_bytes(text.encode(), "same").module
    theirs, optimised = run_in_child("tests.targets.tpu.jax_child", "compiled_for_cpu", module, time_limit=120)
    assert for_jax(b"", hlo_pb2.HloModuleProto.FromString(optimised)) == header(theirs)
