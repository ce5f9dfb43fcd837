"""Which layouts a config decides, and the graph around them: two dots with a tanh between."""

from __future__ import annotations

from autotune.evaluation import Evaluation, Measured
from autotune.hlo.modules import instructions
from autotune.hlo.rewrite import FIRST_INPUT, OUTPUT
from autotune.report.layouts import layout_changes, neighbourhood
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram
from tests import programs

PROGRAM = programs.two_dots()
PREPARED = PreparedProgram(PROGRAM, PROGRAM, assigned=PROGRAM.proto)
NODES = {instruction.name: node for node, instruction in enumerate(instructions(PROGRAM.proto))}


def evaluation(config: LayoutConfig) -> Evaluation:
    return Evaluation(config, Measured(1.0, 0.0, 1.0, 0.0, 0.0, 1, 1))


def node_of(opcode: str, place: int) -> int:
    found = [node for node, each in enumerate(instructions(PROGRAM.proto)) if each.opcode == opcode]
    return found[place]


def test_what_moves_comes_first_and_what_is_only_named_after_it() -> None:
    first, second = node_of("dot", 0), node_of("dot", 1)
    config = LayoutConfig.of({(first, OUTPUT): (1, 0), (first, FIRST_INPUT): (0, 1), (second, OUTPUT): (0, 1)})
    changes = layout_changes(PREPARED, evaluation(config))
    assert [(each.tensor, each.shape, each.default, each.asked, each.moved) for each in changes] == [
        ("first input", "f32[8,16]", (1, 0), (0, 1), True),  # 512 bytes
        ("output", "f32[8,8]", (1, 0), (0, 1), True),  # 256 bytes
        ("output", "f32[8,32]", (1, 0), (1, 0), False),  # 1,024 bytes, but it stays where it is
    ]
    assert [each.size for each in changes] == [512, 256, 1024]
    assert {each.fate for each in changes} == {""}, "XLA:CPU does not say"


def test_the_neighbourhood_of_one_node() -> None:
    first = node_of("dot", 0)
    changes = layout_changes(PREPARED, evaluation(LayoutConfig.of({(first, FIRST_INPUT): (0, 1)})))
    graph = neighbourhood(PREPARED, changes)
    assert sorted(node.opcode for node in graph.nodes) == ["dot", "parameter", "parameter", "tanh"]
    assert [node.opcode for node in graph.nodes if node.changed] == ["dot"]
    assert sorted(edge.order for edge in graph.edges) == [(), (), (0, 1)]
    assert graph.changed == 1


def test_the_default_changes_nothing() -> None:
    changes = layout_changes(PREPARED, evaluation(LayoutConfig()))
    assert changes == ()
    assert neighbourhood(PREPARED, changes).nodes == ()
