"""Tuned programs in the database: what the latest search found, ready for `autotune.jit` to look up.

Evaluations say what configs cost; a row here says what to run. A later search of the same program replaces it (it has
seen the same evaluations and more).
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from autotune.evaluation import LabelKind

CREATE_TUNED = """
CREATE TABLE IF NOT EXISTS tuned_programs (
    program TEXT NOT NULL,
    space TEXT NOT NULL,
    device_kind TEXT NOT NULL,
    compiler_version TEXT NOT NULL,
    target TEXT NOT NULL,
    label TEXT NOT NULL CHECK (label IN ('measured', 'estimated')),
    improved INTEGER NOT NULL CHECK (improved IN (0, 1)),
    speedup REAL NOT NULL CHECK (speedup >= 1),
    verdict TEXT NOT NULL,
    stablehlo BLOB NOT NULL,
    options TEXT NOT NULL,
    problem TEXT NOT NULL,
    created_at TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    PRIMARY KEY (program, space, device_kind, compiler_version)
)
"""
"""Versions of this tool that do not know the table leave it alone."""

SELECT_TUNED = """
SELECT * FROM tuned_programs
WHERE program = :program AND device_kind = :device_kind AND compiler_version = :compiler_version
    AND (:space IS NULL OR space = :space)
ORDER BY improved DESC, problem = '' DESC, speedup DESC LIMIT 1
"""
SELECT_TUNED_ANYWHERE = "SELECT * FROM tuned_programs WHERE program = :program ORDER BY created_at"
INSERT_TUNED = """
INSERT OR REPLACE INTO tuned_programs VALUES (
    :program, :space, :device_kind, :compiler_version, :target, :label, :improved, :speedup, :verdict, :stablehlo,
    :options, :problem, :created_at, :tool_version
)
"""


@dataclass(frozen=True)
class TunedRecord:
    """What a search found for one program, as something that jax can run.

    Attributes:
        program: the fingerprint of the program.
        space: what was varied, "layout" or "tile".
        device_kind: the device that the search was for.
        compiler_version: its compiler.
        target: who evaluated, such as "cpu".
        label: whether the speed-up is measured or estimated.
        improved: whether there is a config better than the default; if not, the default is what to run.
        speedup: default over best; 1 if nothing is better.
        verdict: the search's own sentence.
        stablehlo: the tuned program as MLIR bytecode; empty where the default is best or with a `problem`.
        options: XLA flags that it is to be compiled with, by name.
        problem: why jax cannot run the tuned program, "" if it can.
        created_at: ISO 8601, UTC; filled in when it is recorded.
    """

    program: str
    space: str
    device_kind: str
    compiler_version: str
    target: str
    label: LabelKind
    improved: bool
    speedup: float
    verdict: str
    stablehlo: bytes = b""
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    problem: str = ""
    created_at: str = ""


def tuned_to_row(record: TunedRecord, tool_version: str) -> dict[str, str | float | int | bytes]:
    """All columns of a new row, by name."""
    return {
        "program": record.program,
        "space": record.space,
        "device_kind": record.device_kind,
        "compiler_version": record.compiler_version,
        "target": record.target,
        "label": record.label.value,
        "improved": int(record.improved),
        "speedup": float(record.speedup),
        "verdict": record.verdict,
        "stablehlo": zlib.compress(record.stablehlo),
        "options": json.dumps(dict(record.options), sort_keys=True),
        "problem": record.problem,
        "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "tool_version": tool_version,
    }


def tuned_from_row(row: sqlite3.Row) -> TunedRecord:
    """The inverse of `tuned_to_row`."""
    return TunedRecord(
        program=row["program"],
        space=row["space"],
        device_kind=row["device_kind"],
        compiler_version=row["compiler_version"],
        target=row["target"],
        label=LabelKind(row["label"]),
        improved=bool(row["improved"]),
        speedup=row["speedup"],
        verdict=row["verdict"],
        stablehlo=zlib.decompress(row["stablehlo"]),
        options=json.loads(row["options"]),
        problem=row["problem"],
        created_at=row["created_at"],
    )
