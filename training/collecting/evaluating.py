"""The evaluations of one program: those that the database has, then new ones, each recorded before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from autotune.database import EvaluationKey
from autotune.errors import DefaultFailedError
from autotune.evaluation import Evaluation, Failed, LabelKind
from autotune.spaces.base import Config, Space, config_id
from autotune.targets.base import PreparedProgram, TargetDescription
from training.collecting.drawing import FIXED, draw
from training.collecting.evaluator import ProgramEvaluator
from training.collecting.ledger import Ledger
from training.collecting.rows import Drawn, merge

_REPEATS: Final = 3
"""Configs that are measured twice, unless all are."""

_TOGETHER: Final = 32
"""Most configs that are measured in one rotation."""

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
        evaluator: has prepared the program.
        description: of its target.
        prepared: the program.
        space: what may be changed.
        ledger: has every evaluation as soon as there is one.
        deadline: when no further evaluation starts.
        on_configs: told how many configs are done, whenever there are more.
        all_twice: whether every distinct config is measured once more, beside the others in another process.
    """

    def __init__(
        self,
        evaluator: ProgramEvaluator,
        description: TargetDescription,
        prepared: PreparedProgram,
        space: Space,
        ledger: Ledger,
        *,
        deadline: Deadline,
        on_configs: Callable[[int], None],
        all_twice: bool = False,
    ) -> None:
        self._evaluator, self._description, self._prepared, self._space = evaluator, description, prepared, space
        self._ledger, self._deadline, self._on_configs = ledger, deadline, on_configs
        self._all_twice = all_twice
        self._key = EvaluationKey.of(description, prepared.program, space)
        self._known = self._recorded("search")
        self._drawn: list[Drawn] = []
        self._reused = 0

    def run(self, ways: Sequence[str], count: int, seed: int) -> Evaluated:
        """Draw and evaluate until there are enough configs, no others, or no time.

        Every program has draws of its own: two that have the same choices (tiles of products) get different ones.

        Raises:
            DefaultFailedError: the default could not be evaluated.
        """
        repeats: tuple[Evaluation, ...] = ()
        try:
            seeds = (seed, int(self._prepared.program.fingerprint, 16))
            stopped = ENOUGH if draw(self._space, ways, count, seeds, self._evaluate) else USED_UP
        except _OutOfTime as reason:
            stopped = str(reason)
        if stopped != TIME:
            try:
                repeats = self._repeat()
            except _OutOfTime as reason:
                stopped = str(reason)
        if self._all_twice:
            again = {config_id(each.config): each for each in repeats}
            self._drawn = [replace(each, again=again.get(config_id(each.evaluation.config))) for each in self._drawn]
        return Evaluated(tuple(self._drawn), repeats, self._reused, stopped)

    def _evaluate(self, configs: Sequence[Config], way: str) -> list[Evaluation]:
        new = [config for config in configs if config_id(config) not in self._known]
        self._reused += len(configs) - len(new)
        reasons: list[str] = []

        def may_start() -> bool:
            # The default is always evaluated: without it there is nothing to write.
            reason = self._deadline.passed() if way != FIXED else None
            if reason is not None:
                reasons.append(reason)
            return not reasons

        before = len(self._drawn) + len(configs) - len(new)
        for done, evaluation in enumerate(self._evaluator.evaluate_each(new, may_start), start=before + 1):
            self._ledger.record(self._key, evaluation)
            self._known[config_id(evaluation.config)] = evaluation
            self._on_configs(done)
        evaluations = [self._known[config_id(config)] for config in configs if config_id(config) in self._known]
        self._drawn += [Drawn(evaluation, way) for evaluation in evaluations]
        self._on_configs(len(self._drawn))
        if way == FIXED:
            self._check_default(evaluations[0])
        if reasons:
            raise _OutOfTime(reasons[0])
        return evaluations

    def _check_default(self, default: Evaluation) -> None:
        if isinstance(default.outcome, Failed):
            raise DefaultFailedError(
                f"the default config of program {self._prepared.program.name!r} could not be evaluated on "
                f"{self._description.name}: {default.outcome.reason.value}: {default.outcome.message}"
            )

    def _repeat(self) -> tuple[Evaluation, ...]:
        """Measure the fastest, the middle and the slowest config once more, or all. Estimates have no noise."""
        if self._description.label is LabelKind.ESTIMATED:
            return ()
        ranked = sorted(
            (each.evaluation for each in self._drawn if each.way != FIXED and each.evaluation.cost is not None),
            key=lambda each: each.cost or 0.0,
        )
        places = sorted({round(share * (len(ranked) - 1) / (_REPEATS - 1)) for share in range(_REPEATS)})
        configs = [ranked[place].config for place in places] if ranked else []
        if self._all_twice:
            configs = [row.config for row in merge(self._drawn)]
        recorded = self._recorded("confirm")
        new = [config for config in configs if config_id(config) not in recorded]
        for start in range(0, len(new), _TOGETHER):
            reason = self._deadline.passed()
            # The limit of a program is one of drawing, where what was drawn must be measured twice.
            if reason is not None and not (self._all_twice and reason == PROGRAM_TIME):
                raise _OutOfTime(reason)
            for evaluation in self._evaluator.evaluate_together(new[start : start + _TOGETHER], "confirm"):
                self._ledger.record(self._key, evaluation)
                recorded[config_id(evaluation.config)] = evaluation
        return tuple(recorded[config_id(config)] for config in configs if config_id(config) in recorded)

    def _recorded(self, purpose: str) -> dict[str, Evaluation]:
        found = self._ledger.recorded(self._key, self._space.from_json, purpose)
        return {config_id(each.config): each for each in found if self._space.contains(each.config)}
