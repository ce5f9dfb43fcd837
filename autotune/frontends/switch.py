"""The off switch: an environment variable for a process, a context manager for a part of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

DISABLE: Final = "AUTOTUNE_DISABLE"
"""Environment variable: `1` makes `autotune.jit` and tuned functions the functions that they came from."""

REQUIRE_CACHED: Final = "AUTOTUNE_REQUIRE_CACHED"
"""Environment variable: `1` makes a function that was never tuned for the device an error."""

_disabled: ContextVar[bool] = ContextVar("autotune_disabled", default=False)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Inside, `autotune.jit` and tuned functions run as plain `jax.jit` would run them."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def is_disabled() -> bool:
    """Whether tuned programs are off here."""
    return _disabled.get() or is_set(DISABLE)


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no", "off")
