"""The C library's allocator in a process that measures: it keeps what is freed.

By default glibc gives large blocks back to the system when they are freed, or does not, depending on what lies beside
them in the heap. A program whose temporaries and results are given back after each run takes page faults for all of
them in the next, and one is as likely as the other: the default of a small PointNet took 2.5 ms in some processes and
5.9 ms in others, in each of them always the same, copies of it included. With that, layouts that change nothing but the
size of a temporary look twice as fast. A process that keeps its memory measures the program alone.
"""

from __future__ import annotations

import ctypes
from typing import Final

_MOST: Final = 2**31 - 1

_OPTIONS: Final = {
    -4: 0,  # M_MMAP_MAX: no block has pages of its own
    -1: _MOST,  # M_TRIM_THRESHOLD: the end of the heap is not given back
    -2: 64 << 20,  # M_TOP_PAD: the heap grows by this much at once
    -8: 1,  # M_ARENA_MAX: threads share it
}
"""Of `mallopt`. Source: man 3 mallopt."""


def keep_freed_memory() -> bool:
    """From now on, what this process frees stays its own.

    Returns:
        Whether the C library can be told so; others than glibc cannot.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    set_options = [mallopt(option, value) == 1 for option, value in _OPTIONS.items()]
    return all(set_options)
