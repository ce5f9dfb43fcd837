"""Targets by name. Every compilation and every run happens in a child process."""

from __future__ import annotations

from collections.abc import Callable

from autotune.errors import AutotuneError
from autotune.targets.base import Target


def _open_cpu(argument: str, time_limit: float | None) -> Target:
    from autotune.targets.cpu import CpuTarget

    if argument:
        raise AutotuneError(f"target 'cpu:{argument}': expected cpu alone")
    return CpuTarget(time_limit=time_limit)


def _open_tpu(argument: str, time_limit: float | None) -> Target:
    if not argument:
        from autotune.targets.tpu.attached import open_target

        return open_target(time_limit)
    from autotune.targets.tpu.target import TpuTarget

    return TpuTarget(argument, time_limit=time_limit)


TARGETS: dict[str, Callable[[str, float | None], Target]] = {"cpu": _open_cpu, "tpu": _open_tpu}
"""By the part of the name before the first colon; called with the part after it."""


def open_target(name: str, *, time_limit: float | None = None) -> Target:
    """Open a target.

    Args:
        name: "cpu", "tpu" (one of this host), "tpu:v5e" (without a TPU), "tpu:v5e:2x2", ...
        time_limit: seconds that one config may take to compile, and to run once; None for the target's own rule.

    Raises:
        AutotuneError: there is no such target, or no such device.
        ToolchainError: its compiler is missing.
    """
    kind, _, argument = name.partition(":")
    if kind not in TARGETS:
        raise AutotuneError(f"target {name!r}: expected cpu, tpu or tpu:<generation>")
    return TARGETS[kind](argument, time_limit)
