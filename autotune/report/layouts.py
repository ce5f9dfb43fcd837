"""Which tensors a config lays out, what they had before, and the graph around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from autotune.evaluation import Evaluation
from autotune.hlo.modules import instructions
from autotune.hlo.rewrite import OUTPUT
from autotune.hlo.types import shape_bytes, shape_text
from autotune.report.explanation import Edge, LayoutChange, Neighbourhood, Node
from autotune.spaces.layout import TENSOR_NAMES, LayoutConfig
from autotune.targets.base import PreparedProgram
from autotune.targets.tpu.layout_decisions import fate, place
from protos import hlo_pb2

_DRAWN: Final = 26
"""Nodes that still make a readable drawing."""


def layout_changes(prepared: PreparedProgram, evaluation: Evaluation) -> tuple[LayoutChange, ...]:
    """The tensors that a config decides; those that move first, large ones first.

    Args:
        prepared: the program.
        evaluation: of the config.
    """
    config = evaluation.config
    if not isinstance(config, LayoutConfig):
        return ()
    described = prepared.described
    everything = list(instructions(described))
    shapes = {instruction.id: instruction.shape for instruction in everything}
    record = evaluation.details.get("layouts_taken")
    taken = place(_record(record), prepared.module.proto) if isinstance(record, str) else None
    changes = []
    for node, tensor, asked in config.orders:
        instruction = everything[node]
        shape = instruction.shape if tensor == OUTPUT else shapes[instruction.operand_ids[tensor - 1]]
        default = tuple(shape.layout.minor_to_major) if prepared.assigned is not None else ()
        decision = None if taken is None or node not in taken else taken[node][tensor]
        changes.append(
            LayoutChange(
                node=node,
                instruction=instruction.name,
                opcode=instruction.opcode,
                tensor=TENSOR_NAMES[tensor],
                shape=shape_text(shape),
                size=shape_bytes(shape),
                default=default,
                asked=asked,
                moved=_in_memory(default, shape.dimensions) != _in_memory(asked, shape.dimensions),
                fate="" if taken is None else fate(asked, decision).value,
            )
        )
    return tuple(sorted(changes, key=lambda each: (not each.moved, -each.size, each.node)))


def neighbourhood(prepared: PreparedProgram, changes: Sequence[LayoutChange]) -> Neighbourhood:
    """The changed nodes with what they read and feed, as many as can be drawn.

    Args:
        prepared: the program.
        changes: from `layout_changes`; the nodes of the first ones are drawn.
    """
    module = prepared.module.proto
    everything = list(instructions(module))
    pairs = _edges(module)
    near: dict[int, set[int]] = {}
    for producer, user, _ in pairs:
        near.setdefault(user, set()).add(producer)
        near.setdefault(producer, set()).add(user)
    changed = list(dict.fromkeys(each.node for each in changes))
    drawn: set[int] = set()
    for node in changed:
        wanted = drawn | {node} | near.get(node, set())
        if len(wanted) > _DRAWN and drawn:
            continue
        drawn = wanted
        if len(drawn) > _DRAWN:  # a tensor that everyone reads
            drawn = {node, *sorted(near[node])[: _DRAWN - 1]}
    orders = {(each.node, each.tensor): each.asked for each in changes}
    return Neighbourhood(
        nodes=tuple(
            Node(
                node,
                everything[node].name,
                everything[node].opcode,
                shape_text(everything[node].shape),
                node in changed,
            )
            for node in sorted(drawn)
        ),
        edges=tuple(
            Edge(producer, user, orders.get((user, TENSOR_NAMES.get(position + 1, "")), ()))
            for producer, user, position in pairs
            if producer in drawn and user in drawn
        ),
        changed=len(changed),
    )


def _edges(module: hlo_pb2.HloModuleProto) -> list[tuple[int, int, int]]:
    """Producer, user and which operand it is, by node id; operands of the same computation only."""
    pairs = []
    first = 0
    for computation in module.computations:
        nodes = {instruction.id: first + offset for offset, instruction in enumerate(computation.instructions)}
        for instruction in computation.instructions:
            user = nodes[instruction.id]
            pairs += [(nodes[operand], user, position) for position, operand in enumerate(instruction.operand_ids)]
        first += len(computation.instructions)
    return pairs


def _record(text: str) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(tuple(order) for order in decision) for decision in json.loads(text)]


def _in_memory(order: Sequence[int], dimensions: Sequence[int]) -> list[int]:
    """Without dimensions of size one, whose place means nothing."""
    return [dimension for dimension in order if dimensions[dimension] != 1]
