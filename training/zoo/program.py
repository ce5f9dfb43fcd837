"""A program of the zoo, described without jax: what it is called, and how to build it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jax

Mode = Literal["inference", "train"]
Dtype = Literal["float32", "bfloat16"]
Built = tuple["Callable[..., Any]", "Sequence[jax.ShapeDtypeStruct]"]
_NAME: Final = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


@dataclass(frozen=True)
class ZooProgram:
    """One program; small enough to be compiled in a second or a few.

    Attributes:
        name: family, a slash and the variant, such as "resnet/b8-i64-train-bf16"; it is a path of a file, too.
        family: such as "resnet"; data sets are split by it.
        builder: imports jax and returns a function and the shapes and dtypes of its arguments (leaves: weights first).
            It pickles, so that a child process can call it.
        dtype: of weights and activations.
        mode: "inference", or "train": the loss and all weights after a step of gradient descent.
    """

    name: str
    family: str
    builder: Callable[[], Built]
    dtype: Dtype
    mode: Mode

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.name.startswith(f"{self.family}/"):
            raise ValueError(f"program {self.name!r}: expected a name such as {self.family}/b8-i64-train-bf16")
