"""The version of this tool, for records and results."""

from __future__ import annotations

from importlib import metadata


def tool_version() -> str:
    """Version of this distribution; "not installed" when run from a source tree that was never installed."""
    try:
        return metadata.version("xla-autotune")
    except metadata.PackageNotFoundError:
        return "not installed"
