"""Ranks proposals for a search: by cost models, adapted to the program while its evaluations come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import AutotuneError
from autotune.evaluation import Evaluation
from autotune.ranking.residual import FORMS, Form, Residual, coordinates
from autotune.spaces.base import Config, JsonObject, Space, config_id
from cost_model import CostModel, ProgramGraph
from cost_model.errors import CostModelError
from cost_model.metrics import kendall_tau

Floats = NDArray[np.float64]

_ADAPT_AFTER: Final = 8
"""Evaluations from which on predictions are adapted to them."""

_TRUST_AFTER: Final = 12
"""Evaluations from which on a ranking that does not follow them (tau below `_TRUST_TAU`) is no longer asked."""

_TRUST_TAU: Final = 0.1
_CLEAR_GAIN: Final = 0.02
"""In tau, by which a form must rank better than one before it in `FORMS`, or another model than the first."""


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


class Ranker:
    """Ranks configs of one program. A failure counts like the worst success, so that what fails is avoided, too.

    Args:
        models: cost models; the first is preferred, the others stand in where it ranks worse. At least one.
        graph: the program as they see it.
        space: of the configs.
    """

    def __init__(self, models: Sequence[CostModel], graph: ProgramGraph, space: Space) -> None:
        self._models = tuple(models)
        self._graph = graph
        self._space = space
        self._scores: dict[str, Floats] = {}  # by config id, one per model
        self._costs: dict[str, tuple[Config, float]] = {}
        self._failed: dict[str, Config] = {}
        self._stale = False
        self._fit_at = 1
        self._fitted: tuple[int, Form, Residual] | None = None  # the model, what is made of it, and how
        self._standing = Standing(self._models[0].name, False, True, math.nan, math.nan)

    @property
    def standing(self) -> Standing:
        """How ranking goes now."""
        return self._standing

    @property
    def scores(self) -> dict[str, float]:
        """What the first model said of every config that was evaluated, by config id."""
        return {identity: float(self._scores[identity][0]) for identity in self._costs}

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
            self._fit()

    def settle(self) -> Standing:
        """How ranking goes, by all evaluations: with many of them not every single one is followed at once."""
        if self._stale and self._costs:
            self._fit()
        return self._standing

    def rank(self, configs: Sequence[Config]) -> Floats | None:
        """Predicted costs, lower = faster; float64[c]. None: do not ask, no ranking follows the evaluations.

        Raises:
            AutotuneError: a model cannot score this program or space.
        """
        if not self._standing.asked:
            return None
        scores = self._score(configs)
        if self._fitted is None:
            return scores[:, 0]
        model, _, residual = self._fitted
        return residual.predict(scores[:, model], coordinates(self._space.encode(configs)))

    def _fit(self) -> None:
        """Choose the model, and what predictions are made of, by what ranks the evaluations best."""
        self._stale = False
        worst = max(cost for _, cost in self._costs.values())
        known = self._costs | {identity: (config, worst) for identity, config in self._failed.items()}
        self._fit_at = len(known) + max(1, len(known) // _FOLLOWED_SHARE)
        configs, costs = zip(*known.values(), strict=True)
        scores = np.array([self._scores[identity] for identity in known])
        values = np.array(costs)
        first = kendall_tau(scores[:, 0], values) if len(values) > 2 else math.nan
        self._standing = Standing(self._models[0].name, False, True, first, first)
        if len(values) < _ADAPT_AFTER or np.ptp(values) == 0:
            return
        places = coordinates(self._space.encode(configs))
        best: tuple[int, Form, Residual] | None = None
        highest = -math.inf
        for form in FORMS:
            for model in range(len(self._models)) if form.from_score else (0,):
                residual = Residual(form, scores[:, model], places, values)
                # A score that is left as it is must be right in its direction, too.
                alone = form.from_score and not form.from_evaluations
                tau = kendall_tau(scores[:, model], values) if alone else residual.correlation
                if tau > highest + (_CLEAR_GAIN if best is not None else 0.0):
                    best, highest = (model, form, residual), tau
        asked = len(values) < _TRUST_AFTER or highest >= _TRUST_TAU
        if best is None or not asked:
            self._fitted = None
            correlation = highest if best is not None else math.nan
            self._standing = Standing("none", False, asked, correlation, first)
            return
        self._fitted = best
        name = self._models[best[0]].name if best[1].from_score else "none"
        self._standing = Standing(name, best[1].from_evaluations, True, highest, first)

    def _score(self, configs: Sequence[Config]) -> Floats:
        """What every model says; float64[c, models].

        Raises:
            AutotuneError: one of them cannot score this program or space; what was evaluated is in the database.
        """
        try:
            batch = self._space.encode(configs)
            columns = [model.score(self._graph, batch).astype(np.float64) for model in self._models]
        except CostModelError as error:
            raise AutotuneError(f"{error} (here: --model auto)") from error
        return np.stack(columns, axis=1)
