"""gRPC is an extra: who asks for a server without it is told how to get it."""

from __future__ import annotations

import importlib.util
import os

from autotune.errors import ToolchainError


def require_grpc(*, quiet: bool = False) -> None:
    """Find out whether the packages of the extra `remote` are there.

    Args:
        quiet: keep gRPC from writing about failed handshakes to standard error: a client's own errors say it better.

    Raises:
        ToolchainError: one is missing.
    """
    missing = [name for name in ("grpc", "grpc_health", "grpc_reflection") if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolchainError(
            f"measurement servers need gRPC ({', '.join(missing)} not found); run: pip install 'xla-autotune[remote]'"
        )
    if quiet:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
