"""The evaluated configs that a strategy builds on."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, config_id


class Population:
    """All configs that did not fail, with their costs; failures have no offspring."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[float, Config]] = {}

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in evaluations; of repeated ones the latest counts."""
        for evaluation in evaluations:
            if evaluation.cost is not None:
                self._members[config_id(evaluation.config)] = (evaluation.cost, evaluation.config)

    def best(self, count: int) -> list[tuple[float, Config]]:
        """At most so many, the cheapest first."""
        ranked = sorted(self._members.items(), key=lambda item: (item[1][0], item[0]))
        return [member for _, member in ranked[:count]]
