"""A hash of what a program computes: the same however its parts are named, numbered or ordered in the file.

Each computation is hashed once, callees first, with its instructions in a canonical order. An instruction counts with
all its attributes except those that name things; pointers count as positions in that order, called computations as
their hashes. Spellings that XLA reads alike (a default written out or left out, lists of replicas in an old or in a new
field) are made alike first, so HLO text and a proto of the same program agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from google.protobuf.unknown_fields import UnknownFieldSet

from autotune.errors import ProgramReadError
from protos import hlo_pb2, xla_data_pb2

_HEXADECIMAL_DIGITS = 32

# Fields that name something, and fields that point to something; `_Pointers` keeps the second kind.
_NAMING_FIELDS = (
    *("name", "metadata", "original_value", "statistics_viz"),
    *("id", "operand_ids", "control_predecessor_ids", "called_computation_ids", "channel_id"),
)
_SINGLE_SHARDINGS = ("sharding", "domain_entry_sharding", "domain_exit_sharding")


class _Pointers(NamedTuple):
    """What an instruction points to, and what its place in the canonical order depends on."""

    operands: list[int]
    control_predecessors: list[int]
    parameter: int | None
    channel: int


Instructions = Mapping[int, _Pointers]


def fingerprint(module: bytes) -> str:
    """Hash a program.

    Changes with opcodes, shapes, layouts, literals, attributes, entry layouts, aliasing and partitioning; not with
    names, metadata, source locations, ids, the schedule, or the order of instructions and computations in the file.

    Args:
        module: serialized HloModuleProto; every id that it mentions exists (XLA checks that when a program is read).

    Returns:
        The first 32 hexadecimal digits of a SHA-256.

    Raises:
        ProgramReadError: an instruction refers to something that is not there.
    """
    proto = hlo_pb2.HloModuleProto.FromString(module)  # our own copy: it is changed below
    try:
        return _fingerprint(proto)
    except KeyError as error:
        raise ProgramReadError(f"program {proto.name!r}: it refers to id {error}, which does not exist") from None


def _fingerprint(module: hlo_pb2.HloModuleProto) -> str:
    computations = {computation.id: computation for computation in module.computations}
    hashes: dict[int, bytes] = {}
    channels: list[int] = []
    for identity in _callees_first(module.entry_computation_id, computations):
        hashes[identity] = _hash_computation(computations[identity], hashes, channels)
    digest = hashlib.sha256(hashes[module.entry_computation_id])
    # Channels are numbers that tie instructions together, wherever they stand: what counts is which are the same.
    numbers = {channel: index for index, channel in enumerate(dict.fromkeys(channels))}
    digest.update(str([numbers[channel] for channel in channels]).encode())
    for part in _module_parts(module):
        digest.update(part)
    return digest.hexdigest()[:_HEXADECIMAL_DIGITS]


def _module_parts(module: hlo_pb2.HloModuleProto) -> Iterator[bytes]:
    """What counts besides the computations, a label before each."""
    program_shape = module.host_program_shape
    del program_shape.parameter_names[:]
    for shape in (*program_shape.parameters, program_shape.result):
        _plain_shape(shape)
    for sharding in (module.spmd_output_sharding, *module.spmd_parameters_shardings):
        _plain_sharding(sharding)
    yield b"shape" + program_shape.SerializeToString(deterministic=True)
    # Entries of a set, in whatever order.
    for label, entries in (("alias", module.input_output_alias.entries), ("donor", module.buffer_donor.entries)):
        yield label.encode() + b"".join(sorted(entry.SerializeToString(deterministic=True) for entry in entries))
    devices = module.device_assignment
    if devices.replica_count * devices.computation_count > 1:
        yield b"devices" + devices.SerializeToString(deterministic=True)
    yield b"output" + module.spmd_output_sharding.SerializeToString(deterministic=True)
    for sharding in module.spmd_parameters_shardings:
        yield b"parameter" + sharding.SerializeToString(deterministic=True)
    yield b"attributes" + module.frontend_attributes.SerializeToString(deterministic=True)


def _callees_first(entry: int, computations: Mapping[int, hlo_pb2.HloComputationProto]) -> Iterator[int]:
    """Ids of all computations that the entry reaches, each after those that it calls; the entry last."""
    done: set[int] = set()
    pending = [(entry, False)]
    while pending:
        identity, expanded = pending.pop()
        if identity in done:
            continue
        if expanded:
            done.add(identity)
            yield identity
        else:
            pending.append((identity, True))
            for instruction in computations[identity].instructions:
                pending += [(called, False) for called in instruction.called_computation_ids]


def _hash_computation(
    computation: hlo_pb2.HloComputationProto, hashes: Mapping[int, bytes], channels: list[int]
) -> bytes:
    """Hash one computation, whose callees are in `hashes`, and append its channels to `channels`."""
    by_id = {
        i.id: _Pointers(
            list(i.operand_ids),
            list(i.control_predecessor_ids),
            i.parameter_number if i.opcode == "parameter" else None,
            i.channel_id,
        )
        for i in computation.instructions
    }
    contents = {instruction.id: _content(instruction, hashes) for instruction in computation.instructions}
    order = _canonical_order(computation.root_id, by_id, contents)
    position = {identity: index for index, identity in enumerate(order)}
    digest = hashlib.sha256()
    for identity in order:
        pointers = by_id[identity]
        operands = [position[other] for other in pointers.operands]
        control = sorted(position[other] for other in pointers.control_predecessors)
        digest.update(f"{len(contents[identity])} {operands} {control} {pointers.channel > 0};".encode())
        digest.update(contents[identity])
        if pointers.channel > 0:
            channels.append(pointers.channel)
    digest.update(f"root {position[computation.root_id]} {computation.execution_thread}".encode())
    return digest.digest()


def _canonical_order(root: int, by_id: Instructions, contents: Mapping[int, bytes]) -> list[int]:
    """Parameters by number, then what the root needs in depth-first post-order, then what nothing needs."""
    numbers = {i: pointers.parameter for i, pointers in by_id.items() if pointers.parameter is not None}
    order = sorted(numbers, key=numbers.__getitem__)
    seen = set(order)
    order += _post_order([root], by_id, seen)
    if len(order) < len(by_id):
        order += _post_order(_dead_ends(by_id, contents, seen), by_id, seen)
    return order


def _dead_ends(by_id: Instructions, contents: Mapping[int, bytes], seen: set[int]) -> list[int]:
    """Instructions that the root does not need and that nothing uses, in an order that their content gives."""
    # The hash of a whole tree of instructions: two that are equal compute the same from the same parameters.
    trees: dict[int, bytes] = {}
    for identity in _post_order(list(by_id), by_id, set()):
        pointers = by_id[identity]
        operands = b"".join(trees[other] for other in pointers.operands)
        control = b"".join(sorted(trees[other] for other in pointers.control_predecessors))
        trees[identity] = hashlib.sha256(contents[identity] + operands + b"|" + control).digest()
    dead = [identity for identity in by_id if identity not in seen]
    used = {other for identity in dead for other in _needs(by_id[identity])}
    return sorted((identity for identity in dead if identity not in used), key=lambda identity: trees[identity])


def _post_order(roots: Iterable[int], by_id: Instructions, seen: set[int]) -> list[int]:
    """What the roots need and is not in `seen` (which is extended): operands in order, then the instruction."""
    order = []
    for root in roots:
        pending = [(root, False)]
        while pending:
            identity, expanded = pending.pop()
            if expanded:
                order.append(identity)
            elif identity not in seen:
                seen.add(identity)
                pending.append((identity, True))
                pending += [(other, False) for other in reversed(_needs(by_id[identity])) if other not in seen]
    return order


def _needs(pointers: _Pointers) -> list[int]:
    return pointers.operands + pointers.control_predecessors


def _content(instruction: hlo_pb2.HloInstructionProto, hashes: Mapping[int, bytes]) -> bytes:
    """The instruction without names and pointers, in one spelling; the instruction itself loses them."""
    called = b"".join(hashes[identity] for identity in instruction.called_computation_ids)
    for name in _NAMING_FIELDS:
        instruction.ClearField(name)
    _plain_shape(instruction.shape)
    if instruction.HasField("literal"):
        if instruction.literal.shape.layout.tiles:
            del instruction.literal.shape.layout.tiles[:]  # its values are never tiled, whatever the layout says
        _plain_shape(instruction.literal.shape)
    for shape in instruction.operand_shapes_with_layout:
        _plain_shape(shape)
    if instruction.feature_group_count == 1:  # as good as absent: old versions write it everywhere, new ones do not
        instruction.feature_group_count = 0
    if instruction.batch_group_count == 1:
        instruction.batch_group_count = 0
    if not instruction.precision_config.algorithm and not any(instruction.precision_config.operand_precision):
        instruction.ClearField("precision_config")  # every operand in its default precision
    if not instruction.frontend_attributes.map:
        instruction.ClearField("frontend_attributes")
    for name in _SINGLE_SHARDINGS:
        if instruction.HasField(name):
            _plain_sharding(getattr(instruction, name))
    _plain_replica_groups(instruction)
    # Attributes newer than our protos count, unless they are empty (XLA writes some of them everywhere).
    fields = UnknownFieldSet(instruction)
    unknown = [(field.field_number, field.data) for field in map(fields.__getitem__, range(len(fields))) if field.data]
    instruction.DiscardUnknownFields()
    return instruction.SerializeToString(deterministic=True) + (str(unknown).encode() if unknown else b"") + called


def _plain_shape(shape: xla_data_pb2.ShapeProto) -> None:
    """Take out defaults that some versions of XLA write and others do not."""
    if shape.is_dynamic_dimension and not any(shape.is_dynamic_dimension):
        shape.ClearField("is_dynamic_dimension")
    if shape.layout.tail_padding_alignment_in_elements == 1:
        shape.layout.tail_padding_alignment_in_elements = 0
    if not shape.dimensions and shape.HasField("layout") and not shape.layout.ByteSize():
        shape.ClearField("layout")  # a scalar's layout says nothing
    for part in shape.tuple_shapes:
        _plain_shape(part)


def _plain_sharding(sharding: xla_data_pb2.OpSharding) -> None:
    """Take out source locations, and the shape of the assignment to one device, which not all versions write."""
    sharding.ClearField("metadata")
    if sharding.type == xla_data_pb2.OpSharding.MAXIMAL:
        sharding.ClearField("tile_assignment_dimensions")
    if sharding.HasField("named_sharding"):
        sharding.named_sharding.ClearField("metadata")
    for part in sharding.tuple_shardings:
        _plain_sharding(part)


def _plain_replica_groups(instruction: hlo_pb2.HloInstructionProto) -> None:
    """Replica groups stand in one field in old versions, in another in new ones, and in both in between."""
    if instruction.replica_groups and instruction.WhichOneof("replica_group_list") is None:
        instruction.collective_device_list.replica_groups.extend(instruction.replica_groups)
    instruction.ClearField("replica_groups")
    instruction.ClearField("all_reduce_id")
    if instruction.HasField("collective_device_list") and not instruction.collective_device_list.ByteSize():
        instruction.ClearField("collective_device_list")
