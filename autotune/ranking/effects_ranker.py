"""Chooses proposals by what each of their decisions is expected to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.ranking.base import ADAPT_AFTER, CLEAR_GAIN, Observed, Ranker, Standing
from autotune.ranking.effects import Effects
from autotune.spaces.base import Config, Space
from cost_model import CostModel, ProgramGraph

Floats = NDArray[np.float64]

_SCORE_WEIGHT: Final = 0.1
"""Variance of the multiple of a model's score, beside that of the effect of a decision, 1. (Weights of .1 and .3 find
the same. Expecting from the start that a lower score is a lower cost, with a mean above 0, found .954 instead of .781
on a graph network: what a model ranks first is what hardly differs from the default.)"""

_FARTHEST: Final = 2.0
"""Standard deviations beyond which all scores are alike."""


class EffectsRanker(Ranker):
    """Chooses by expected improvement.

    Args:
        models: cost models, the preferred one first; none to learn from the evaluations alone.
        graph: the program as they see it; None without models.
        space: with factors.
    """

    def __init__(self, models: Sequence[CostModel], graph: ProgramGraph | None, space: Space) -> None:
        super().__init__(models, graph, space)
        self._model: int | None = 0 if models else None
        self._seen: tuple[Floats, Observed] | None = None

    def choose(self, configs: Sequence[Config], count: int, rng: np.random.Generator) -> list[int]:
        """Those of the largest expected improvement, ties in random order."""
        order = rng.permutation(len(configs))
        shuffled = [configs[index] for index in order]
        factors, scores = self._factors(shuffled), self._score(shuffled)
        if self._seen is None:
            effects = Effects(factors[:0], np.zeros(0), np.zeros(0), self._weight)
            own = self._standardised(scores, scores)
        else:
            seen, observed = self._seen
            both = np.concatenate([observed.scores, scores])
            effects = Effects(seen, self._standardised(observed.scores, both), observed.costs, self._weight)
            own = self._standardised(scores, both)
        return [int(order[index]) for index in effects.choose(factors, own, count)]

    def _fit(self, observed: Observed, first: float) -> Standing:
        """Choose the model by what would have predicted the evaluations best."""
        factors = self._factors(observed.configs)
        self._seen = (factors, observed)
        if len(observed.costs) < ADAPT_AFTER or np.ptp(observed.costs) == 0:
            self._model = 0 if self._models else None
            return Standing(self._name, False, True, first, first)
        highest = -math.inf
        best: int | None = None
        for model in (*range(len(self._models)), None):
            self._model = model
            scores = self._standardised(observed.scores, observed.scores)
            tau = Effects(factors, scores, observed.costs, self._weight).correlation
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

    @property
    def _weight(self) -> float:
        return 0.0 if self._model is None else _SCORE_WEIGHT

    def _factors(self, configs: Sequence[Config]) -> Floats:
        factors = self._space.factors(configs)
        assert factors is not None
        return factors

    def _standardised(self, scores: Floats, among: Floats) -> Floats:
        """Scores of the model in use, in standard deviations of those of many configs; 0 for the default."""
        if self._model is None:
            return np.zeros(len(scores))
        own, column = scores[:, self._model], among[:, self._model]
        default = self._default_scores[self._model]
        others = column[column != default]
        if not others.size:
            return np.zeros(len(scores))
        result: Floats = np.clip((own - others.mean()) / max(float(others.std()), 1e-9), -_FARTHEST, _FARTHEST)
        result[own == default] = 0.0
        return result
