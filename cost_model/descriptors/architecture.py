"""The shape of a descriptor network, as a frozen dataclass. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from cost_model.descriptors import layout, tile_cpu, tile_tpu
from cost_model.devices import DEVICES
from cost_model.errors import ArchitectureError

Space = Literal["layout", "tile"]

_WIDEST: Final = 1024
_MOST_MEMBERS: Final = 64


@dataclass(frozen=True)
class DescriptorArchitecture:
    """The shape of a `DescriptorNetwork`.

    Attributes:
        space: what the configs choose.
        device: name of the device description (`cost_model.devices`) by which configs are described.
        width: of the hidden layers.
        members: networks whose mean is the score; they differ in their initial weights and in what they learned from.

    Raises:
        ArchitectureError: a value is out of range.
    """

    space: Space
    device: str
    width: int = 16
    members: int = 16

    def __post_init__(self) -> None:
        for name, value, known in (("space", self.space, ("layout", "tile")), ("device", self.device, tuple(DEVICES))):
            if value not in known:
                raise ArchitectureError(f"{name}: expected one of {', '.join(known)}, found {value!r:.200}")
        for name, number, most in (("width", self.width, _WIDEST), ("members", self.members, _MOST_MEMBERS)):
            if type(number) is not int or not 1 <= number <= most:
                raise ArchitectureError(f"{name}: expected a whole number from 1 to {most}, found {number!r:.200}")

    @property
    def item_columns(self) -> tuple[str, ...]:
        """What an item is described by; nothing where there are no items."""
        return layout.ITEM_COLUMNS if self.space == "layout" else ()

    @property
    def summary_columns(self) -> tuple[str, ...]:
        """What a config as a whole is described by."""
        if self.space == "layout":
            return layout.SUMMARY_COLUMNS
        return tile_cpu.SUMMARY_COLUMNS if self.device == "cpu" else tile_tpu.SUMMARY_COLUMNS

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by its name; the first axis of a layer is that of the members."""
        items, summary = len(self.item_columns), len(self.summary_columns)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("summary_mean", "summary_scale", "prior"), (summary,))
        shapes |= {"output_scale": (1,), "resolution": (1,)}
        if items:
            shapes |= {"items_mean": (items,), "items_scale": (items,)}
        for name, (before, after) in self.layers.items():
            shapes |= {f"{name}.weight": (self.members, before, after), f"{name}.bias": (self.members, 1, after)}
        return shapes

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Width before and after every layer, by its name."""
        items, summary = len(self.item_columns), len(self.summary_columns)
        layers: dict[str, tuple[int, int]] = {}
        if items:
            layers |= {"item_input": (items, self.width), "item_hidden": (self.width, self.width)}
        pooled = summary + (2 * self.width if items else 0)
        return layers | {
            "config_input": (pooled, self.width),
            "config_hidden": (self.width, self.width),
            "output": (self.width, 1),
        }

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(math.prod(shape) for shape in self.parameter_shapes.values())
