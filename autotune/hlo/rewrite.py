"""Applying a layout config to a module: LayoutConstraint custom calls around configurable nodes.

A `LayoutConstraint` with the same layout on its operand and its result asks the compiler for that layout at that place
(`operand_layout_constraints` is needed: without it, requests on inputs mostly do nothing). The compiler may
refuse and then adds copies. All changes are made on a copy of the proto.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from protos import hlo_pb2, xla_data_pb2

OUTPUT, FIRST_INPUT, SECOND_INPUT = 0, 1, 2
"""The tensors of a configurable node, in the order of TpuGraphs' layout config."""

Order = tuple[int, ...]
"""A minor-to-major order of dimensions."""


def constrain_layouts(
    module: hlo_pb2.HloModuleProto, orders: Mapping[tuple[int, int], Order]
) -> hlo_pb2.HloModuleProto:
    """Ask for layouts.

    Args:
        module: the module that the node ids refer to; not changed.
        orders: minor-to-major order by (node id, tensor), tensor one of OUTPUT, FIRST_INPUT, SECOND_INPUT.

    Returns:
        A new module; equal to `module` when `orders` is empty.
    """
    result = hlo_pb2.HloModuleProto()
    result.CopyFrom(module)
    by_node: dict[int, dict[int, Order]] = defaultdict(dict)
    for (node, tensor), order in orders.items():
        by_node[node][tensor] = order
    first = 0
    for computation in result.computations:
        count = len(computation.instructions)
        inside = {node - first: tensors for node, tensors in by_node.items() if first <= node < first + count}
        if inside:
            _constrain_computation(computation, inside)
        first += count
    return result


def _constrain_computation(
    computation: hlo_pb2.HloComputationProto, by_position: Mapping[int, Mapping[int, Order]]
) -> None:
    """Rewrite one computation; operands stay in front of their users."""
    shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
    next_id = max(shapes) + 1
    moved: dict[int, int] = {}  # id of a constrained output -> id of its constraint
    rewritten: list[hlo_pb2.HloInstructionProto] = []
    for position, original in enumerate(computation.instructions):
        instruction = hlo_pb2.HloInstructionProto()
        instruction.CopyFrom(original)
        operands = [moved.get(operand, operand) for operand in original.operand_ids]
        tensors = by_position.get(position, {})
        for tensor in (FIRST_INPUT, SECOND_INPUT):
            if tensor in tensors:
                operand = operands[tensor - 1]
                shape = shapes[original.operand_ids[tensor - 1]]
                name = f"{original.name}.layout{tensor}"
                rewritten.append(_constraint(name, next_id, operand, shape, tensors[tensor], original))
                operands[tensor - 1] = next_id
                next_id += 1
        instruction.operand_ids[:] = operands
        rewritten.append(instruction)
        if OUTPUT in tensors:
            name = f"{original.name}.layout{OUTPUT}"
            rewritten.append(_constraint(name, next_id, original.id, original.shape, tensors[OUTPUT], original))
            moved[original.id] = next_id
            next_id += 1
    computation.root_id = moved.get(computation.root_id, computation.root_id)
    del computation.instructions[:]
    computation.instructions.extend(rewritten)


def _constraint(
    name: str,
    identity: int,
    operand: int,
    shape: xla_data_pb2.ShapeProto,
    order: Order,
    neighbour: hlo_pb2.HloInstructionProto,
) -> hlo_pb2.HloInstructionProto:
    constraint = hlo_pb2.HloInstructionProto(
        name=name,
        id=identity,
        opcode="custom-call",
        custom_call_target="LayoutConstraint",
        custom_call_api_version=hlo_pb2.API_VERSION_ORIGINAL,
        constrain_layout=True,
        operand_ids=[operand],
    )
    constraint.shape.CopyFrom(shape)
    constraint.shape.layout.Clear()
    constraint.shape.layout.minor_to_major.extend(order)
    constraint.operand_shapes_with_layout.add().CopyFrom(constraint.shape)
    if neighbour.HasField("sharding"):
        constraint.sharding.CopyFrom(neighbour.sharding)
    return constraint
