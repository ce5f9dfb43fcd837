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
    from autotune.targets.tpu.generations import GENERATIONS
    from autotune.targets.tpu.target import TpuTarget

    if not argument:
        raise AutotuneError(
            "target 'tpu': a TPU of this host is not supported yet; name a generation to compile for, one of "
            + ", ".join(f"tpu:{name}" for name in GENERATIONS)
        )
    return TpuTarget(argument, time_limit=time_limit)


TARGETS: dict[str, Callable[[str, float | None], Target]] = {"cpu": _open_cpu, "tpu": _open_tpu}
"""By the part of the name before the first colon; called with the part after it."""


def open_target(name: str, *, time_limit: float | None = None) -> Target:
    """Open a target.

    Args:
        name: "cpu", "tpu:v5e", "tpu:v5e:2x2", ...
        time_limit: seconds that one config may take to compile, and to run once; None for the target's own rule.

    Raises:
        AutotuneError: there is no such target.
        ToolchainError: its compiler is missing.
    """
    kind, _, argument = name.partition(":")
    if kind not in TARGETS:
        raise AutotuneError(f"target {name!r}: expected cpu or tpu:<generation>")
    return TARGETS[kind](argument, time_limit)
