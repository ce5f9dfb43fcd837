"""A look into a database file from outside, while its writer is alive or after it was killed."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def committed(path: Path) -> list[str]:
    """Config ids of the evaluations that searches recorded, in order; none while there is no file or no table."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return [row[0] for row in connection.execute("SELECT config_id FROM evaluations WHERE purpose = 'search'")]
        except sqlite3.OperationalError:
            return []
