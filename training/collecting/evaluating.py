"""The evaluations of one program: those that the database has, then new ones, each recorded before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from autotune.database import Database, EvaluationKey
from autotune.errors import DefaultFailedError
from autotune.evaluation import Evaluation, Failed, LabelKind
from autotune.spaces.base import Config, Space, config_id
from autotune.targets.base import PreparedProgram, Target
from training.collecting.drawing import FIXED, draw
from training.collecting.rows import Drawn

_REPEATS: Final = 3
"""Configs that are measured twice."""

ENOUGH, USED_UP = "all configs evaluated", "space used up"
PROGRAM_TIME, TIME = "seconds per program used up", "time limit reached"
FINISHED: Final = (ENOUGH, USED_UP, PROGRAM_TIME)
"""Ends after which there is nothing to go on with."""


@dataclass(frozen=True)
class Deadline:
    """When to stop, as `time.monotonic()`; None for never."""

    program: float | None
    overall: float | None

    def passed(self) -> str | None:
        """Which limit has been reached."""
        now = time.monotonic()
        if self.overall is not None and now >= self.overall:
            return TIME
        return PROGRAM_TIME if self.program is not None and now >= self.program else None


@dataclass(frozen=True)
class Evaluated:
    """What is known of one program.

    Attributes:
        drawn: evaluations, in the order in which their configs were drawn; the default first.
        repeats: second evaluations of some.
        reused: how many of `drawn` the database had.
        stopped: why there are no more: one of ENOUGH, USED_UP, PROGRAM_TIME and TIME.
    """

    drawn: tuple[Drawn, ...]
    repeats: tuple[Evaluation, ...]
    reused: int
    stopped: str


class _OutOfTime(Exception):
    pass


class ProgramCollector:
    """Evaluates configs of one program.

    Args:
        target: evaluates.
        prepared: by `target`.
        space: what may be changed.
        database: has every evaluation before the next one starts.
        deadline: when no further evaluation starts.
        parallel: configs that are given to the target at once.
        on_config: called after every config.
    """

    def __init__(
        self,
        target: Target,
        prepared: PreparedProgram,
        space: Space,
        database: Database,
        *,
        deadline: Deadline,
        parallel: int,
        on_config: Callable[[], None],
    ) -> None:
        self._target, self._prepared, self._space, self._database = target, prepared, space, database
        self._deadline, self._parallel, self._on_config = deadline, parallel, on_config
        self._key = EvaluationKey.of(target.description, prepared.program, space)
        self._known = self._recorded("search")
        self._drawn: list[Drawn] = []
        self._reused = 0

    def run(self, ways: Sequence[str], count: int, seed: int) -> Evaluated:
        """Draw and evaluate until there are enough configs, no others, or no time.

        Raises:
            DefaultFailedError: the default could not be evaluated.
        """
        repeats: tuple[Evaluation, ...] = ()
        try:
            stopped = ENOUGH if draw(self._space, ways, count, seed, self._evaluate) else USED_UP
            repeats = self._repeat()
        except _OutOfTime as reason:
            stopped = str(reason)
        return Evaluated(tuple(self._drawn), repeats, self._reused, stopped)

    def _evaluate(self, configs: Sequence[Config], way: str) -> list[Evaluation]:
        new = [config for config in configs if config_id(config) not in self._known]
        self._reused += len(configs) - len(new)
        reason = None
        for start in range(0, len(new), self._parallel):
            # The default is always evaluated: without it there is nothing to write.
            reason = self._deadline.passed() if way != FIXED else None
            if reason is not None:
                break
            for evaluation in self._target.evaluate(self._prepared, new[start : start + self._parallel]):
                self._database.record(self._key, evaluation)
                self._known[config_id(evaluation.config)] = evaluation
        evaluations = [self._known[config_id(config)] for config in configs if config_id(config) in self._known]
        self._drawn += [Drawn(evaluation, way) for evaluation in evaluations]
        for _ in evaluations:
            self._on_config()
        if way == FIXED:
            self._check_default(evaluations[0])
        if reason is not None:
            raise _OutOfTime(reason)
        return evaluations

    def _check_default(self, default: Evaluation) -> None:
        if isinstance(default.outcome, Failed):
            raise DefaultFailedError(
                f"the default config of program {self._prepared.program.name!r} could not be evaluated on "
                f"{self._target.description.name}: {default.outcome.reason.value}: {default.outcome.message}"
            )

    def _repeat(self) -> tuple[Evaluation, ...]:
        """Measure the fastest, the middle and the slowest config once more. Estimates have no noise."""
        if self._target.description.label is LabelKind.ESTIMATED:
            return ()
        ranked = sorted(
            (each.evaluation for each in self._drawn if each.way != FIXED and each.evaluation.cost is not None),
            key=lambda each: each.cost or 0.0,
        )
        places = sorted({round(share * (len(ranked) - 1) / (_REPEATS - 1)) for share in range(_REPEATS)})
        configs = [ranked[place].config for place in places] if ranked else []
        recorded = self._recorded("confirm")
        new = [config for config in configs if config_id(config) not in recorded]
        reason = self._deadline.passed()
        if new and reason is not None:
            raise _OutOfTime(reason)
        if new:
            for evaluation in self._target.evaluate(self._prepared, new, purpose="confirm"):
                self._database.record(self._key, evaluation)
                recorded[config_id(evaluation.config)] = evaluation
        return tuple(recorded[config_id(config)] for config in configs if config_id(config) in recorded)

    def _recorded(self, purpose: str) -> dict[str, Evaluation]:
        found = self._database.evaluations(self._key, self._space.from_json, purpose=purpose)
        return {config_id(each.config): each for each in found if self._space.contains(each.config)}
