"""Chooses proposals by what each of their decisions is expected to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.ranking.base import ADAPT_AFTER, CLEAR_GAIN, Observed, Ranker, Standing
from autotune.ranking.effects import Effects, spread_of
from autotune.spaces.base import Config, Factors, Space
from cost_model import CostModel, ProgramGraph

Floats = NDArray[np.float64]

_SCORE_WEIGHT: Final = 0.1
"""Variance of the multiple of a model's score, beside that of the effect of a decision, 1. (Weights of .1 and .3 find
the same.)"""

_LEAST_SPREAD: Final = 1e-30
"""Of scores, which may be seconds; less is none at all."""

_SCORE_SLOPE: Final = 0.15
"""The mean of that multiple before evaluations tell: that what a model calls slow is slow is worth a little. (Means of
.1 to .3 find the same and 0 finds less, on small programs for the v5e. It takes scores beside that of the default:
beside their mean, what hardly differs from the default is expected to be faster than it, and tried first.)"""


class EffectsRanker(Ranker):
    """Chooses by expected improvement. Scores are taken without rounding: gains are close to the default.

    Args:
        models: cost models, the preferred one first, an analytical one last; none to learn from the evaluations alone.
        graph: the program as they see it; None without models.
        space: of the configs.
        factors: what those decide.
    """

    def __init__(self, models: Sequence[CostModel], graph: ProgramGraph | None, space: Space, factors: Factors) -> None:
        super().__init__([model.without_rounding() for model in models], graph, space)
        self._factors = factors
        self._model: int | None = 0 if models else None
        self._seen: tuple[Floats, Observed] | None = None

    def choose(self, configs: Sequence[Config], count: int, rng: np.random.Generator) -> list[int]:
        """Those of the largest expected improvement, ties in random order."""
        order = rng.permutation(len(configs))
        shuffled = [configs[index] for index in order]
        factors, scores = self._factors.of(shuffled, self._changes), self._score(shuffled)
        if self._seen is None:
            effects = self._effects(factors[:0], np.zeros(0), np.zeros(0))
            own = self._relative(scores, scores)
        else:
            seen, observed = self._seen
            both = np.concatenate([observed.scores, scores])
            effects = self._effects(seen, self._relative(observed.scores, both), observed.costs)
            own = self._relative(scores, both)
        return [int(order[index]) for index in effects.choose(factors, own, count)]

    def _fit(self, observed: Observed, first: float) -> Standing:
        """Choose the model by what would have predicted the evaluations best."""
        factors = self._factors.of(observed.configs, self._changes)
        self._seen = (factors, observed)
        if len(observed.costs) < ADAPT_AFTER or np.ptp(observed.costs) == 0:
            self._model = 0 if self._models else None
            return Standing(self._name, False, True, first, first)
        highest = -math.inf
        best: int | None = None
        for model in (*range(len(self._models)), None):
            self._model = model
            scores = self._relative(observed.scores, observed.scores)
            tau = self._effects(factors, scores, observed.costs).correlation
            if tau > highest + (CLEAR_GAIN if highest > -math.inf else 0.0):
                best, highest = model, tau
        self._model = best
        return Standing(self._name, True, True, highest, first)

    @cached_property
    def _default_scores(self) -> Floats:
        """What every model says of the default, float64[models]."""
        scores: Floats = self._score([self._space.default])[0]
        return scores

    @property
    def _name(self) -> str:
        return "none" if self._model is None else self._models[self._model].name

    def _effects(self, factors: Floats, scores: Floats, costs: Floats) -> Effects:
        weight, slope = (0.0, 0.0) if self._model is None else (_SCORE_WEIGHT, _SCORE_SLOPE)
        return Effects(factors, scores, costs, weight, slope)

    @cached_property
    def _changes(self) -> Floats | None:
        """How far the last model tells decisions from the default, in units of the root mean square.

        An analytical model says exactly the same of what moves nothing by it, a network hardly ever does.
        """
        if not self._models:
            return None
        differences = self._score(self._factors.decisions)[:, -1] - self._default_scores[-1]
        changes: Floats = np.abs(differences) / spread_of(differences, _LEAST_SPREAD)
        return changes

    def _relative(self, scores: Floats, among: Floats) -> Floats:
        """Scores of the model in use beside that of the default, 0 for what is like it.

        In units of the root mean square of those of many configs; logarithmic beyond, because one bad decision may
        cost several times what the whole program does, and says no more than that it is bad.
        """
        if self._model is None:
            return np.zeros(len(scores))
        default = self._default_scores[self._model]
        unit = spread_of(among[:, self._model] - default, _LEAST_SPREAD)
        differences = (scores[:, self._model] - default) / unit
        result: Floats = np.sign(differences) * np.log1p(np.abs(differences))
        return result
