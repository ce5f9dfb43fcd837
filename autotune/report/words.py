"""Numbers as people read them."""

from __future__ import annotations

import math
import re

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def seconds(value: float) -> str:
    """Such as "3.459 ms"."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if abs(value) >= scale:
            return f"{value / scale:.3f} {unit}"
    return f"{value / 1e-6:.1f} µs"


def cost(value: float, unit: str) -> str:
    """In the unit of an explanation: "compiler cycles" or "seconds"."""
    return seconds(value) if unit == "seconds" else f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes, such as "4.46 MB"."""
    for limit, unit in _SIZES:
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:,.0f} B"


def points(text: str) -> str:
    """The size of a space: "about 10⁸⁵ configs" where it is large."""
    number = int(text) if text.isdecimal() else 0
    if number < 10**6:
        return f"{number:,} configs"
    return f"about 10{str(round(math.log10(number))).translate(_RAISED)} configs"


def order(dimensions: tuple[int, ...] | list[int]) -> str:
    """A minor-to-major order as HLO text writes it: "{1,0}"."""
    return f"{{{','.join(map(str, dimensions))}}}"


def operation(name: str, most: int) -> str:
    """An operation of a user's program for a narrow place: its end, without what jax wraps around scopes.

    "jit(train_step)/transpose(jvp(dense_5))/dot_general" becomes "grad dense_5/dot_general": jax's backward pass.
    """
    text = re.sub(r"transpose\(jvp\(([^()]*)\)\)", r"grad \1", re.sub(r"^(?:jit\([^()]*\)/)+", "", name))
    text = re.sub(r"jvp\(([^()]*)\)", r"\1", text)
    return text if len(text) <= most else f"…{text[len(text) - most + 1 :]}"


def shortened(text: str, most: int) -> str:
    """Without its middle, if it is long: the ends of names tell them apart."""
    if len(text) <= most:
        return text
    head = (most - 1) // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
