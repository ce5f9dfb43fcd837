"""gRPC is an extra: who asks for a server without it is told how to get it."""

from __future__ import annotations

import importlib.util

from autotune.errors import ToolchainError


def require_grpc() -> None:
    """Find out whether the packages of the extra `remote` are there.

    Raises:
        ToolchainError: one is missing.
    """
    missing = [name for name in ("grpc", "grpc_health", "grpc_reflection") if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolchainError(
            f"measurement servers need gRPC ({', '.join(missing)} not found); run: pip install 'xla-autotune[remote]'"
        )
