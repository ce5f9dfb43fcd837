"""Decisions of a config as parameters of an Optuna trial, under names that people know.

A parameter has one distribution in a study for ever, so choices come from the space and never from what was tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from autotune.spaces.base import Config, JsonObject, Space
from autotune.spaces.layout import TENSOR_NAMES, LayoutSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

UNDECIDED: Final = "compiler"
"""The value of a tensor whose order a config leaves to the compiler."""

OTHER: Final = "other"
"""The value of an order that is not among the choices (an attribute of the trial has it)."""

_MOST_ORDERS: Final = 120
"""Choices of one tensor: of five dimensions. The 720 of six would make 10 KB per tensor and trial."""

_LONGEST_NAME: Final = 400
"""Characters; Optuna's tables have room for 512."""

_FACTS: Final = frozenset({"kernel", "opcode", "estimated_cycles", "vmem_bytes"})
"""What `Space.explain` says of a tile that nobody has chosen."""

Value = int | str


class Parameters:
    """The parameters of one space.

    * Layouts: one per tensor ("dot.2 output [64,32]"), whose choices are "compiler" and every order, minor to major, as
      HLO writes it ("{1,0}").
    * Tiles: one per size, in the range that the space has, and one for the implementation.

    Args:
        space: small, unless it is a space of layouts, where only the tensors are looked at.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Of all parameters, by name."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for name, values in self._choices.items():
            numbers = [value for value in values if isinstance(value, int)]
            if len(numbers) == len(values):
                found[name] = IntDistribution(min(numbers), max(numbers))
            else:
                found[name] = CategoricalDistribution([str(value) for value in values])
        return found

    def of(self, config: Config) -> dict[str, Value]:
        """The parameters that a config has, by name: of layouts all, of a tile those that it decides."""
        decided = _decisions(self._space.explain(config))
        if self._space.kind != "layout":
            return decided
        return {name: self._known(name, decided.get(name, UNDECIDED)) for name in self._choices}

    def _known(self, name: str, value: Value) -> Value:
        return value if value in self._choices[name] else OTHER

    @cached_property
    def _choices(self) -> dict[str, list[Value]]:
        if isinstance(self._space, LayoutSpace):
            found: dict[str, list[Value]] = {}
            for tensor in self._space.tensors:
                name = _tensor_name(tensor.instruction, TENSOR_NAMES[tensor.tensor], tensor.dimensions)
                orders = [_order(each) for each in tensor.enumerate()] if tensor.orders <= _MOST_ORDERS else []
                found[name] = [UNDECIDED, *orders, OTHER]
            return found
        return self._choices_of_a_list()

    def _choices_of_a_list(self) -> dict[str, list[Value]]:
        """Of a space that is small enough to look at every config."""
        seen: dict[str, set[Value]] = {}
        configs = [self._space.default, *self._space.references.values(), *self._space.enumerate()]
        for config in configs:
            for name, value in _decisions(self._space.explain(config)).items():
                seen.setdefault(name, set()).add(value)
        layout = self._space.kind == "layout"
        return {
            name: [UNDECIDED, *sorted(values, key=str), OTHER] if layout else sorted(values, key=_numbers_first)
            for name, values in seen.items()
        }


def _decisions(explained: Iterable[JsonObject]) -> dict[str, Value]:
    """What `Space.explain` says, one value per decision."""
    found: dict[str, Value] = {}
    for each in explained:
        if "minor_to_major" in each:
            where = each.get("instruction") or f"node {each['node']}"
            found[_tensor_name(where, each["tensor"], each.get("dimensions", ()))] = _order(each["minor_to_major"])
            continue
        for key, value in each.items():
            name = key.replace("_", " ")
            if key in _FACTS or value is None:
                continue
            if isinstance(value, (list, tuple)):
                found |= {f"{name} {place}": int(size) for place, size in enumerate(value)}
            else:
                found[name] = value if isinstance(value, int) else str(value)
    return found


def _tensor_name(instruction: str, tensor: str, dimensions: Iterable[int]) -> str:
    sizes = ",".join(map(str, dimensions))
    return f"{instruction[-_LONGEST_NAME:]} {tensor}" + (f" [{sizes}]" if sizes else "")


def _order(minor_to_major: Iterable[int]) -> str:
    return "{" + ",".join(map(str, minor_to_major)) + "}"


def _numbers_first(value: Value) -> tuple[bool, int, str]:
    return (isinstance(value, str), value if isinstance(value, int) else 0, str(value))
