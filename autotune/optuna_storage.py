"""Where Optuna keeps studies: a database by URL, or a file. Opened only when that harms nothing that is there.

The forms are those that `optuna-dashboard` takes on its command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from autotune.errors import AutotuneError, ToolchainError
from autotune.result import check_writable

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_SQLITE_ENDINGS: Final = (".db", ".sqlite", ".sqlite3")
_JOURNAL_ENDINGS: Final = (".log", ".journal")
_SQLITE_URL: Final = "sqlite:///"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_OPTION: Final = "choose another with --save-study"


def load_optuna() -> Any:
    """The module optuna.

    Raises:
        ToolchainError: it is missing or too old.
    """
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise ToolchainError(
            f"Optuna 5 cannot be imported ({error}), which writes studies; run: pip install 'xla-autotune[optuna]'"
        ) from error
    return optuna


def described(storage: str | Path) -> str:
    """The storage as messages may show it: without a password."""
    return re.sub(r"(://[^/@:]*):[^@]*@", r"\1:***@", str(storage))


def check_study_storage(storage: str | Path) -> None:
    """Find out before a long search whether its evaluations can be saved.

    Raises:
        ToolchainError: optuna is missing, or what it needs for this kind of database.
        AutotuneError: the storage cannot be opened or written, or holds something else than studies.
    """
    path = _file(storage)
    if path is None:
        with opened(storage):
            return
    load_optuna()
    _format(path)
    check_writable(path.parent, kind="folder of the study", option="--save-study")


@contextlib.contextmanager
def opened(storage: str | Path) -> Iterator[BaseStorage]:
    """Open a storage of Optuna, and close it again.

    Args:
        storage: URL of a database (`postgresql://...`, `mysql://...`, `sqlite:///FILE`, `redis://...`), or a file:
            SQLite (.db, .sqlite, .sqlite3) or Optuna's journal (.log, .journal). A file that is there is what it is,
            whatever its name.

    Raises:
        ToolchainError: optuna is missing, or what it needs for this kind of database.
        AutotuneError: the storage cannot be opened, or holds something else than studies.
    """
    optuna, path = load_optuna(), _file(storage)
    # What the import says of every study it makes is nothing to somebody who only asked for a file.
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = None
    try:
        with _locked(path):
            found = _open(optuna, storage, path)
            yield found
    finally:
        optuna.logging.set_verbosity(verbosity)
        if isinstance(found, optuna.storages.RDBStorage):
            found.remove_session()
            found.engine.dispose()


def _open(optuna: Any, storage: str | Path, path: Path | None) -> Any:
    journal = optuna.storages.journal
    try:
        if path is None and str(storage).startswith("redis"):
            return optuna.storages.JournalStorage(journal.JournalRedisBackend(str(storage)))
        if path is None:
            return optuna.storages.RDBStorage(str(storage))
        if _format(path) == "journal":
            return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
        return optuna.storages.RDBStorage(f"{_SQLITE_URL}{path}")
    except AutotuneError:
        raise
    except ImportError as error:  # the driver of the database
        raise ToolchainError(
            f"study storage {described(storage)}: {error} (it needs its own Python package)"
        ) from error
    except Exception as error:  # of SQLAlchemy, of its drivers, of the file system
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AutotuneError(
            f"study storage {described(storage)}: cannot be opened ({described(reason)}); {_OPTION}"
        ) from error


@contextlib.contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    """Keeps other searches from writing the same file, so that no trial is added twice; makes its folder.

    Raises:
        AutotuneError: there is no such folder, or the file is something else.
    """
    if path is None:
        yield
        return
    _format(path)  # before anything is made
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise AutotuneError(f"study storage {path}: cannot be opened ({error}); {_OPTION}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file(storage: str | Path) -> Path | None:
    """The file that is meant; None for a database elsewhere."""
    text = str(storage)
    if text.startswith(_SQLITE_URL):
        return Path(text.removeprefix(_SQLITE_URL))
    return None if "://" in text else Path(text)


def _format(path: Path) -> str:
    """Either "sqlite" or "journal": by content, or by name for a file that is to be made.

    Raises:
        AutotuneError: it is neither, or an SQLite file of something else.
    """
    try:
        with path.open("rb") as file:
            start = file.readline(1 << 20)
    except FileNotFoundError:
        start = b""
    except OSError as error:
        raise AutotuneError(f"study storage {path}: cannot be read ({error}); {_OPTION}") from error
    if start.startswith(_SQLITE_MAGIC):
        _check_tables(path)
        return "sqlite"
    if start:
        with contextlib.suppress(ValueError, TypeError):
            if "op_code" in json.loads(start):
                return "journal"
        raise AutotuneError(f"study storage {path}: it holds something else than studies of Optuna; {_OPTION}")
    if path.suffix in _SQLITE_ENDINGS:
        return "sqlite"
    if path.suffix in _JOURNAL_ENDINGS:
        return "journal"
    endings = ", ".join((*_SQLITE_ENDINGS, *_JOURNAL_ENDINGS))
    raise AutotuneError(
        f"study storage {path}: expected a URL such as sqlite:///study.db, or a file with one of the endings {endings}"
    )


def _check_tables(path: Path) -> None:
    """Refuses a database of something else, such as our own of evaluations: Optuna would write its tables into it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise AutotuneError(f"study storage {path}: cannot be read ({error}); {_OPTION}") from error
    if tables and "studies" not in tables:
        raise AutotuneError(f"study storage {path}: it holds something else than studies of Optuna; {_OPTION}")
