"""A kernel in a loop for a TPU: what to compile, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autotune.hlo.modules import entry_computation
from autotune.hlo.repeat import repeat
from autotune.targets.inputs import InputSpec, input_specs
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.memory import HBM, tiled_bytes
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2
from protos.xla_data_pb2 import PRED, S32, ShapeProto

_KEEP_IN_HBM: Final[Mapping[str, str | int | bool]] = {"xla_vf_vmem_memory_space_assignment": False}
"""Else the loop's operands move to VMEM before the first turn, and the kernel that is timed is not the one that reads
them from HBM. It holds on v5e and v5p, and v2 and v3 have no such memory for arrays; on v4, v6e and tpu7x the compiler
does not heed it (each tried with libtpu 0.0.52), so what lies beside HBM is counted: `bytes_beside_hbm`."""


def scalar_shapes(compiler: TpuCompiler) -> dict[int, ShapeProto]:
    """s32[] and pred[] by element type, as this generation keeps them (their tiles differ): asked of the compiler.

    Raises:
        WorkerFailure: it did not answer.
    """
    scalars = [ShapeProto(element_type=kind) for kind in (S32, PRED)]
    module = hlo_pb2.HloModuleProto(name="scalars", entry_computation_name="main", entry_computation_id=1)
    entry = module.computations.add(name="main", id=1, root_id=3)
    numbers = [entry.instructions.add(name=f"x{i}", id=i + 1, opcode="parameter", parameter_number=i) for i in (0, 1)]
    less = entry.instructions.add(name="less", id=3, opcode="compare", operand_ids=[1, 2], comparison_direction="LT")
    for each, shape in zip((*numbers, less), (scalars[0], scalars[0], scalars[1]), strict=True):
        each.shape.CopyFrom(shape)
        each.shape.layout.SetInParent()
    entry.program_shape.parameters.extend([scalars[0], scalars[0]])
    entry.program_shape.parameter_names.extend(each.name for each in numbers)
    entry.program_shape.result.CopyFrom(scalars[1])
    module.host_program_shape.CopyFrom(entry.program_shape)
    code = compiler.compile(module.SerializeToString(deterministic=True), compile_options(module))
    program = xla_pb2.HloModuleProtoWithConfig.FromString(code).hlo_module.host_program_shape
    return {S32: program.parameters[0], PRED: program.result}


def loop_request(kernel: hlo_pb2.HloModuleProto, scalars: Mapping[int, ShapeProto]) -> CompileRequest:
    """A kernel, with or without a forced tile, in a loop.

    Raises:
        SpaceError: it cannot be run in a loop.
    """
    module = repeat(kernel, scalars, guarded=False)
    options = compile_options(module, backend_only=True, flags=_KEEP_IN_HBM)
    return CompileRequest(module.SerializeToString(deterministic=True), options)


def loop_inputs(kernel: hlo_pb2.HloModuleProto, loop: bytes) -> list[InputSpec]:
    """How to fill the arguments of a loop: the kernel's as it wants them; in the others nothing is read.

    Args:
        kernel: alone.
        loop: serialized HloModuleProto of a loop around it.
    """
    own = input_specs(kernel)
    every = input_specs(hlo_pb2.HloModuleProto.FromString(loop))
    return [every[0], *own, *every[1 + len(own) :]]


def bytes_beside_hbm(optimised: hlo_pb2.HloModuleProto) -> int:
    """Bytes of the arrays that a compiled loop carries in other memories than HBM."""
    entry = entry_computation(optimised)
    (loop,) = (each for each in entry.instructions if each.opcode == "while")
    return sum(tiled_bytes(part) for part in loop.shape.tuple_shapes if part.layout.memory_space != HBM)
