"""A target that evaluates nothing: for deployments, where what a search needs must be in the database already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from autotune.errors import NotTunedError
from autotune.spaces.base import Config
from autotune.targets.base import PreparedProgram, Target


class CachedTarget:
    """Another target, but for its evaluations.

    Args:
        target: compiles the default and applies configs; whoever opened it closes it.
        database: what to call the database in messages.
    """

    def __init__(self, target: Target, database: str) -> None:
        self._target = target
        self._database = database

    def evaluate(self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search") -> NoReturn:
        """Refuse.

        Raises:
            NotTunedError: always; says what is missing.
        """
        description = self._target.description
        what = "the comparison of the best configs" if purpose == "confirm" else "a config"
        raise NotTunedError(
            f"program {prepared.program.name!r}: {what} is not in {self._database} for {description.device_kind} with "
            f"{description.compiler_version}; search once without --require-cached"
        )

    def __getattr__(self, name: str) -> Any:
        """Everything else is the target's own."""
        return getattr(self._target, name)
