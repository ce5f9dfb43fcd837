"""LayoutConstraint custom calls around the instructions of a hand-written program."""

from __future__ import annotations

from autotune.hlo.rewrite import FIRST_INPUT, OUTPUT, SECOND_INPUT, constrain_layouts
from protos import hlo_pb2
from tests import programs


def _entry(module: hlo_pb2.HloModuleProto) -> list[hlo_pb2.HloInstructionProto]:
    return list(next(c for c in module.computations if c.id == module.entry_computation_id).instructions)


def test_nothing_asked_nothing_changed() -> None:
    module = programs.two_dots().proto
    assert constrain_layouts(module, {}) == module


def test_input_constraints_stand_before_and_output_constraints_behind() -> None:
    module = programs.two_dots().proto
    before = module.SerializeToString(deterministic=True)
    changed = constrain_layouts(module, {(2, FIRST_INPUT): (0, 1), (2, SECOND_INPUT): (1, 0), (2, OUTPUT): (0, 1)})
    assert module.SerializeToString(deterministic=True) == before, "the original is left alone"
    entry = _entry(changed)
    names = [instruction.name for instruction in entry]
    by_name = dict(zip(names, entry, strict=True))
    position = names.index("h")
    assert names[position - 2 : position + 2] == ["h.layout1", "h.layout2", "h", "h.layout0"]
    dot, tanh = by_name["h"], by_name["t"]
    assert list(dot.operand_ids) == [by_name["h.layout1"].id, by_name["h.layout2"].id]
    assert list(by_name["h.layout1"].operand_ids) == [by_name["x"].id]
    assert list(tanh.operand_ids) == [by_name["h.layout0"].id], "users take the constrained output"
    assert list(by_name["h.layout0"].operand_ids) == [dot.id]
    for name, order in (("h.layout1", [0, 1]), ("h.layout2", [1, 0]), ("h.layout0", [0, 1])):
        constraint = by_name[name]
        assert constraint.custom_call_target == "LayoutConstraint"
        assert list(constraint.shape.layout.minor_to_major) == order
        assert list(constraint.operand_shapes_with_layout[0].layout.minor_to_major) == order
    assert len({instruction.id for instruction in entry}) == len(entry)


def test_a_constrained_root_is_still_the_root() -> None:
    changed = constrain_layouts(programs.two_dots().proto, {(5, OUTPUT): (0, 1)})
    computation = next(c for c in changed.computations if c.id == changed.entry_computation_id)
    assert computation.root_id == computation.instructions[-1].id
    assert computation.instructions[-1].name == "y.layout0"
