"""Every evaluation ever made, kept in one SQLite file of the user.

    with Database.open(path) as database:
        database.record(key, evaluation)              # committed when the call returns
        known = database.evaluations(key, space.from_json)

Nothing is ever overwritten, and evaluations that differ in one part of the key are never mixed.
"""

from autotune.database.rows import EvaluationKey
from autotune.database.store import Database, RecordedProgram

__all__ = ["Database", "EvaluationKey", "RecordedProgram"]
