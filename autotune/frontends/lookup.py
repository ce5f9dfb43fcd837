"""Finding the tuned version of a function: in the database, or among what this process has tuned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from autotune.database import Database
from autotune.database.store import default_path
from autotune.database.tuned import TunedRecord
from autotune.errors import AutotuneError, NotTunedError
from autotune.frontends.capture import Captured
from autotune.frontends.device import device_keys, runs_here

logger = logging.getLogger("autotune")


class Lookup:
    """Looks a function up while jax traces it, and says once what came of it.

    Args:
        database: path of the evaluation database; None for the one in the user's folder.
        known: tuned programs by fingerprint that need no database.
        required: whether a function that was never tuned is an error.
        options: the compile options of the call it is part of: a tuned program that wants others cannot be used.
    """

    def __init__(
        self,
        database: Path | None,
        *,
        known: Mapping[str, TunedRecord] | None = None,
        required: bool = False,
        options: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._database = database
        self._known = dict(known or {})
        self._required = required
        self._options = dict(options or {})

    def __call__(self, captured: Captured) -> bytes | None:
        """The StableHLO of the tuned version; None where the function's own is to run.

        Raises:
            NotTunedError: there is none, and it is required.
        """
        try:
            program = captured.program
        except Exception as error:
            # The function's own call raises the same if it is the user's error; if it is ours, it runs all the same.
            if self._required:
                raise NotTunedError(f"{captured.name} cannot be lowered to a program to look up: {error}") from error
            logger.warning("%s cannot be lowered to a program to look up (%s): runs as it is", captured.name, error)
            return None
        known = self._known.get(program.fingerprint)
        record = known if known is not None and runs_here(known) else self._find(program.fingerprint)
        what = captured.describe()
        if record is None:
            self._report_untuned(what, program.fingerprint, known)
            return None
        problem = record.problem
        if not problem and record.improved and dict(record.options) != self._options:
            problem = (
                f"it is to be compiled with {dict(record.options)}, which only the function from autotune.tune does"
            )
        if problem:
            logger.warning("%s: the tuned version cannot be run by jax.jit: %s", what, problem)
            return None
        if not record.improved:
            logger.info("%s: it was tuned, and its default is best: runs as it is", what)
            return None
        logger.info("%s: the tuned version runs: %s", what, record.verdict)
        return record.stablehlo

    def _report_untuned(self, what: str, fingerprint: str, elsewhere: TunedRecord | None) -> None:
        """Says that there is no tuned version for this device; `elsewhere`: one of this process for another."""
        if elsewhere is None:
            message = f"{what} was never tuned for this device; autotune.tune would"
        else:
            there = f"{elsewhere.device_kind} with {elsewhere.compiler_version}"
            message = f"{what} was tuned for {there}, which is not what jax uses here"
        if self._required:
            raise NotTunedError(f"{message}. {self._elsewhere(fingerprint)}")
        logger.log(logging.INFO if elsewhere is None else logging.WARNING, "%s: runs as it is", message)

    def _find(self, fingerprint: str) -> TunedRecord | None:
        path = self._database if self._database is not None else default_path()
        if not path.exists():
            return None
        try:
            with Database.open(path) as database:
                for key in device_keys():
                    record = database.tuned(fingerprint, key.device_kind, key.compiler_version)
                    if record is not None:
                        return record
        except AutotuneError as error:
            if self._required:
                raise
            logger.warning("no tuned version is looked up: %s", error)
        return None

    def _elsewhere(self, fingerprint: str) -> str:
        """What the database has of the program for other devices and compilers."""
        path = self._database if self._database is not None else default_path()
        here = " or ".join(f"{key.device_kind} with {key.compiler_version}" for key in device_keys()) or "none we know"
        if not path.exists():
            return f"This device: {here}. The database {path} does not exist"
        with Database.open(path) as database:
            others = database.tuned_anywhere(fingerprint)
        found = "; ".join(f"{each.device_kind} with {each.compiler_version}" for each in others)
        return f"This device: {here}. The database {path} has it for: {found or 'no device'}"
