"""Packages that come with an extra: whether they are there, before any work begins that needs them."""

from __future__ import annotations

import importlib.util

from autotune.errors import ToolchainError


def require(extra: str, need: str, *packages: str) -> None:
    """Find out whether the packages of an extra are there, without importing them.

    Args:
        extra: such as "report", as in `pip install 'xla-autotune[report]'`.
        need: what needs which, such as "reports need Plotly".
        packages: the names under which they are imported.

    Raises:
        ToolchainError: one is missing; says how to install it.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolchainError(f"{need} ({', '.join(missing)} not found); run: pip install 'xla-autotune[{extra}]'")
