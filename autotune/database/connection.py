"""Opening the SQLite file of the database, and saying in words what SQLite says in codes.

The file is in WAL mode: one process writes at a time and others wait for it; readers never wait. With
`synchronous=NORMAL` a transaction stands in the write-ahead log, in the operating system's hands, when COMMIT returns:
kill -9 of the process loses nothing that was committed. (A power failure may lose the last transactions, but does not
damage the file: https://www.sqlite.org/pragma.html#pragma_synchronous.)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from autotune.database.rows import CREATE_INDEX, CREATE_PROGRAMS, CREATE_TABLE
from autotune.database.tuned import CREATE_TUNED
from autotune.errors import DatabaseError

APPLICATION_ID = int.from_bytes(b"xlat")  # tells our files from other programs' databases
SCHEMA_VERSION = 1
OTHER_FILE = "name another file with --database"


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Opens the database at `path`, which is made if it does not exist.

    Args:
        path: the file.
        busy_seconds: how long to wait for another process that is writing.

    Raises:
        DatabaseError: the file is no database of ours, is damaged or too new, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no ordinary file"
            raise DatabaseError(f"{path} is {what}; a file was expected: {OTHER_FILE}")
        _check_writable(path)
        _check_header(path)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be reached or made ({error.strerror}); {OTHER_FILE}") from error
    with translated(path, busy_seconds), contextlib.ExitStack() as on_failure:
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)  # we say BEGIN ourselves
        on_failure.callback(connection.close)
        _prepare(connection, path, busy_seconds)
        on_failure.pop_all()
    return connection


def connect_in_memory() -> sqlite3.Connection:
    """A database that lives as long as the connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _prepare(connection, Path(":memory:"), 0.0)
    return connection


@contextlib.contextmanager
def translated(path: Path, busy_seconds: float) -> Iterator[None]:
    """Turns errors of SQLite into a DatabaseError that names the file and says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: {_advice(error, busy_seconds)}") from error


def _prepare(connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    """Checks that the file is ours before the first write to it, then makes the table if it is new."""
    connection.row_factory = sqlite3.Row
    _check_identity(connection, path)
    _check_complete(connection, path)
    _enter_wal_mode(connection, busy_seconds)
    connection.execute("PRAGMA synchronous = NORMAL")
    if _pragma(connection, "user_version") == 0:
        _make_table(connection)
    for name, statement in (("prepared_programs", CREATE_PROGRAMS), ("tuned_programs", CREATE_TUNED)):
        if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]:
            connection.execute(statement)  # the file is older than the table


def _make_table(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if _pragma(connection, "user_version") == SCHEMA_VERSION:
            return  # another process was faster
        connection.execute(CREATE_TABLE)
        connection.execute(CREATE_INDEX)
        connection.execute(CREATE_PROGRAMS)
        connection.execute(CREATE_TUNED)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that happens inside is committed at the end, or nothing of it; the right to write is taken at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself on some errors
            connection.execute("ROLLBACK")
        raise


def _check_writable(path: Path) -> None:
    """SQLite would open a file that cannot be written, and fail at the first evaluation.

    Raises:
        DatabaseError: the file, or its folder (which gets the write-ahead log), cannot be written.
    """
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.W_OK, effective_ids=True):
            raise DatabaseError(f"{path}: {place} cannot be written by user {os.geteuid()}; {OTHER_FILE}")


def _check_header(path: Path) -> None:
    """SQLite takes any file below 512 bytes for an empty database and would overwrite it.

    Raises:
        DatabaseError: the file holds something, but no database.
    """
    if path.exists() and 0 < path.stat().st_size < 512:
        raise DatabaseError(f"{path}: {_NO_DATABASE}")


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN")  # one snapshot: another process may be making the table right now
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    application_id, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    connection.execute("COMMIT")
    if not is_empty and application_id != APPLICATION_ID:
        raise DatabaseError(f"{path} is an SQLite database of another program; {OTHER_FILE}")
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"{path} was written by a newer xla-autotune (schema {version}; this one knows {SCHEMA_VERSION}); "
            f"upgrade with pip install --upgrade xla-autotune, or {OTHER_FILE}"
        )


def _check_complete(connection: sqlite3.Connection, path: Path) -> None:
    """Looks for damage; SQLite itself would notice a missing page only when it is read.

    Raises:
        DatabaseError: SQLite found damage.
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DatabaseError(f"{path} is damaged ({found}); {_RECOVER}")


def _enter_wal_mode(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switches a new file to WAL. SQLite does not wait for the lock when two processes switch at once, so we do."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


_NO_DATABASE = f"this file is not an SQLite database; {OTHER_FILE}"
_RECOVER = f"move it away, or save what can be read with `sqlite3 FILE .recover`, or {OTHER_FILE}"


def _advice(error: sqlite3.Error, busy_seconds: float) -> str:
    """What happened and what to do, by SQLite's primary result code (https://www.sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another process has been writing for {busy_seconds:g} s; wait for it to end, or {OTHER_FILE}"
        case sqlite3.SQLITE_NOTADB:
            return _NO_DATABASE
        case sqlite3.SQLITE_CORRUPT:
            return f"the database is damaged ({error}); {_RECOVER}"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"the file or its folder cannot be written by user {os.geteuid()} ({error}); {OTHER_FILE}"
        case sqlite3.SQLITE_FULL:
            return f"no space left for the database; free some space on that disk, or {OTHER_FILE}"
        case sqlite3.SQLITE_IOERR:
            return f"reading or writing failed ({error}); check that disk and its quota, or {OTHER_FILE}"
        case _:
            return f"{error}; if this repeats, {OTHER_FILE}"
