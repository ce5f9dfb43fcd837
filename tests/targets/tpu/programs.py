"""Programs for the tests of the TPU compiler."""

from __future__ import annotations

import functools
import json

from autotune.hlo.reader import read_bytes
from autotune.targets.tpu.options import compile_options
from protos.hlo_pb2 import HloModuleProto
from protos.xla_pb2 import HloModuleProtoWithConfig

DOT = """HloModule dot, entry_computation_layout={(bf16[256,512]{0,1}, bf16[512,128]{1,0})->bf16[256,128]{0,1}}

ENTRY main {
  a = bf16[256,512]{0,1} parameter(0)
  b = bf16[512,128]{1,0} parameter(1)
  ROOT d = bf16[256,128]{0,1} dot(a, b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""
"""The parameter `a` and the result lie column by column, which is not what the compiler would choose."""

DIVIDED_DOT = """HloModule divided_dot, num_partitions=4

ENTRY main {
  a = bf16[256,512]{1,0} parameter(0), sharding={devices=[1,4]<=[4]}
  b = bf16[512,128]{1,0} parameter(1), sharding={devices=[4,1]<=[4]}
  ROOT d = bf16[256,128]{1,0} dot(a, b), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
sharding={devices=[4,1]<=[4]}
}
"""
"""The contracted dimension is divided over four devices, so that their parts have to be added up."""

# What jax makes of convolution, relu, dense, tanh, dense, softmax; 61242 cycles by jax's own way to the compiler.
CONVOLUTION = """HloModule convolution

relu {
  x = bf16[32,16,16,128]{3,2,1,0} parameter(0)
  zero = bf16[] constant(0)
  zeros = bf16[32,16,16,128]{3,2,1,0} broadcast(zero), dimensions={}
  ROOT y = bf16[32,16,16,128]{3,2,1,0} maximum(x, zeros)
}

maximum {
  a = bf16[] parameter(0)
  b = bf16[] parameter(1)
  ROOT y = bf16[] maximum(a, b)
}

sum {
  a = f32[] parameter(0)
  b = f32[] parameter(1)
  ROOT y = f32[] add(a, b)
}

ENTRY main {
  x = bf16[32,16,16,64]{3,2,1,0} parameter(0)
  k = bf16[3,3,64,128]{3,2,1,0} parameter(3)
  conv = bf16[32,16,16,128]{3,2,1,0} convolution(x, k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
  relu = bf16[32,16,16,128]{3,2,1,0} call(conv), to_apply=relu
  flat = bf16[32,32768]{1,0} reshape(relu)
  w1 = bf16[32768,512]{1,0} parameter(1)
  dot1 = bf16[32,512]{1,0} dot(flat, w1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  tanh = bf16[32,512]{1,0} tanh(dot1)
  w2 = bf16[512,1000]{1,0} parameter(2)
  dot2 = bf16[32,1000]{1,0} dot(tanh, w2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  least = bf16[] constant(-inf)
  largest = bf16[32]{0} reduce(dot2, least), dimensions={1}, to_apply=maximum
  leasts = bf16[32]{0} broadcast(least), dimensions={}
  bounded = bf16[32]{0} maximum(largest, leasts)
  column = bf16[32,1]{1,0} reshape(bounded)
  column2 = bf16[32,1]{1,0} broadcast(column), dimensions={0,1}
  row = bf16[32]{0} reshape(column2)
  maxima = bf16[32,1000]{1,0} broadcast(row), dimensions={0}
  shifted = bf16[32,1000]{1,0} subtract(dot2, maxima)
  powers = bf16[32,1000]{1,0} exponential(shifted)
  exact = f32[32,1000]{1,0} convert(powers)
  zero = f32[] constant(0)
  totals = f32[32]{0} reduce(exact, zero), dimensions={1}, to_apply=sum
  total = f32[32,1]{1,0} reshape(totals)
  rounded = bf16[32,1]{1,0} convert(total)
  rounded2 = bf16[32,1]{1,0} broadcast(rounded), dimensions={0,1}
  divisor = bf16[32]{0} reshape(rounded2)
  divisors = bf16[32,1000]{1,0} broadcast(divisor), dimensions={0}
  ROOT softmax = bf16[32,1000]{1,0} divide(powers, divisors)
}
"""


@functools.cache
def module(text: str) -> HloModuleProto:
    """The program of a text; shared, so it must not be changed."""
    return read_bytes(text.encode(), "test").proto


def request(text: str, **flags: str | int | bool) -> tuple[bytes, bytes]:
    """What the compiler takes: the program of a text, and options with these flags."""
    proto = module(text)
    return proto.SerializeToString(), compile_options(proto, flags=flags)


def cycles(with_config: bytes) -> int:
    """Sum of the cycles that the compiler notes beside the instructions of an optimised program without loops."""
    proto = HloModuleProtoWithConfig.FromString(with_config).hlo_module
    notes = [
        json.loads(each.backend_config)
        for body in proto.computations
        for each in body.instructions
        if each.backend_config.startswith(b"{")
    ]
    return sum(int(note["window_config"]["estimated_cycles"]) for note in notes if "window_config" in note)
