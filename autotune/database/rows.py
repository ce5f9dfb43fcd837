"""The table of evaluations, and how an evaluation becomes a row and a row an evaluation.

A row is never changed after it was written. Three groups of columns hold the three kinds of outcome; a CHECK of the
table refuses a row that mixes them, so an estimate can never pass for a measurement, whoever writes the row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Measured, Outcome
from autotune.spaces.base import Config, JsonObject, Space, config_id

if TYPE_CHECKING:
    from autotune.hlo.program import Program
    from autotune.targets.base import TargetDescription

# A CHECK passes when it is NULL, hence IS TRUE.
CREATE_TABLE = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    program TEXT NOT NULL,
    space TEXT NOT NULL,
    target TEXT NOT NULL,
    device_kind TEXT NOT NULL,
    compiler_version TEXT NOT NULL,
    config_id TEXT NOT NULL,
    config TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'confirm')),
    kind TEXT NOT NULL,
    seconds REAL, spread REAL, default_seconds REAL, default_spread REAL, repeat_spread REAL,
    passes INTEGER, runs INTEGER,
    cycles REAL, default_cycles REAL,
    reason TEXT, message TEXT,
    transient INTEGER NOT NULL CHECK (transient IN (0, 1)),
    compile_seconds REAL NOT NULL CHECK (compile_seconds >= 0),
    details TEXT NOT NULL,
    created_at TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    CONSTRAINT one_kind_of_outcome CHECK ((
        kind = 'measured' AND seconds > 0 AND seconds < 9e999 AND spread >= 0
            AND default_seconds > 0 AND default_seconds < 9e999 AND default_spread >= 0 AND repeat_spread >= 0
            AND passes > 0 AND runs > 0
            AND coalesce(cycles, default_cycles, reason, message) IS NULL AND transient = 0
        OR kind = 'estimated' AND cycles >= 0 AND cycles < 9e999 AND default_cycles > 0 AND default_cycles < 9e999
            AND coalesce(seconds, spread, default_seconds, default_spread, repeat_spread, passes, runs) IS NULL
            AND coalesce(reason, message) IS NULL AND transient = 0
        OR kind = 'failed' AND reason IS NOT NULL AND message IS NOT NULL
            AND coalesce(seconds, spread, default_seconds, default_spread, repeat_spread, passes, runs) IS NULL
            AND coalesce(cycles, default_cycles) IS NULL
    ) IS TRUE)
)
"""
CREATE_INDEX = """
CREATE INDEX evaluations_by_key
ON evaluations (program, space, target, device_kind, compiler_version, config_id, id)
"""
CREATE_PROGRAMS = """
CREATE TABLE IF NOT EXISTS prepared_programs (
    program TEXT NOT NULL,
    space TEXT NOT NULL,
    target TEXT NOT NULL,
    device_kind TEXT NOT NULL,
    compiler_version TEXT NOT NULL,
    content BLOB NOT NULL,
    created_at TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    PRIMARY KEY (program, space, target, device_kind, compiler_version)
)
"""
"""What evaluations of one key are of, beside them. Versions of this tool that do not know the table leave it alone."""


@dataclass(frozen=True)
class EvaluationKey:
    """What two evaluations must have in common to be compared: all but the config.

    Attributes:
        program: the fingerprint of the program.
        space: the kind of the space ("layout", "tile").
        target: the name of the target ("cpu", "tpu:v5e", ...).
        device_kind: the device that ran it, or for which it was compiled.
        compiler_version: the version of the compiler.

    Raises:
        ValueError: a field is empty, which would throw together what differs.
    """

    program: str
    space: str
    target: str
    device_kind: str
    compiler_version: str

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name):
                raise ValueError(f"{field.name} of an evaluation key is empty: {self}")

    @classmethod
    def of(cls, target: TargetDescription, program: Program, space: Space) -> EvaluationKey:
        """The key of all evaluations of a program's configs of a space by a target."""
        return cls(
            program=program.fingerprint,
            space=space.kind,
            target=target.name,
            device_kind=target.device_kind,
            compiler_version=target.compiler_version,
        )


def key_columns(key: EvaluationKey) -> dict[str, str]:
    """The columns of a key, by name."""
    return {field.name: getattr(key, field.name) for field in fields(key)}


def to_row(key: EvaluationKey, evaluation: Evaluation, tool_version: str) -> dict[str, str | float | int]:
    """The columns of a new row that are not NULL, by name."""
    return {
        **key_columns(key),
        "config_id": config_id(evaluation.config),
        "config": _json(evaluation.config.to_json()),
        "purpose": evaluation.purpose,
        "kind": evaluation.kind,
        **_outcome_columns(evaluation.outcome),
        "compile_seconds": float(evaluation.compile_seconds),
        "details": _json(dict(evaluation.details)),
        "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "tool_version": tool_version,
    }


def from_row(row: sqlite3.Row, config_from_json: Callable[[JsonObject], Config]) -> Evaluation:
    """The inverse of `to_row`.

    Raises:
        SpaceError: `config_from_json` does not know the config.
        ValueError: the row holds something that this version of the tool does not know.
    """
    return Evaluation(
        config=config_from_json(json.loads(row["config"])),
        outcome=_outcome(row),
        compile_seconds=row["compile_seconds"],
        purpose=row["purpose"],
        details=json.loads(row["details"]),
    )


def _outcome_columns(outcome: Outcome) -> dict[str, str | float | int]:
    match outcome:
        case Measured():
            return {
                "seconds": float(outcome.seconds),
                "spread": float(outcome.spread),
                "default_seconds": float(outcome.default_seconds),
                "default_spread": float(outcome.default_spread),
                "repeat_spread": float(outcome.repeat_spread),
                "passes": int(outcome.passes),
                "runs": int(outcome.runs),
                "transient": 0,
            }
        case Estimated():
            cycles, default_cycles = float(outcome.cycles), float(outcome.default_cycles)
            return {"cycles": cycles, "default_cycles": default_cycles, "transient": 0}
        case Failed():
            # A compiler's message may hold bytes that were no text; SQLite takes only what UTF-8 can hold.
            message = outcome.message.encode("utf-8", "replace").decode("utf-8")
            return {"reason": outcome.reason.name, "message": message, "transient": int(outcome.reason.transient)}


def _outcome(row: sqlite3.Row) -> Outcome:
    match row["kind"]:
        case "measured":
            return Measured(**{field.name: row[field.name] for field in fields(Measured)})
        case "estimated":
            return Estimated(**{field.name: row[field.name] for field in fields(Estimated)})
        case "failed" if row["reason"] in FailureReason.__members__:
            return Failed(FailureReason[row["reason"]], row["message"])
    raise ValueError(f"evaluation {row['id']} is {row['kind']!r} for the reason {row['reason']!r}")


def _json(value: JsonObject) -> str:
    """One text for one value; numbers of NumPy become Python's."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=float)
