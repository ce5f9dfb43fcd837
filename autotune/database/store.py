"""The database: record an evaluation, find evaluations again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs

from autotune.database.connection import connect, connect_in_memory, transaction, translated
from autotune.database.rows import EvaluationKey, from_row, key_columns, to_row
from autotune.database.tuned import (
    INSERT_TUNED,
    SELECT_TUNED,
    SELECT_TUNED_ANYWHERE,
    TunedRecord,
    tuned_from_row,
    tuned_to_row,
)
from autotune.errors import DatabaseError, SpaceError
from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, JsonObject, config_id
from cost_model.version import tool_version

logger = logging.getLogger(__name__)

BUSY_SECONDS = 30.0

_SAME_KEY = " AND ".join(f"{field.name} = :{field.name}" for field in fields(EvaluationKey))
_SELECT_LATEST = f"""
SELECT * FROM evaluations WHERE id IN (
    SELECT max(id) FROM evaluations
    WHERE {_SAME_KEY} AND (:purpose IS NULL OR purpose = :purpose) AND (:include_transient OR NOT transient)
    GROUP BY config_id
) ORDER BY id
"""
_SELECT_CONFIG = f"""
SELECT * FROM evaluations
WHERE {_SAME_KEY} AND config_id = :config_id AND purpose = :purpose AND NOT transient
ORDER BY id DESC LIMIT 1
"""
_KEY_NAMES = ", ".join(field.name for field in fields(EvaluationKey))
_SELECT_PROGRAMS = f"""
SELECT {_KEY_NAMES}, count(DISTINCT config_id) AS configs, sum(kind = 'measured') AS measured,
    sum(kind = 'estimated') AS estimated, sum(kind = 'failed') AS failed, max(created_at) AS last_recorded
FROM evaluations GROUP BY {_KEY_NAMES} ORDER BY max(id)
"""


_SELECT_CONTENT = f"SELECT content FROM prepared_programs WHERE {_SAME_KEY}"
_INSERT_CONTENT = f"""
INSERT OR IGNORE INTO prepared_programs ({_KEY_NAMES}, content, created_at, tool_version)
VALUES ({", ".join(f":{field.name}" for field in fields(EvaluationKey))}, :content, :created_at, :tool_version)
"""


@dataclass(frozen=True)
class RecordedProgram:
    """What the database holds under one key.

    Attributes:
        key: program, space, target, device kind and compiler version.
        configs: number of different configs.
        measured: number of measured evaluations (a config may have several).
        estimated: number of estimated evaluations.
        failed: number of failed evaluations, transient ones included.
        last_recorded: when the last of them was recorded: ISO 8601, UTC.
    """

    key: EvaluationKey
    configs: int
    measured: int
    estimated: int
    failed: int
    last_recorded: str


def default_path() -> Path:
    """The database in the user's data folder."""
    return platformdirs.user_data_path("xla-autotune", appauthor=False) / "evaluations.sqlite"


class Database:
    """All evaluations ever made, keyed by program, space, target, device kind, compiler version and config.

    Use as a context manager, from the thread that opened it. Several processes may have one file open: readers never
    wait, a writer waits for another one for up to half a minute.

    Attributes:
        path: the file, or `:memory:`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
        """Use `open` or `in_memory`."""
        self.path = path
        self._connection = connection
        self._busy_seconds = busy_seconds
        self._tool_version = tool_version()

    @classmethod
    def open(cls, path: Path | None = None, *, busy_seconds: float = BUSY_SECONDS) -> Self:
        """Opens a database file and makes it if there is none.

        Args:
            path: the file; None is the one in the user's data folder.
            busy_seconds: how long to wait for another process that is writing.

        Raises:
            DatabaseError: the file is no database of ours, is damaged or too new, or cannot be written.
        """
        path = default_path() if path is None else path
        return cls(connect(path, busy_seconds), path, busy_seconds)

    @classmethod
    def in_memory(cls) -> Self:
        """A database that is gone when it is closed."""
        return cls(connect_in_memory(), Path(":memory:"), 0.0)

    def record(self, key: EvaluationKey, evaluation: Evaluation) -> None:
        """Adds an evaluation. When the call returns it is committed and survives kill -9.

        Earlier evaluations of the same config stay.

        Raises:
            DatabaseError: it could not be written (nothing is changed then), or its numbers are no numbers of its kind.
        """
        row = to_row(key, evaluation, self._tool_version)
        columns = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        with translated(self.path, self._busy_seconds):
            try:
                with transaction(self._connection):
                    self._connection.execute(f"INSERT INTO evaluations ({columns}) VALUES ({values})", row)
            except sqlite3.IntegrityError as error:
                raise DatabaseError(
                    f"{self.path}: config {row['config_id']} was not recorded, since times and cycles must be positive "
                    f"and finite and the purpose search or confirm ({error}): {evaluation.outcome}, "
                    f"purpose {evaluation.purpose!r}, compile_seconds {evaluation.compile_seconds}"
                ) from error

    def evaluations(
        self,
        key: EvaluationKey,
        config_from_json: Callable[[JsonObject], Config],
        *,
        purpose: str | None = None,
        include_transient: bool = False,
    ) -> list[Evaluation]:
        """The latest evaluation of each config, in the order in which they were recorded.

        A config that the space does not know any more (another version of this tool recorded it) is left out with a
        warning in the log.

        Args:
            key: all evaluations have exactly this key.
            config_from_json: makes a config from its JSON form (`Space.from_json`).
            purpose: only "search" or only "confirm" evaluations; None takes both.
            include_transient: whether a transient failure counts; if not, an earlier evaluation of its config does.

        Raises:
            DatabaseError: the database cannot be read.
        """
        selection = {**key_columns(key), "purpose": purpose, "include_transient": include_transient}
        with translated(self.path, self._busy_seconds):
            rows = self._connection.execute(_SELECT_LATEST, selection).fetchall()
        found = []
        for row in rows:
            try:
                found.append(from_row(row, config_from_json))
            except (SpaceError, ValueError) as error:
                logger.warning("%s: evaluation %d is left out: %s", self.path, row["id"], error)
        return found

    def latest(self, key: EvaluationKey, config: Config, *, purpose: str) -> Evaluation | None:
        """The latest evaluation of one config that was no transient failure; None if there is none.

        One that another version of this tool recorded, and this one does not know, is passed over with a warning.

        Raises:
            DatabaseError: the database cannot be read.
        """
        selection = {**key_columns(key), "config_id": config_id(config), "purpose": purpose}
        with translated(self.path, self._busy_seconds):
            row = self._connection.execute(_SELECT_CONFIG, selection).fetchone()
        try:
            return None if row is None else from_row(row, lambda value: config)
        except ValueError as error:
            logger.warning("%s: evaluation %d is left out: %s", self.path, row["id"], error)
            return None

    def keep_content(self, key: EvaluationKey, content: bytes) -> None:
        """Keeps what the evaluations of a key are of (see `autotune.recorded.kept`); what is there stays.

        Raises:
            DatabaseError: it could not be written.
        """
        row = key_columns(key) | {
            "content": content,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "tool_version": self._tool_version,
        }
        with translated(self.path, self._busy_seconds), transaction(self._connection):
            self._connection.execute(_INSERT_CONTENT, row)

    def content(self, key: EvaluationKey) -> bytes | None:
        """What the evaluations of a key are of; None if it was not kept.

        Raises:
            DatabaseError: the database cannot be read.
        """
        with translated(self.path, self._busy_seconds):
            row = self._connection.execute(_SELECT_CONTENT, key_columns(key)).fetchone()
        return None if row is None else bytes(row["content"])

    def keep_tuned(self, record: TunedRecord) -> None:
        """Keeps what a search found, in place of what an earlier one of the same program and space did.

        Raises:
            DatabaseError: it could not be written.
        """
        row = tuned_to_row(record, self._tool_version)
        with translated(self.path, self._busy_seconds), transaction(self._connection):
            self._connection.execute(INSERT_TUNED, row)

    def tuned(
        self, program: str, device_kind: str, compiler_version: str, *, space: str | None = None
    ) -> TunedRecord | None:
        """What searches found for a program on exactly this device and compiler; None if there was none.

        Args:
            program: its fingerprint.
            device_kind: as in the evaluations.
            compiler_version: likewise.
            space: what was varied; None for any.

        Returns:
            The best of the spaces that were searched.

        Raises:
            DatabaseError: the database cannot be read.
        """
        key = {
            "program": program,
            "device_kind": device_kind,
            "compiler_version": compiler_version,
            "space": space,
        }
        with translated(self.path, self._busy_seconds):
            row = self._connection.execute(SELECT_TUNED, key).fetchone()
        return None if row is None else tuned_from_row(row)

    def tuned_anywhere(self, program: str) -> list[TunedRecord]:
        """What searches found for a program, for all devices and compilers, oldest first.

        Raises:
            DatabaseError: the database cannot be read.
        """
        with translated(self.path, self._busy_seconds):
            rows = self._connection.execute(SELECT_TUNED_ANYWHERE, {"program": program}).fetchall()
        return [tuned_from_row(row) for row in rows]

    def programs(self) -> list[RecordedProgram]:
        """What there is, one entry per key; the one recorded last stands last.

        Raises:
            DatabaseError: the database cannot be read.
        """
        with translated(self.path, self._busy_seconds):
            rows = self._connection.execute(_SELECT_PROGRAMS).fetchall()
        key_names = {field.name for field in fields(EvaluationKey)}
        found = []
        for row in rows:
            key = EvaluationKey(**{name: row[name] for name in key_names})
            found.append(RecordedProgram(key, **{name: row[name] for name in set(row.keys()) - key_names}))
        return found

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
