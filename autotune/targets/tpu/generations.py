"""The generations of TPU that libtpu compiles for, and how their topologies are named."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from autotune.errors import AutotuneError


@dataclass(frozen=True)
class Generation:
    """One generation of TPU.

    Attributes:
        name: "v5e", ...
        single_chip: shape of the smallest topology, "1x1" or "1x1x1".
        devices_per_chip: devices that PJRT shows per chip (tried with libtpu 0.0.52).
        cost_model_device: the device description of the analytical cost model.
        device_kinds: what jax calls its devices; the first as libtpu 0.0.52 does, others were seen elsewhere.
    """

    name: str
    single_chip: str
    devices_per_chip: int
    cost_model_device: str
    device_kinds: tuple[str, ...]


GENERATIONS: Final = MappingProxyType(
    {
        each.name: each
        for each in (
            Generation("v2", "1x1", 2, "tpu-v2", ("TPU v2",)),
            Generation("v3", "1x1", 2, "tpu-v3", ("TPU v3",)),
            Generation("v4", "1x1x1", 2, "tpu-v4", ("TPU v4",)),
            Generation("v5e", "1x1", 1, "tpu-v5e", ("TPU v5 lite", "TPU v5e")),
            Generation("v5p", "1x1x1", 1, "tpu-v5p", ("TPU v5", "TPU v5p")),
            Generation("v6e", "1x1", 1, "tpu-v6e", ("TPU v6 lite", "TPU v6e")),
            Generation("tpu7x", "1x1x1", 2, "tpu7x", ("TPU7x", "TPU v7x")),
        )
    }
)


@dataclass(frozen=True)
class Topology:
    """Chips of one generation, and how they are wired.

    Attributes:
        generation: "v5e", ...
        shape: chips along each axis, such as "2x2".
        name: as libtpu names it, such as "v5e:2x2".
        chips: how many there are.
        devices: how many devices a program may be divided over.
        cost_model_device: the device description of the analytical cost model, such as "tpu-v5e".
    """

    generation: str
    shape: str
    name: str
    chips: int
    devices: int
    cost_model_device: str


def parse_topology(text: str) -> Topology:
    """Read a topology.

    Args:
        text: a generation ("v5e": one chip) or a generation and a shape ("v5e:2x2", "v4:2x2x1").

    Raises:
        AutotuneError: there is no such generation, or what follows is no shape. Whether libtpu knows the shape is
            found when it is used.
    """
    name, colon, shape = text.partition(":")
    generation = GENERATIONS.get(name)
    if generation is None:
        raise AutotuneError(f"TPU generation {name!r}: expected one of {', '.join(GENERATIONS)}")
    if not colon:
        shape = generation.single_chip
    if not re.fullmatch(r"[1-9]\d{0,3}(x[1-9]\d{0,3}){1,2}", shape):
        raise AutotuneError(
            f"TPU topology {text!r}: expected a shape such as {generation.single_chip} or 2x2 after the colon, "
            f"found {shape!r}"
        )
    chips = math.prod(int(extent) for extent in shape.split("x"))
    return Topology(
        generation=name,
        shape=shape,
        name=f"{name}:{shape}",
        chips=chips,
        devices=chips * generation.devices_per_chip,
        cost_model_device=generation.cost_model_device,
    )


def generation_of(device_kind: str) -> Generation | None:
    """The generation of a device, by what jax calls it; None for one that we do not know."""
    return next((each for each in GENERATIONS.values() if device_kind in each.device_kinds), None)
