"""The child's side of `training.zoo.lowering`."""

from __future__ import annotations

import re
from typing import Any

import jax

from protos import hlo_pb2
from training.zoo.program import ZooProgram

# What users set for their own jax must not change our programs.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", False)
jax.config.update("jax_default_matmul_precision", None)


def lower(program: ZooProgram) -> bytes:
    """Trace a program and convert it to HLO: a serialized HloModuleProto."""
    function, arguments = program.builder()
    function.__name__ = re.sub(r"\W", "_", program.name)  # the module's name
    computation: Any = jax.jit(function).lower(*arguments).compiler_ir("hlo")
    module = hlo_pb2.HloModuleProto.FromString(computation.as_serialized_hlo_module_proto())
    module.ClearField("stack_frame_index")
    module.ClearField("id")  # how many modules this process has made
    for part in module.computations:
        for instruction in part.instructions:
            instruction.ClearField("metadata")
    return module.SerializeToString(deterministic=True)
