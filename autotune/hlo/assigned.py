"""The layouts that a compiler gave a program by itself, as part of the program that cost models see."""

from __future__ import annotations

from autotune.hlo.modules import instructions
from protos import hlo_pb2


def with_assigned_layouts(before: hlo_pb2.HloModuleProto, after: hlo_pb2.HloModuleProto) -> hlo_pb2.HloModuleProto:
    """A module with every array in the layout that the compiler assigned to it.

    Layout assignment keeps the names of instructions and adds copies between layouts, so instructions are matched by
    name. One that is not there afterwards, or has another shape, keeps its layout: it was folded into its neighbours.

    Args:
        before: just before layout assignment. Not changed.
        after: the same just after it.

    Returns:
        A copy of `before`, the same but for `layout.minor_to_major`.
    """
    shapes = {instruction.name: instruction.shape for instruction in instructions(after)}
    result = hlo_pb2.HloModuleProto()
    result.CopyFrom(before)
    for instruction in instructions(result):
        shape, assigned = instruction.shape, shapes.get(instruction.name)
        if assigned is None or not shape.dimensions:
            continue
        same = shape.element_type == assigned.element_type and shape.dimensions == assigned.dimensions
        if same and len(assigned.layout.minor_to_major) == len(shape.dimensions):
            shape.layout.minor_to_major[:] = assigned.layout.minor_to_major
    return result
