"""How often the computations of a program run: the trip counts of its while loops.

A compiler may write a loop's count beside it (`known_trip_count`); the TPU compiler does not. Then the loops that every
frontend makes of `for` are recognised: a counter in the loop's state, compared with a constant in the condition and
moved by a constant in the body. Constants are followed through copies, tuples and state that a loop does not change.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protos import hlo_pb2

Instruction = hlo_pb2.HloInstructionProto

_COPIES = frozenset({"copy", "copy-start", "copy-done", "bitcast", "opt-barrier"})
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "NE": operator.ne,
}
_MIRRORED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE"}
_INTEGER_FIELDS = ("s32s", "s64s", "u32s", "u64s")


@dataclass(frozen=True)
class Executions:
    """How often computations run in one execution of the program.

    Attributes:
        counts: executions by computation id, of the entry and of the computations that it reaches by while loops,
            calls and conditionals (of which each branch counts as taken). Those of fusions and reductions are parts of
            an instruction and are not listed.
        unknown_loops: names of the while loops whose count is not known; they are counted as running once.
    """

    counts: Mapping[int, int]
    unknown_loops: tuple[str, ...]


def count_executions(module: hlo_pb2.HloModuleProto) -> Executions:
    """Count how often each computation runs."""
    loops = _Loops(module)
    counts: dict[int, int] = {}
    unknown: dict[str, None] = {}

    def run(identity: int, times: int) -> None:
        counts[identity] = counts.get(identity, 0) + times
        for instruction in loops.computations[identity].instructions:
            if instruction.opcode == "while":
                body, condition = instruction.called_computation_ids
                trips = loops.trip_count(instruction)
                if trips is None:
                    unknown[instruction.name] = None
                    trips = 1
                run(body, times * trips)
                run(condition, times * (trips + 1))
            elif instruction.opcode in ("call", "conditional"):
                for callee in instruction.called_computation_ids:
                    run(callee, times)

    run(module.entry_computation_id, 1)
    return Executions(counts, tuple(unknown))


class _Loops:
    """Looks for constants around while loops. Ids of instructions are unique in a module."""

    def __init__(self, module: hlo_pb2.HloModuleProto) -> None:
        self.computations = {computation.id: computation for computation in module.computations}
        self._instructions: dict[int, Instruction] = {}
        self._loop_of: dict[int, Instruction | None] = {}  # by parameter id; None where several loops share the code
        for computation in module.computations:
            self._instructions |= {instruction.id: instruction for instruction in computation.instructions}
        for loop in [i for i in self._instructions.values() if i.opcode == "while"]:
            for callee in loop.called_computation_ids:
                for instruction in self.computations[callee].instructions:
                    if instruction.opcode == "parameter":
                        shared = instruction.id in self._loop_of
                        self._loop_of[instruction.id] = None if shared else loop

    def trip_count(self, loop: Instruction) -> int | None:
        """How often the body runs each time the loop is reached, or None if that is not known."""
        written = _written_trip_count(loop)
        if written is not None:
            return written
        body, condition = loop.called_computation_ids
        test = self._root(condition)
        if test.opcode != "compare" or test.comparison_direction not in _MIRRORED:
            return None
        left, right = test.operand_ids
        for counter, limit, direction in (
            (left, right, test.comparison_direction),
            (right, left, _MIRRORED[test.comparison_direction]),
        ):
            index = self._state_index(counter)
            if index is None:
                continue
            start, stop, step = self._start(loop, index), self._constant(limit), self._step(body, index)
            if start is not None and stop is not None and step is not None:
                return _trips(start, stop, step, direction)
        return None

    def _root(self, computation: int) -> Instruction:
        return self._instructions[self.computations[computation].root_id]

    def _behind_copies(self, identity: int) -> Instruction:
        instruction = self._instructions[identity]
        while instruction.opcode in _COPIES:
            instruction = self._instructions[instruction.operand_ids[0]]
        return instruction

    def _element(self, identity: int, index: int) -> int | None:
        """The instruction that is element `index` of a tuple, or None if it is not written out."""
        instruction = self._behind_copies(identity)
        return instruction.operand_ids[index] if instruction.opcode == "tuple" else None

    def _state_index(self, identity: int) -> int | None:
        """Which element of the surrounding loop's state an instruction is, or None if it is none."""
        instruction = self._behind_copies(identity)
        if instruction.opcode != "get-tuple-element":
            return None
        return instruction.tuple_index if self._loop_of.get(instruction.operand_ids[0]) is not None else None

    def _constant(self, identity: int) -> int | None:
        """The integer that an instruction always is, or None if that is not known."""
        instruction = self._behind_copies(identity)
        if instruction.opcode == "constant":
            return _scalar(instruction)
        if instruction.opcode != "get-tuple-element":
            return None
        index, source = instruction.tuple_index, self._behind_copies(instruction.operand_ids[0])
        element = self._element(source.id, index)
        if element is None:
            # An element of a loop's state that the loop passes on as it is: what the loop began with.
            loop = source if source.opcode == "while" else self._loop_of.get(source.id)
            if loop is None or not self._passes_on(loop.called_computation_ids[0], index):
                return None
            return self._start(loop, index)
        return self._constant(element)

    def _start(self, loop: Instruction, index: int) -> int | None:
        """The integer that element `index` of a loop's state has at first."""
        element = self._element(loop.operand_ids[0], index)
        return None if element is None else self._constant(element)

    def _passes_on(self, body: int, index: int) -> bool:
        element = self._element(self.computations[body].root_id, index)
        return element is not None and self._state_index(element) == index

    def _step(self, body: int, index: int) -> int | None:
        """By how much the body moves element `index` of the state, if that is a constant."""
        element = self._element(self.computations[body].root_id, index)
        change = None if element is None else self._behind_copies(element)
        if change is None or change.opcode not in ("add", "subtract"):
            return None
        first, second = change.operand_ids
        if self._state_index(first) == index:
            step = self._constant(second)
            return -step if step is not None and change.opcode == "subtract" else step
        if self._state_index(second) == index and change.opcode == "add":
            return self._constant(first)
        return None


def _written_trip_count(loop: Instruction) -> int | None:
    """The count in {"known_trip_count": {"n": "12"}}, if the compiler wrote one."""
    try:
        return int(json.loads(loop.backend_config)["known_trip_count"]["n"])
    except (ValueError, KeyError, TypeError):
        return None


def _scalar(constant: Instruction) -> int | None:
    literal = constant.literal
    for name in _INTEGER_FIELDS:
        values = getattr(literal, name)
        if len(values) == 1 and not literal.shape.dimensions:
            return int(values[0])
    return None


def _trips(start: int, limit: int, step: int, direction: str) -> int | None:
    """How many values of start, start + step, ... come before the first that fails `value direction limit`."""
    if not _COMPARISONS[direction](start, limit):
        return 0
    match direction:
        case "LT" | "LE" if step > 0:
            return len(range(start, limit + (direction == "LE"), step))
        case "GT" | "GE" if step < 0:
            return len(range(start, limit - (direction == "GE"), step))
        case "NE" if step and (limit - start) % step == 0 and (limit - start) // step > 0:
            return (limit - start) // step
    return None  # until the counter overflows
