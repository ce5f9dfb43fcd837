"""What a program is made for: the shape and dtype of every array that it takes, in whatever form a user has them.

Needs neither jax nor TensorFlow: tensors, their specs and arrays of all frameworks have a `shape` and a `dtype`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16  # noqa: F401 - teaches numpy the names "bfloat16", "float8_e4m3fn", ...
from numpy.typing import NDArray

from autotune.errors import AutotuneError, UnsupportedProgramError


@dataclass(frozen=True)
class ArraySpec:
    """One array that a program takes or returns.

    Attributes:
        shape: its dimensions, all known.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    def zeros(self) -> NDArray[Any]:
        """An array of it."""
        return np.zeros(self.shape, self.dtype)


def is_spec(value: Any) -> bool:
    """Whether a value stands for one array: it has a shape and a dtype, or is a pair of them."""
    return _is_pair(value) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def array_spec(value: Any, what: str) -> ArraySpec:
    """Read the spec of one array.

    Args:
        value: a pair such as `((8, 224, 224, 3), "float32")`, or anything with a `shape` and a `dtype`: an array, a
            `tf.TensorSpec`, a tensor, a `jax.ShapeDtypeStruct`, a `keras.KerasTensor`.
        what: how messages call it.

    Raises:
        AutotuneError: it is something else, or its dtype is unknown.
        UnsupportedProgramError: it has a dimension without a size, or no rank at all, or elements that are no numbers.
    """
    if not is_spec(value):
        raise AutotuneError(
            f'{what}: expected a shape with a dtype, such as ((8, 224, 224, 3), "float32"), or an array or a '
            f"tf.TensorSpec, found {value!r}"
        )
    shape, dtype = value if _is_pair(value) else (value.shape, value.dtype)
    if getattr(shape, "rank", 0) is None:  # a tf.TensorShape that does not know
        raise UnsupportedProgramError(f"{what}: {value!r} has no shape; XLA compiles for one shape, so give all sizes")
    if any(size is None or size < 0 for size in shape):
        raise UnsupportedProgramError(
            f"{what}: shape {tuple(shape)} has a dimension without a size; XLA compiles for one shape, so give them "
            f"all, such as {tuple(8 if size is None or size < 0 else int(size) for size in shape)}"
        )
    return ArraySpec(tuple(int(size) for size in shape), _numpy_dtype(dtype, what))


def take_apart(value: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Find the specs in a nest of lists, tuples and dictionaries.

    Args:
        value: a spec, or a nest of specs and of other things, which stay as they are.

    Returns:
        The specs, in order (dictionaries in the order of their keys, as TensorFlow and jax have them), and a function
        that makes the same nest with others in their places.
    """
    specs: list[Any] = []
    _replaced(value, lambda spec: specs.append(spec))

    def put_together(others: Sequence[Any]) -> Any:
        free = iter(others)
        return _replaced(value, lambda spec: next(free))

    return specs, put_together


def _replaced(value: Any, replacement: Callable[[Any], Any]) -> Any:
    if is_spec(value):
        return replacement(value)
    match value:
        case dict():
            return {key: _replaced(value[key], replacement) for key in sorted(value, key=str)}
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(_replaced(each, replacement) for each in value))
        case tuple() | list():
            return type(value)(_replaced(each, replacement) for each in value)
        case _:
            return value


def first_lines(error: BaseException, count: int = 3) -> str:
    """The part of a framework's message that says what is wrong: type and first lines, without its stack traces."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("File ", "in user code", "Traceback"))]
    return f"{type(error).__name__}: " + " ".join(told[:count])[:600]


def _is_pair(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not isinstance(value[0], (tuple, list)):
        return False
    shape, dtype = value
    if not all(size is None or isinstance(size, (int, np.integer)) for size in shape):
        return False
    return isinstance(dtype, (str, type, np.dtype)) or hasattr(dtype, "as_numpy_dtype")


def _numpy_dtype(dtype: Any, what: str) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    except TypeError:
        raise AutotuneError(
            f"{what}: {dtype!r} is no dtype; expected such as 'float32', 'bfloat16' or 'int32'"
        ) from None
    if found.kind in "OSU":
        raise UnsupportedProgramError(f"{what}: elements are {dtype}; XLA computes with numbers only")
    return found
