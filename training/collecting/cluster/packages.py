"""Ray is an extra: who asks for a cluster without it is told how to get it."""

from __future__ import annotations

import importlib.util

from autotune.errors import ToolchainError


def require_ray() -> None:
    """Find out whether Ray is there.

    Raises:
        ToolchainError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ToolchainError("--ray needs Ray (ray not found); run: pip install 'xla-autotune[cluster]'")
