"""Which instruction of the tuned program stands for which of the default's.

Compilers number instructions afresh, so names prove little. Instructions are paired by the user's operation that they
come from, then by name, then by what they do and the size of what they write; of several equal ones the dearest with
the dearest. What is left stands alone. It is a reading aid, not a proof.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from autotune.report.explanation import CompiledProgram, InstructionCost


@dataclass(frozen=True)
class Pair:
    """One row of the comparison; at least one of the two is there."""

    default: InstructionCost | None
    tuned: InstructionCost | None

    @property
    def either(self) -> InstructionCost:
        """The default's, or the tuned one if it stands alone."""
        chosen = self.default or self.tuned
        assert chosen is not None
        return chosen

    @property
    def label(self) -> str:
        """What the row is called."""
        return self.either.operation or self.either.name

    @property
    def work(self) -> str:
        """What it does."""
        return self.either.work or self.either.opcode

    @property
    def costs(self) -> tuple[float, float]:
        """Of the default's and the tuned one; 0 where there is none."""
        return (_cost(self.default), _cost(self.tuned))


def pairs(default: CompiledProgram, tuned: CompiledProgram) -> list[Pair]:
    """All listed instructions that have an estimate, dearest first."""
    left = [each for each in default.instructions if each.cost is not None]
    right = [each for each in tuned.instructions if each.cost is not None]
    found: list[Pair] = []
    for key in (_by_operation_and_shape, _by_operation_and_work, _by_operation, _by_name, _by_work):
        matched, left, right = _match(left, right, key)
        found += matched
    found += [Pair(each, None) for each in left] + [Pair(None, each) for each in right]
    return sorted(found, key=lambda pair: -max(pair.costs))


def _match(
    left: Sequence[InstructionCost], right: Sequence[InstructionCost], key: Callable[[InstructionCost], Hashable]
) -> tuple[list[Pair], list[InstructionCost], list[InstructionCost]]:
    """Pairs with equal keys, and what is left of the two sides; a key of None matches nothing."""
    waiting: dict[Hashable, list[InstructionCost]] = defaultdict(list)
    for each in right:
        waiting[key(each)].append(each)
    found, alone = [], []
    for each in left:
        others = waiting[key(each)] if key(each) is not None else []
        if others:
            found.append(Pair(each, others.pop(0)))
        else:
            alone.append(each)
    taken = {id(pair.tuned) for pair in found}
    return found, alone, [each for each in right if id(each) not in taken]


def _by_operation_and_shape(each: InstructionCost) -> Hashable:
    return (each.operation, each.opcode, _array(each)) if each.operation else None


def _by_operation_and_work(each: InstructionCost) -> Hashable:
    return (each.operation, each.opcode, each.work) if each.operation else None


def _by_operation(each: InstructionCost) -> Hashable:
    return each.operation or None


def _by_name(each: InstructionCost) -> Hashable:
    return (each.name, each.opcode, each.work, _array(each))


def _by_work(each: InstructionCost) -> Hashable:
    return (each.opcode, each.work, _array(each))


def _array(each: InstructionCost) -> str:
    return re.sub(r"\{[\d,]*\}", "", each.shape)


def _cost(each: InstructionCost | None) -> float:
    return 0.0 if each is None or each.cost is None else each.cost
