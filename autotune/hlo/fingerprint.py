"""A hash of what a program computes: the same however its parts are named, numbered or ordered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from protos import hlo_pb2

_NAMELESS_FIELDS = (
    "name", "id", "metadata", "operand_ids", "control_predecessor_ids", "called_computation_ids", "original_value"
)  # fmt: skip
"""Fields of an instruction that name things or point to things; pointers are hashed as positions."""


def fingerprint(module: hlo_pb2.HloModuleProto) -> str:
    """The first 32 hexadecimal digits of a SHA-256.

    Changes with opcodes, shapes, layouts, literals, attributes, entry layouts, aliasing and partitioning; not with
    names, metadata, source locations, ids, or the order of instructions and computations in the file.
    """
    computations = {computation.id: computation for computation in module.computations}
    hashes: dict[int, bytes] = {}
    for identity in _callees_first(module, computations):
        hashes[identity] = _hash_computation(computations[identity], hashes)
    digest = hashlib.sha256(hashes[module.entry_computation_id])
    shape = hlo_pb2.HloModuleProto().host_program_shape
    shape.CopyFrom(module.host_program_shape)
    del shape.parameter_names[:]
    digest.update(shape.SerializeToString(deterministic=True))
    for field in ("input_output_alias", "buffer_donor", "device_assignment"):
        if module.HasField(field):
            digest.update(field.encode() + getattr(module, field).SerializeToString(deterministic=True))
    return digest.hexdigest()[:32]


def _callees_first(
    module: hlo_pb2.HloModuleProto, computations: dict[int, hlo_pb2.HloComputationProto]
) -> Iterator[int]:
    """Ids of all computations that the entry reaches, each after those that it calls."""
    done: set[int] = set()
    pending = [(module.entry_computation_id, False)]
    while pending:
        identity, expanded = pending.pop()
        if expanded:
            if identity not in done:
                done.add(identity)
                yield identity
        elif identity not in done:
            pending.append((identity, True))
            for instruction in computations[identity].instructions:
                pending += [(called, False) for called in instruction.called_computation_ids]


def _hash_computation(computation: hlo_pb2.HloComputationProto, hashes: dict[int, bytes]) -> bytes:
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    order = _canonical_order(computation, by_id)
    position = {identity: index for index, identity in enumerate(order)}
    digest = hashlib.sha256()
    for identity in order:
        digest.update(_nameless(by_id[identity]))
        instruction = by_id[identity]
        pointers = [position[i] for i in instruction.operand_ids]
        control = sorted(position[i] for i in instruction.control_predecessor_ids)
        digest.update(f"|{pointers}|{control}|".encode())
        for called in instruction.called_computation_ids:
            digest.update(hashes[called])
    digest.update(f"root {position[computation.root_id]}".encode())
    return digest.digest()


def _canonical_order(
    computation: hlo_pb2.HloComputationProto, by_id: dict[int, hlo_pb2.HloInstructionProto]
) -> list[int]:
    """Parameters by number, then what the root needs in depth-first post-order, then the rest by content."""
    parameters = sorted((i for i in by_id.values() if i.opcode == "parameter"), key=lambda i: i.parameter_number)
    order = [parameter.id for parameter in parameters]
    seen = set(order)
    _post_order([computation.root_id], by_id, seen, order)
    dead = [identity for identity in by_id if identity not in seen]
    if dead:
        # Content alone orders dead code; ties are equal in everything but their operands.
        dead.sort(key=lambda identity: _nameless(by_id[identity]))
        _post_order(dead, by_id, seen, order)
    return order


def _post_order(
    roots: list[int], by_id: dict[int, hlo_pb2.HloInstructionProto], seen: set[int], order: list[int]
) -> None:
    for root in roots:
        pending = [(root, False)]
        while pending:
            identity, expanded = pending.pop()
            if expanded:
                order.append(identity)
            elif identity not in seen:
                seen.add(identity)
                pending.append((identity, True))
                instruction = by_id[identity]
                before = [*instruction.operand_ids, *instruction.control_predecessor_ids]
                pending += [(other, False) for other in reversed(before) if other not in seen]


def _nameless(instruction: hlo_pb2.HloInstructionProto) -> bytes:
    copy = hlo_pb2.HloInstructionProto()
    copy.CopyFrom(instruction)
    for field in _NAMELESS_FIELDS:
        copy.ClearField(field)
    return copy.SerializeToString(deterministic=True)
