"""All programs by name, and splits of them by family."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from training.errors import TrainingError
from training.zoo.catalogue import programs
from training.zoo.program import ZooProgram

SPLITS: Final = ("train", "valid", "test")

ZOO: Final[Mapping[str, ZooProgram]] = MappingProxyType({program.name: program for program in programs()})
"""By name, in the order of the table."""


def families() -> tuple[str, ...]:
    """The names of all families, in the order of the table."""
    return tuple(dict.fromkeys(program.family for program in ZOO.values()))


def find(name: str) -> ZooProgram:
    """The program of a name.

    Raises:
        TrainingError: there is none.
    """
    if name in ZOO:
        return ZOO[name]
    near = difflib.get_close_matches(name, ZOO, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`autotune zoo list` shows them all"
    raise TrainingError(f"program {name!r}: not in the zoo; {hint}")


def split_by_family(seed: int, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)) -> dict[str, list[ZooProgram]]:
    """Programs for training, validation and test; no family is in two of them.

    Args:
        seed: the same seed gives the same split.
        shares: of the families, for train, valid and test; their sum is 1. Rounded so that all families are used.

    Raises:
        TrainingError: the shares are negative or do not add up to 1.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise TrainingError(f"shares {shares}: expected three numbers of at least 0 (train, valid, test) that sum to 1")
    names = list(families())
    random.Random(seed).shuffle(names)
    first, second = round(shares[0] * len(names)), round((shares[0] + shares[1]) * len(names))
    parts = dict(zip(SPLITS, (names[:first], names[first:second], names[second:]), strict=True))
    return {
        split: [program for program in ZOO.values() if program.family in members] for split, members in parts.items()
    }
