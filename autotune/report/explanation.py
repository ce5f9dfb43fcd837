"""Why the tuned program costs what it does: what a report shows beside the evaluations, as `explanation.json` keeps it.

Two compiled programs stand beside each other: the default's, and that of the config which is explained (the best one,
or where nothing beats the default the fastest other). Plain data; `autotune.report.explaining` makes it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

FORMAT: Final = 1
"""Of `explanation.json`. Readers refuse a later one."""

FILE: Final = "explanation.json"


@dataclass(frozen=True)
class InstructionCost:
    """One instruction of a compiled program that costs something.

    Attributes:
        name: of the instruction.
        opcode: of it.
        work: what a fusion does, by its main opcodes ("convolution, add"); "" for other instructions.
        operation: the operation of the user's program that it comes from (`metadata.op_name`), "" if unknown.
        shape: of its output, as HLO text writes it, with the order of dimensions: "f32[8,128]{1,0}".
        executions: in one run of the program.
        cost: of all executions together, in the unit of the explanation; None for work without an estimate.
    """

    name: str
    opcode: str
    work: str
    operation: str
    shape: str
    executions: int
    cost: float | None


@dataclass(frozen=True)
class CompiledProgram:
    """What one compiled program costs.

    Attributes:
        total: of all instructions, in the unit of the explanation.
        instructions: the dearest ones, dearest first, and then some without an estimate.
        others: how many more there are.
        others_cost: what these cost together.
        unpriced: instructions that do work and have no estimate, listed or not.
        copies: `copy` and `transpose` instructions, executions counted.
        copy_bytes: written by them.
    """

    total: float
    instructions: tuple[InstructionCost, ...]
    others: int
    others_cost: float
    unpriced: int
    copies: int
    copy_bytes: int


@dataclass(frozen=True)
class LayoutChange:
    """A tensor for which the config asks a layout.

    Attributes:
        node: id of the instruction in the module just before layout assignment.
        instruction: its name.
        opcode: of it.
        tensor: "output", "first input" or "second input".
        shape: such as "f32[8,128]".
        size: bytes, without padding.
        default: the order that the compiler gives it by itself, minor to major; () if unknown.
        asked: the order that the config asks for, minor to major.
        moved: whether the two differ in what lies in memory.
        fate: what the compiler did with the request: "kept", "refused", "free"; "" where it does not say.
    """

    node: int
    instruction: str
    opcode: str
    tensor: str
    shape: str
    size: int
    default: tuple[int, ...]
    asked: tuple[int, ...]
    moved: bool
    fate: str


@dataclass(frozen=True)
class Node:
    """An instruction in the drawn part of the graph.

    Attributes:
        id: node id in the module just before layout assignment.
        name: of the instruction.
        opcode: of it.
        shape: such as "f32[8,128]".
        changed: whether the config asks a layout for one of its tensors.
    """

    id: int
    name: str
    opcode: str
    shape: str
    changed: bool


@dataclass(frozen=True)
class Edge:
    """A tensor on its way from its producer to a user.

    Attributes:
        producer: node id.
        user: node id.
        order: the order asked for where the user reads it, minor to major; () if none is.
    """

    producer: int
    user: int
    order: tuple[int, ...]


@dataclass(frozen=True)
class Neighbourhood:
    """Changed nodes and what they read and feed.

    Attributes:
        nodes: in the order of the file.
        edges: between these.
        changed: how many changed nodes there are in all; those with the largest tensors are among `nodes`.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    changed: int = 0


@dataclass(frozen=True)
class Explanation:
    """Everything that a report shows beside the evaluations.

    Attributes:
        program: fingerprint.
        target: name.
        default_id: config id of the default.
        config_id: of the config that is explained.
        unit: of all costs: "compiler cycles" or "seconds".
        source: where they come from, in words.
        missing: why there is no cost per instruction; "" if there is.
        default: the program as the compiler leaves it by itself.
        tuned: with the config.
        layouts: tensors that the config decides; those that move first, large ones first.
        neighbourhood: the graph around them.
    """

    program: str
    target: str
    default_id: str
    config_id: str
    unit: str = ""
    source: str = ""
    missing: str = ""
    default: CompiledProgram | None = None
    tuned: CompiledProgram | None = None
    layouts: tuple[LayoutChange, ...] = ()
    neighbourhood: Neighbourhood = Neighbourhood()
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """As a JSON file."""
        facts: dict[str, Any] = dataclasses.asdict(self)
        return (json.dumps(facts, separators=(",", ":")) + "\n").encode()
