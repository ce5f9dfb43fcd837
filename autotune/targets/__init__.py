"""Targets by name. Every compilation and every run happens in a child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.errors import AutotuneError
from autotune.targets.base import Target

if TYPE_CHECKING:
    from autotune.remote.credentials import ClientCredentials


@dataclass(frozen=True)
class TargetOptions:
    """How to open a target.

    Attributes:
        time_limit: seconds that one config may take to compile, and to run once; None for the target's own rule.
        repeat: whether a server is to evaluate again what its own database has.
        credentials: for servers; None for servers of this host that ask for nothing.
    """

    time_limit: float | None = None
    repeat: bool = False
    credentials: ClientCredentials | None = None


def _open_cpu(argument: str, options: TargetOptions) -> Target:
    from autotune.targets.cpu import CpuTarget

    if argument:
        raise AutotuneError(f"target 'cpu:{argument}': expected cpu alone")
    return CpuTarget(time_limit=options.time_limit)


def _open_tpu(argument: str, options: TargetOptions) -> Target:
    if not argument:
        from autotune.targets.tpu.attached import open_target

        return open_target(options.time_limit)
    from autotune.targets.tpu.target import TpuTarget

    return TpuTarget(argument, time_limit=options.time_limit)


def _open_grpc(argument: str, options: TargetOptions) -> Target:
    from autotune.remote.address import parse_addresses
    from autotune.remote.packages import require_grpc

    if not argument.startswith("//"):
        raise AutotuneError(f"target 'grpc:{argument}': expected grpc://HOST:PORT, or several with commas between them")
    addresses = parse_addresses(argument.removeprefix("//"), option="target grpc://")
    if options.time_limit is not None:
        raise AutotuneError("the time limit of an evaluation is the server's: autotune serve --evaluation-time-limit")
    require_grpc(quiet=True)
    from autotune.targets.remote import open_remote

    return open_remote(addresses, credentials=options.credentials, repeat=options.repeat)


def _open_replay(argument: str, options: TargetOptions) -> Target:
    from autotune.targets.replay import open_replay

    return open_replay(argument)


TARGETS: dict[str, Callable[[str, TargetOptions], Target]] = {
    "cpu": _open_cpu,
    "tpu": _open_tpu,
    "grpc": _open_grpc,
    "replay": _open_replay,
}
"""By the part of the name before the first colon; called with the part after it."""


def open_target(
    name: str,
    *,
    time_limit: float | None = None,
    repeat: bool = False,
    credentials: ClientCredentials | None = None,
) -> Target:
    """Open a target.

    Args:
        name: "cpu", "tpu" (one of this host), "tpu:v5e" (without a TPU), "tpu:v5e:2x2", "grpc://host:port",
            "replay:file", ...
        time_limit: as in `TargetOptions`.
        repeat: as in `TargetOptions`.
        credentials: as in `TargetOptions`.

    Raises:
        AutotuneError: there is no such target, or no such device.
        ToolchainError: its compiler is missing.
    """
    kind, _, argument = name.partition(":")
    if kind not in TARGETS:
        raise AutotuneError(f"target {name!r}: expected cpu, tpu, tpu:<generation>, grpc://HOST:PORT or replay:FILE")
    return TARGETS[kind](argument, TargetOptions(time_limit, repeat, credentials))
