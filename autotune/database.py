"""All evaluations ever made: one SQLite file, one row per evaluation, committed before `record` returns.

WAL with `synchronous=NORMAL`: a kill -9 of this process loses nothing that was recorded (a power cut may lose the last
rows, never the file). Rows are only ever added. There is one writer at a time and readers never wait for it.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autotune.errors import DatabaseError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Measured, Outcome
from autotune.spaces.base import Config, JsonObject, config_id

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
"""How long a writer waits for another one."""

_SCHEMA = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    program TEXT NOT NULL,
    space TEXT NOT NULL,
    target TEXT NOT NULL,
    device_kind TEXT NOT NULL,
    compiler_version TEXT NOT NULL,
    config_id TEXT NOT NULL,
    config TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('measured', 'estimated', 'failed')),
    seconds REAL, spread REAL, default_seconds REAL, default_spread REAL, passes INTEGER, runs INTEGER,
    cycles REAL, default_cycles REAL,
    reason TEXT, message TEXT, transient INTEGER NOT NULL,
    compile_seconds REAL NOT NULL,
    purpose TEXT NOT NULL,
    details TEXT NOT NULL,
    created_at TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    CHECK ((kind = 'measured') = (seconds IS NOT NULL)),
    CHECK ((kind = 'measured') = (default_seconds IS NOT NULL)),
    CHECK ((kind = 'estimated') = (cycles IS NOT NULL)),
    CHECK ((kind = 'estimated') = (default_cycles IS NOT NULL)),
    CHECK ((kind = 'failed') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX evaluations_by_key ON evaluations (program, space, target, device_kind, compiler_version, config_id);
"""


@dataclass(frozen=True)
class EvaluationKey:
    """What an evaluation holds for; a config is added to make the key of a row.

    Attributes:
        program: fingerprint.
        space: kind of space, "layout" or "tile".
        target: name of the target.
        device_kind: hardware that was measured or estimated for.
        compiler_version: of the compiler.
    """

    program: str
    space: str
    target: str
    device_kind: str
    compiler_version: str


@dataclass(frozen=True)
class ProgramSummary:
    """What the database has of one key.

    Attributes:
        key: the key.
        evaluations: number of rows.
        configs: number of different configs.
        last: when the latest was recorded, UTC, ISO 8601.
    """

    key: EvaluationKey
    evaluations: int
    configs: int
    last: str


def default_path() -> Path:
    """Where the database is unless another place is named."""
    import platformdirs

    return platformdirs.user_data_path("xla-autotune") / "evaluations.sqlite"


class Database:
    """An open database. Use `Database.open`."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    @classmethod
    def open(cls, path: Path | None = None) -> Self:
        """Open a database; it is made if it does not exist.

        Args:
            path: of the file; None for the one in the user's data folder; ":memory:" for one that is not kept.

        Raises:
            DatabaseError: the file cannot be opened, is no database of ours, or is of a newer version.
        """
        path = path if path is not None else default_path()
        in_memory = str(path) == ":memory:"
        if not in_memory:
            if path.is_dir():
                raise DatabaseError(f"database {path}: is a folder; name a file with --database")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseError(f"database {path}: its folder cannot be made ({error}); name another") from error
        with _explained(path):
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with _explained(path):
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(connection, str(path))

    def record(self, key: EvaluationKey, evaluation: Evaluation) -> None:
        """Add an evaluation; it is on disk when this returns.

        Raises:
            DatabaseError: it could not be written.
        """
        row = _row(key, evaluation)
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        with _explained(self._place):
            self._connection.execute(f"INSERT INTO evaluations ({names}) VALUES ({marks})", list(row.values()))

    def evaluations(
        self,
        key: EvaluationKey,
        config_from_json: Callable[[JsonObject], Config],
        *,
        purpose: str | None = None,
        include_transient: bool = False,
    ) -> list[Evaluation]:
        """The latest evaluation of each config, in the order in which the configs were first evaluated.

        Args:
            key: of the evaluations.
            config_from_json: makes a config of its JSON (`Space.from_json`).
            purpose: only "search" or only "confirm"; None for those of a search where there are any, else others.
            include_transient: whether a failure that says nothing about its config counts as an evaluation.
        """
        conditions = "program=? AND space=? AND target=? AND device_kind=? AND compiler_version=?"
        arguments: list[Any] = list(astuple(key))
        if purpose is not None:
            conditions += " AND purpose=?"
            arguments.append(purpose)
        if not include_transient:
            conditions += " AND NOT transient"
        with _explained(self._place):
            self._connection.row_factory = sqlite3.Row
            rows = self._connection.execute(
                f"SELECT * FROM evaluations WHERE {conditions} ORDER BY id", arguments
            ).fetchall()
        latest: dict[str, sqlite3.Row] = {}
        for row in rows:
            earlier = latest.get(row["config_id"])
            if earlier is None or row["purpose"] == "search" or earlier["purpose"] != "search":
                latest[row["config_id"]] = row
        return [_evaluation(row, config_from_json) for row in latest.values()]

    def programs(self) -> list[ProgramSummary]:
        """What is there, by key."""
        columns = "program, space, target, device_kind, compiler_version"
        with _explained(self._place):
            self._connection.row_factory = None
            rows = self._connection.execute(
                f"SELECT {columns}, COUNT(*), COUNT(DISTINCT config_id), MAX(created_at) FROM evaluations "
                f"GROUP BY {columns} ORDER BY MIN(id)"
            ).fetchall()
        return [ProgramSummary(EvaluationKey(*row[:5]), *row[5:]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _explained(place: object) -> Iterator[None]:
    """Turn SQLite's errors into ours, with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "locked" in text:
            advice = f"another process has been writing for more than {BUSY_SECONDS:.0f} s; wait for it or end it"
        elif "not a database" in text or "malformed" in text:
            advice = "the file is damaged or no database; move it away, or name another with --database"
        elif "readonly" in text or "unable to open" in text:
            advice = "the place cannot be written; name another with --database"
        elif "full" in text:
            advice = "the disk is full; make room and run the same command again"
        else:
            advice = "name another with --database"
        raise DatabaseError(f"database {place}: {text}: {advice}") from error


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file; refuse what is not ours."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if version > SCHEMA_VERSION:
            raise DatabaseError(
                f"database {path}: has schema version {version}, and this tool knows {SCHEMA_VERSION}; "
                "update xla-autotune, or name another file with --database"
            )
        if version == 0:
            if tables:
                raise DatabaseError(f"database {path}: is a database of another program; name another with --database")
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _row(key: EvaluationKey, evaluation: Evaluation) -> dict[str, Any]:
    from autotune.result import tool_version

    row: dict[str, Any] = dict(
        zip(("program", "space", "target", "device_kind", "compiler_version"), astuple(key), strict=True)
    )
    row |= {
        "config_id": config_id(evaluation.config),
        "config": json.dumps(evaluation.config.to_json(), sort_keys=True),
        "kind": evaluation.kind,
        "transient": 0,
        "compile_seconds": evaluation.compile_seconds,
        "purpose": evaluation.purpose,
        "details": json.dumps(dict(evaluation.details), sort_keys=True),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "tool_version": tool_version(),
    }
    match evaluation.outcome:
        case Measured() | Estimated() as numbers:
            row |= vars(numbers)
        case Failed() as failed:
            row |= {"reason": failed.reason.value, "message": failed.message, "transient": int(failed.reason.transient)}
    return row


def _evaluation(row: sqlite3.Row, config_from_json: Callable[[JsonObject], Config]) -> Evaluation:
    outcome: Outcome
    match row["kind"]:
        case "measured":
            names = ("seconds", "spread", "default_seconds", "default_spread", "passes", "runs")
            outcome = Measured(*(row[name] for name in names))
        case "estimated":
            outcome = Estimated(row["cycles"], row["default_cycles"])
        case _:
            outcome = Failed(FailureReason(row["reason"]), row["message"])
    config = config_from_json(json.loads(row["config"]))
    return Evaluation(config, outcome, row["compile_seconds"], row["purpose"], json.loads(row["details"]))
