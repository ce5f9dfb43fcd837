"""A memory limit for a library that cannot live with the system's own.

When an allocation is refused, libtpu's allocator reports that, which allocates: under a tight RLIMIT_DATA it went on
reporting for 194 s before it died of a full stack. So a thread looks at the memory in use, and ends the process first.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

_INTERVAL: Final = 0.1
"""Seconds between looks; the compiler takes some 100 MB in that time at most."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def private_memory() -> int:
    """Bytes of this process in memory that no file backs."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE


def end_beyond(limit: int) -> None:
    """End this process, with a word on standard error, as soon as it has more private memory than that.

    Args:
        limit: bytes.
    """
    threading.Thread(target=_watch, args=(limit,), daemon=True).start()


def _watch(limit: int) -> None:
    while (found := private_memory()) <= limit:
        time.sleep(_INTERVAL)
    sys.stderr.write(f"out of memory: the compiler took {found >> 20} MB, its limit is {limit >> 20} MB\n")
    sys.stderr.flush()
    os._exit(1)
