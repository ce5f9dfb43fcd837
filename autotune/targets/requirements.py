"""What a program asks of a host, read from its HLO before anything is compiled."""

from __future__ import annotations

import math
from typing import Any

from autotune.errors import UnsupportedProgramError
from autotune.hlo.modules import instructions
from autotune.hlo.types import element_type_name
from autotune.targets.inputs import describe_bytes, total_bytes
from autotune.targets.outputs import NARROW_TOLERANCE, TOLERANCES
from protos import hlo_pb2

_DEVICE_OPCODES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "send", "recv")


def check_supported(module: hlo_pb2.HloModuleProto, name: str, memory: int) -> None:
    """Refuse what this host cannot run, before anything is compiled.

    Raises:
        UnsupportedProgramError: with every reason, and the sizes.
    """
    reasons = []
    arguments, results = total_bytes(module)
    if arguments + results > memory:
        reasons.append(
            f"it needs {describe_bytes(arguments)} of arguments and {describe_bytes(results)} of results, "
            f"and the memory limit on this host is {describe_bytes(memory)}"
        )
    devices = device_count(module)
    if devices > 1:
        reasons.append(f"it is partitioned over {devices} devices, and this target is one CPU")
    opcodes = {instruction.opcode for instruction in instructions(module)}
    collectives = sorted(
        opcode for opcode in opcodes if opcode.removesuffix("-start").removesuffix("-done") in _DEVICE_OPCODES
    )
    if collectives and devices <= 1 and _group_size(module) > 1:
        reasons.append(f"it communicates between {_group_size(module)} devices ({', '.join(collectives)})")
    if reasons:
        raise UnsupportedProgramError(f"program {name!r} cannot run on this host: {'; '.join(reasons)}")


def donation_notes(module: hlo_pb2.HloModuleProto) -> list[str]:
    """A word on donated arguments, if there are any."""
    donated = len(module.input_output_alias.entries)
    if not donated:
        return []
    return [f"{donated} donated arguments are kept while measuring (the program runs many times on them)"]


def measurement_notes(module: hlo_pb2.HloModuleProto) -> list[str]:
    """In which ways a measurement here differs from a run of the program as it is."""
    notes = donation_notes(module)
    shape = module.host_program_shape
    if any(not _row_major(part) for part in (*shape.parameters, shape.result)):
        notes.append("arguments and results are measured in row-major order, as jax passes them")
    return notes


def output_tolerance(module: hlo_pb2.HloModuleProto) -> float:
    """By the least precise floating point type that occurs anywhere in the program."""
    names = {element_type_name(instruction.shape) for instruction in instructions(module)}
    if any(name.startswith(("f8", "f4")) for name in names):
        return NARROW_TOLERANCE
    return max((TOLERANCES[name] for name in names if name in TOLERANCES), default=TOLERANCES["f32"])


def _row_major(shape: Any) -> bool:
    if shape.tuple_shapes:
        return all(_row_major(part) for part in shape.tuple_shapes)
    order = list(shape.layout.minor_to_major)
    return not order or order == sorted(order, reverse=True)


def device_count(module: hlo_pb2.HloModuleProto) -> int:
    """How many devices a program was made for."""
    counts = [
        math.prod(instruction.sharding.tile_assignment_dimensions)
        for instruction in instructions(module)
        if instruction.HasField("sharding")
    ]
    assignment = module.device_assignment  # the reader keeps replica_count and num_partitions of HLO text here
    return max([*counts, assignment.replica_count * assignment.computation_count, 1])


def _group_size(module: hlo_pb2.HloModuleProto) -> int:
    sizes = [1]
    for instruction in instructions(module):
        sizes += [len(group.replica_ids) for group in instruction.replica_groups]
        if instruction.HasField("collective_device_list"):
            devices = instruction.collective_device_list
            sizes += [len(group.replica_ids) for group in devices.replica_groups]
            sizes.append(devices.iota_replica_group_list.num_devices_per_group)
    return max(sizes)
