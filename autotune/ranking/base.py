"""What a ranker is: it chooses among the proposals of a search, and learns while evaluations come in."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import AutotuneError
from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, JsonObject, Space, config_id
from cost_model import CostModel, ProgramGraph
from cost_model.errors import CostModelError
from cost_model.metrics import kendall_tau

Floats = NDArray[np.float64]

ADAPT_AFTER: Final = 8
"""Evaluations from which on predictions are adapted to them."""

CLEAR_GAIN: Final = 0.02
"""In tau, by which a way of predicting must rank better than one that is preferred to it."""

_FOLLOWED_SHARE: Final = 20
"""Predictions are adapted anew when one evaluation in so many is new: the time for it grows with the cube of their
number."""


@dataclass(frozen=True)
class Standing:
    """How ranking goes.

    Attributes:
        model: name of the cost model in use; "none" where none is.
        adapted: whether predictions also follow the evaluations of this program.
        asked: whether the ranking still chooses.
        correlation: Kendall's tau between costs and predictions: of an adapted one what it would have predicted without
            each evaluation; nan while unknown.
        first_correlation: the same of the first model as it is.
    """

    model: str
    adapted: bool
    asked: bool
    correlation: float
    first_correlation: float

    def to_json(self) -> JsonObject:
        """The fields; what is not known is None."""
        values = asdict(self)
        return {name: None if value != value else value for name, value in values.items()}

    def describe(self) -> str:
        """In words, such as "analytical:cpu, adapted to the evaluations"."""
        if not self.asked:
            return "none (no ranking follows the evaluations)"
        if self.model == "none":
            return "the evaluations alone"
        return f"{self.model}, adapted to the evaluations" if self.adapted else self.model


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of the costs of a program.

    Attributes:
        configs: that were evaluated.
        scores: what every model says of them, float64[n, models].
        costs: relative to the default, float64[n]; of failures that of the worst success.
    """

    configs: tuple[Config, ...]
    scores: Floats
    costs: Floats


class Ranker(ABC):
    """Chooses among configs of one program. A failure counts like the worst success, so that what fails is avoided.

    Args:
        models: cost models; the first is preferred, the others stand in where it ranks worse.
        graph: the program as they see it; None without models.
        space: of the configs.
    """

    def __init__(self, models: Sequence[CostModel], graph: ProgramGraph | None, space: Space) -> None:
        self._models = tuple(models)
        self._graph = graph
        self._space = space
        self._scores: dict[str, Floats] = {}  # by config id, one per model
        self._costs: dict[str, tuple[Config, float]] = {}
        self._failed: dict[str, Config] = {}
        self._stale = False
        self._fit_at = 1
        first = self._models[0].name if self._models else "none"
        self._standing = Standing(first, False, True, math.nan, math.nan)

    @property
    def standing(self) -> Standing:
        """How ranking goes now."""
        return self._standing

    @property
    def scores(self) -> dict[str, float]:
        """What the first model said of every config that was evaluated, by config id; empty without a model."""
        return {identity: float(self._scores[identity][0]) for identity in self._costs} if self._models else {}

    def observe(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from evaluations; of repeated ones the last counts.

        Raises:
            AutotuneError: a model cannot score this program or space.
        """
        unknown = [each.config for each in evaluations if config_id(each.config) not in self._scores]
        if unknown:
            for config, scores in zip(unknown, self._score(unknown), strict=True):
                self._scores[config_id(config)] = scores
        for each in evaluations:
            identity = config_id(each.config)
            if each.cost is not None:
                self._failed.pop(identity, None)
                self._costs[identity] = (each.config, each.cost)
            elif identity not in self._costs:
                self._failed[identity] = each.config
        self._stale = self._stale or bool(evaluations)
        if self._costs and len(self._costs) + len(self._failed) >= self._fit_at:
            self._refit()

    def settle(self) -> Standing:
        """How ranking goes, by all evaluations: with many of them not every single one is followed at once."""
        if self._stale and self._costs:
            self._refit()
        return self._standing

    @abstractmethod
    def choose(self, configs: Sequence[Config], count: int, rng: np.random.Generator) -> list[int] | None:
        """Which configs to evaluate next, at most `count`. None: do not ask, no ranking follows the evaluations.

        Raises:
            AutotuneError: a model cannot score this program or space.
        """

    @abstractmethod
    def _fit(self, observed: Observed, first: float) -> Standing:
        """Learn from all evaluations.

        Args:
            observed: all there are.
            first: Kendall's tau of the first model; nan without one.
        """

    def _refit(self) -> None:
        self._stale = False
        observed = self._observed()
        self._fit_at = len(observed.costs) + max(1, len(observed.costs) // _FOLLOWED_SHARE)
        known = self._models and len(observed.costs) > 2
        self._standing = self._fit(observed, kendall_tau(observed.scores[:, 0], observed.costs) if known else math.nan)

    def _observed(self) -> Observed:
        worst = max(cost for _, cost in self._costs.values())
        known = self._costs | {identity: (config, worst) for identity, config in self._failed.items()}
        configs, costs = zip(*known.values(), strict=True)
        return Observed(configs, np.array([self._scores[identity] for identity in known]), np.array(costs))

    def _score(self, configs: Sequence[Config]) -> Floats:
        """What every model says; float64[c, models].

        Raises:
            AutotuneError: one of them cannot score this program or space; what was evaluated is in the database.
        """
        if self._graph is None:
            return np.zeros((len(configs), 0))
        try:
            batch = self._space.encode(configs)
            columns = [model.score(self._graph, batch).astype(np.float64) for model in self._models]
        except CostModelError as error:
            raise AutotuneError(f"{error} (here: --model auto)") from error
        return np.stack(columns, axis=1)
