"""Walking through a module."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from protos import hlo_pb2


def instructions(module: hlo_pb2.HloModuleProto) -> Iterator[hlo_pb2.HloInstructionProto]:
    """Every instruction of every computation in file order: the index in this order is the node id."""
    for computation in module.computations:
        yield from computation.instructions


def entry_computation(module: hlo_pb2.HloModuleProto) -> hlo_pb2.HloComputationProto:
    """The computation that the program starts with."""
    return next(c for c in module.computations if c.id == module.entry_computation_id)


def fused_instructions(
    instruction: hlo_pb2.HloInstructionProto, computations: Mapping[int, hlo_pb2.HloComputationProto]
) -> Iterator[hlo_pb2.HloInstructionProto]:
    """Every instruction inside a fusion and inside the fusions in it; nothing of other instructions.

    Args:
        instruction: any.
        computations: of its module, by id.
    """
    if instruction.opcode == "fusion":
        for identity in instruction.called_computation_ids:
            for inner in computations[identity].instructions:
                yield inner
                yield from fused_instructions(inner, computations)


def digest(module: bytes) -> str:
    """Equal for modules that are equal in everything but their id: that counts the modules which a process has made.

    Args:
        module: serialized HloModuleProto.

    Returns:
        A SHA-256, in hexadecimal digits. Configs name nodes of a module, so whoever shares configs compares digests.
    """
    proto = hlo_pb2.HloModuleProto.FromString(module)
    proto.ClearField("id")
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
