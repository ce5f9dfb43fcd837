"""gRPC is an extra: who asks for a server without it is told how to get it."""

from __future__ import annotations

import os

from autotune.extras import require


def require_grpc(*, quiet: bool = False) -> None:
    """Find out whether the packages of the extra `remote` are there.

    Args:
        quiet: keep gRPC from writing about failed handshakes to standard error: a client's own errors say it better.

    Raises:
        ToolchainError: one is missing.
    """
    require("remote", "measurement servers need gRPC", "grpc", "grpc_health", "grpc_reflection")
    if quiet:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
