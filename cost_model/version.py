"""The version of this tool, for cards, records and results."""

from __future__ import annotations

from importlib import metadata


def tool_version() -> str:
    """Version of the distribution that this package is part of; "not installed" in a bare source tree."""
    try:
        return metadata.version("xla-autotune")
    except metadata.PackageNotFoundError:
        return "not installed"
