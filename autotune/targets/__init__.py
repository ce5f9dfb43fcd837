"""Targets by name. Every compilation and every run happens in a child process."""

from __future__ import annotations

from collections.abc import Callable

from autotune.errors import AutotuneError
from autotune.targets.base import Target


def _open_cpu(time_limit: float | None) -> Target:
    from autotune.targets.cpu import CpuTarget

    return CpuTarget(time_limit=time_limit)


TARGETS: dict[str, Callable[[float | None], Target]] = {"cpu": _open_cpu}


def open_target(name: str, *, time_limit: float | None = None) -> Target:
    """Open a target.

    Args:
        name: such as "cpu".
        time_limit: seconds that one config may take to compile, and to run once; None for the target's own rule.

    Raises:
        AutotuneError: there is no such target.
    """
    if name not in TARGETS:
        raise AutotuneError(f"target {name!r}: expected one of {', '.join(TARGETS)}")
    return TARGETS[name](time_limit)
