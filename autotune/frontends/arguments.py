"""Arguments of functions, written on a command line: shapes as HLO writes them, inside Python's literals."""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from autotune.errors import AutotuneError
from autotune.hlo.types import numpy_dtype

_SHAPE: Final = re.compile(r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)?)\[([\d,\s]*)\]")
_MARK: Final = "\0shape:"


def parse_arguments(text: str) -> tuple[Any, ...]:
    """Read positional arguments.

    Args:
        text: such as `{"w": f32[32,64]}, bf16[8,32], True`: dtypes with their dimensions in brackets (HLO's names or
            numpy's) stand for arrays, all else is a literal of Python.

    Returns:
        The arguments, with `jax.ShapeDtypeStruct` for arrays.

    Raises:
        AutotuneError: it cannot be read.
    """
    marked = _SHAPE.sub(lambda found: repr(f"{_MARK}{found[1]}[{found[2]}]"), text)
    try:
        value = ast.literal_eval(f"({marked},)") if text.strip() else ()
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise AutotuneError(
            f"arguments {text!r}: cannot be read ({error}); expected such as '{{\"w\": f32[32,64]}}, bf16[8,32], True'"
        ) from None
    return tuple(_arrays(each) for each in value)


def _arrays(value: Any) -> Any:
    match value:
        case str() if value.startswith(_MARK):
            return _struct(value.removeprefix(_MARK))
        case dict():
            return {key: _arrays(each) for key, each in value.items()}
        case tuple() | list():
            return type(value)(_arrays(each) for each in value)
        case _:
            return value


def _struct(text: str) -> Any:
    import jax

    name, _, dimensions = text.rstrip("]").partition("[")
    try:
        dtype = numpy_dtype(name)
    except KeyError:
        raise AutotuneError(f"argument {text}: {name!r} is no element type; expected such as f32, bf16, s32") from None
    return jax.ShapeDtypeStruct(tuple(int(each) for each in dimensions.split(",") if each.strip()), dtype)
