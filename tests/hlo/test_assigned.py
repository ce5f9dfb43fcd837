"""Default layouts as part of the program that cost models see."""

from __future__ import annotations

from autotune.hlo.assigned import with_assigned_layouts
from autotune.hlo.graph import program_graph
from autotune.hlo.modules import instructions
from cost_model.features import MINOR_TO_MAJOR
from protos import hlo_pb2, xla_data_pb2


def module(**layouts: list[int]) -> hlo_pb2.HloModuleProto:
    """Unary nodes of float32[2,3,4] in a row, each with a name and a layout."""
    result = hlo_pb2.HloModuleProto(name="m", entry_computation_id=1)
    computation = result.computations.add(id=1, name="c", root_id=len(layouts))
    for number, (name, layout) in enumerate(layouts.items(), start=1):
        shape = xla_data_pb2.ShapeProto(element_type=xla_data_pb2.F32, dimensions=[2, 3, 4])
        shape.is_dynamic_dimension.extend([False] * 3)
        shape.layout.minor_to_major.extend(layout)
        instruction = computation.instructions.add(
            id=number, name=name, opcode="negate" if number > 1 else "parameter", shape=shape
        )
        if number > 1:
            instruction.operand_ids.append(number - 1)
    return result


def orders(proto: hlo_pb2.HloModuleProto) -> list[list[int]]:
    return [list(instruction.shape.layout.minor_to_major) for instruction in instructions(proto)]


def test_layouts_are_taken_over_by_name() -> None:
    before = module(a=[2, 1, 0], b=[2, 1, 0], c=[2, 1, 0])
    after = module(a=[2, 1, 0], copy=[0, 1, 2], b=[0, 1, 2], c=[1, 0, 2])
    assert orders(with_assigned_layouts(before, after)) == [[2, 1, 0], [0, 1, 2], [1, 0, 2]]
    assert orders(before) == [[2, 1, 0]] * 3


def test_what_is_gone_or_has_another_shape_keeps_its_layout() -> None:
    before, after = module(a=[2, 1, 0], b=[2, 1, 0], c=[2, 1, 0]), module(a=[0, 1, 2], b=[0, 1, 2])
    after.computations[0].instructions[1].shape.dimensions[:] = [2, 4, 3]
    assert orders(with_assigned_layouts(before, after)) == [[0, 1, 2], [2, 1, 0], [2, 1, 0]]


def test_a_graph_shows_them() -> None:
    graph = program_graph(with_assigned_layouts(module(a=[2, 1, 0], b=[2, 1, 0]), module(a=[2, 1, 0], b=[0, 2, 1])))
    assert graph.node_feat[1, MINOR_TO_MAJOR.start : MINOR_TO_MAJOR.start + 3].tolist() == [0, 2, 1]
