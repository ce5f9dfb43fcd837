"""Programs for the TPU compiler, and what the tests ask of it."""

from __future__ import annotations

from autotune.hlo.reader import read_bytes
from autotune.hlo.window_config import ForcedTile, WindowConfig, read_window_config
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2

CONVOLUTION_AND_DOTS = """HloModule convolution_and_dots
ENTRY main {
  x = bf16[32,16,16,64]{3,2,1,0} parameter(0)
  k = bf16[3,3,64,128]{3,2,1,0} parameter(1)
  c = bf16[32,16,16,128]{3,2,1,0} convolution(x, k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
  zero = bf16[] constant(0)
  zeros = bf16[32,16,16,128]{3,2,1,0} broadcast(zero), dimensions={}
  relu = bf16[32,16,16,128]{3,2,1,0} maximum(c, zeros)
  flat = bf16[512,2048]{1,0} reshape(relu)
  w1 = bf16[2048,512]{1,0} parameter(2)
  h = bf16[512,512]{1,0} dot(flat, w1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  t = bf16[512,512]{1,0} tanh(h)
  w2 = bf16[512,384]{1,0} parameter(3)
  ROOT y = bf16[512,384]{1,0} dot(t, w2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""

LOOP_OF_DOTS = """HloModule loop_of_dots
body {
  state = (s32[], bf16[256,512]{1,0}, bf16[512,512]{1,0}) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  h = bf16[256,512]{1,0} get-tuple-element(state), index=1
  w = bf16[512,512]{1,0} get-tuple-element(state), index=2
  one = s32[] constant(1)
  next = s32[] add(i, one)
  p = bf16[256,512]{1,0} dot(h, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  t = bf16[256,512]{1,0} tanh(p)
  ROOT out = (s32[], bf16[256,512]{1,0}, bf16[512,512]{1,0}) tuple(next, t, w)
}
condition {
  state = (s32[], bf16[256,512]{1,0}, bf16[512,512]{1,0}) parameter(0)
  i = s32[] get-tuple-element(state), index=0
  n = s32[] constant(7)
  ROOT go = pred[] compare(i, n), direction=LT
}
largest_of {
  first = bf16[] parameter(0)
  second = bf16[] parameter(1)
  ROOT largest = bf16[] maximum(first, second)
}
ENTRY main {
  h0 = bf16[256,512]{1,0} parameter(0)
  w = bf16[512,512]{1,0} parameter(1)
  zero = s32[] constant(0)
  start = (s32[], bf16[256,512]{1,0}, bf16[512,512]{1,0}) tuple(zero, h0, w)
  end = (s32[], bf16[256,512]{1,0}, bf16[512,512]{1,0}) while(start), condition=condition, body=body
  h = bf16[256,512]{1,0} get-tuple-element(end), index=1
  w2 = bf16[512,384]{1,0} parameter(2)
  y = bf16[256,384]{1,0} dot(h, w2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  low = bf16[] constant(-inf)
  ROOT top = bf16[256]{0} reduce(y, low), dimensions={1}, to_apply=largest_of
}
"""

PROGRAMS = {"convolution and dots": CONVOLUTION_AND_DOTS, "loop of dots": LOOP_OF_DOTS}

CANDIDATES = {
    "convolution and dots": {
        "fusion.5": ForcedTile((8, 16, 4, 1), (3, 3, 8, 1), 34386),
        "copy.2": ForcedTile((16, 16, 2, 1), (), 21200),
        "fusion.8": ForcedTile((32, 4), (256, 4), 19014),
        "fusion.11": ForcedTile((32, 3), (64, 3), 9621),
    },
    "loop of dots": {
        "copy.11": ForcedTile((16, 4), (), 5812),
        "convolution_tanh_fusion.2": ForcedTile((32, 2), (64, 2), 8299),
        "convolution_reduce_fusion": ForcedTile((32, 2), (64, 2), 7767),
    },
}
"""Tiles that libtpu 0.0.52 lists for v5e in its verbose log and does not choose: each is its second or third best."""


def read(text: str) -> hlo_pb2.HloModuleProto:
    """HLO text, with a compiler's traces if it has any."""
    return read_bytes(text.encode(), "program.hlo", keep_optimised=True).proto


def optimise(
    compiler: TpuCompiler,
    module: hlo_pb2.HloModuleProto,
    *,
    flags: dict[str, str | int | bool] | None = None,
    backend_only: bool = False,
) -> hlo_pb2.HloModuleProto:
    options = compile_options(module, flags=flags or {}, backend_only=backend_only)
    optimised = compiler.compile(module.SerializeToString(), options)
    return xla_pb2.HloModuleProtoWithConfig.FromString(optimised).hlo_module


def windows(module: hlo_pb2.HloModuleProto) -> dict[str, WindowConfig]:
    """The tile of each instruction that has one, by name."""
    read = {i.name: read_window_config(i) for computation in module.computations for i in computation.instructions}
    return {name: window for name, window in read.items() if window is not None}
