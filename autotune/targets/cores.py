"""One core per measurement: two searches on one machine must not time their programs on the same core."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)


class ReservedCore:
    """The highest core that this process may use and that no other search has reserved.

    The reservation is an advisory lock on a small file in the temporary folder; it ends with the process. When every
    core is taken, the highest is shared, with a warning.

    Attributes:
        number: of the core.
        shared: whether another search uses it too.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        self.number, self.shared = cores[0], True
        for core in cores:
            file = _lock(Path(tempfile.gettempdir()) / f"xla-autotune-core-{core}.lock")
            if file is not None:
                self._file, self.number, self.shared = file, core, False
                break
        if self.shared:
            logger.warning("every core is in use by another search: measurements will be noisy")

    def release(self) -> None:
        """Let others have the core."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None when somebody else holds it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file
