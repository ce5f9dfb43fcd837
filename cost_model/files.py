"""Writing files so that nobody ever finds half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Puts a file in place in one step, also if the machine stops in between: readers see the old one or the new one.

    Args:
        path: the file, which is made or replaced. Its folder must exist.
        content: all of it.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    # In the same folder, so that it can be renamed.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
