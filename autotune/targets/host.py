"""This host: its processor, its memory, and the jaxlib that is installed. Asked without importing jaxlib."""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from pathlib import Path

from autotune.errors import ToolchainError


def available_memory() -> int:
    """Bytes that can be used now without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processor() -> str:
    """Model, family and instruction sets (as a short hash) of the first core: what decides how code runs."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = hashlib.sha256(" ".join(sorted(facts.get("flags", "").split())).encode()).hexdigest()[:6]
    family, model = facts.get("cpu family", "?"), facts.get("model", "?")
    return f"{facts.get('model name', 'unknown processor')} ({family}/{model}, features {flags})"


def jaxlib_version() -> str:
    """Version of jaxlib.

    Raises:
        ToolchainError: it is not installed.
    """
    try:
        return metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        raise ToolchainError("jaxlib is not installed; run: pip install 'jax>=0.10,<0.11'") from None
