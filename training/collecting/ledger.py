"""What programs of one collection share while it is made. Whoever works on a program writes through a ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autotune.database import Database, EvaluationKey
from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, JsonObject

ConfigFromJson = Callable[[JsonObject], Config]


class Ledger(Protocol):
    """Shared by all programs; methods may be called by whoever works on one."""

    def recorded(self, key: EvaluationKey, config_from_json: ConfigFromJson, purpose: str) -> list[Evaluation]:
        """What the database has."""
        ...

    def record(self, key: EvaluationKey, evaluation: Evaluation) -> None:
        """Add an evaluation to the database; it is committed when the call returns."""
        ...

    def owns(self, fingerprint: str, name: str) -> bool:
        """Whether a kernel is to be written under this name: equal kernels are one file, of whoever asks first."""
        ...

    def report(self, program: str, configs: int) -> None:
        """So many configs of a program are done."""
        ...


class OwnLedger:
    """For the thread that opened the database.

    Args:
        database: keeps the evaluations.
        report: see `Ledger.report`.
    """

    def __init__(self, database: Database, report: Callable[[str, int], None]) -> None:
        self._database = database
        self._owners: dict[str, str] = {}  # fingerprint of a kernel -> name of its file
        self._report = report

    def recorded(self, key: EvaluationKey, config_from_json: ConfigFromJson, purpose: str) -> list[Evaluation]:
        """What the database has."""
        return self._database.evaluations(key, config_from_json, purpose=purpose)

    def record(self, key: EvaluationKey, evaluation: Evaluation) -> None:
        """Add an evaluation to the database."""
        self._database.record(key, evaluation)

    def owns(self, fingerprint: str, name: str) -> bool:
        """Whether a kernel is to be written under this name."""
        return self._owners.setdefault(fingerprint, name) == name

    def report(self, program: str, configs: int) -> None:
        """So many configs of a program are done."""
        self._report(program, configs)
