"""Ranks proposals by cost models, corrected by how similar configs did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.ranking.base import ADAPT_AFTER, CLEAR_GAIN, Observed, Ranker, Standing
from autotune.ranking.residual import FORMS, Form, Residual, coordinates
from autotune.spaces.base import Config, Space
from cost_model import CostModel, ProgramGraph
from cost_model.metrics import kendall_tau

_TRUST_AFTER: Final = 12
"""Evaluations from which on a ranking that does not follow them (tau below `_TRUST_TAU`) is no longer asked."""

_TRUST_TAU: Final = 0.1

_EXPLORERS: Final = 0.34
"""Share of what is chosen that is drawn and not taken from the top of the ranking."""

_NOT_WORST: Final = 0.9
"""Share of the proposals, from the top, that is drawn from where the top itself is no good guide: the layouts of
compiler estimates. Its favourites are seldom worse than the default, and seldom better by much; gains come from single
decisions that look like any other. Replaying 2,758 evaluations of 6 programs of unseen families (12 or 24 seeds, with
costs adapted by their ranks), 20 evaluations found a cost of .953 when drawn from the best quarter, .928 from the
better half, .923 from three quarters, .922 from nine tenths, .924 from all, and .930 or .932 by the lowest confidence
bound: small shares are clearly worse, the others do not differ clearly."""


class ResidualRanker(Ranker):
    """Ranks by a model and a residual.

    Args:
        models: at least one.
        graph: the program as they see it.
        space: of the configs.
        estimated: whether costs are a compiler's estimates.
    """

    def __init__(
        self, models: Sequence[CostModel], graph: ProgramGraph, space: Space, *, estimated: bool = False
    ) -> None:
        super().__init__(models, graph, space)
        self._top_is_flat = space.kind == "layout" and estimated
        self._fitted: tuple[int, Form, Residual] | None = None  # the model, what is made of it, and how

    def choose(self, configs: Sequence[Config], count: int, rng: np.random.Generator) -> list[int] | None:
        """The favourites of the ranking and some drawn from all; of estimated layouts, any but the worst."""
        scores = self.rank(configs)
        if scores is None:
            return None
        order = rng.permutation(len(configs))
        ranked = order[np.argsort(scores[order], kind="stable")]  # ties in random order
        if self._top_is_flat:
            kept = ranked[: max(count, math.ceil(_NOT_WORST * len(ranked)))]
            return [int(index) for index in rng.permutation(kept)[:count]]
        explorers = math.ceil(_EXPLORERS * count) if count > 1 else int(rng.random() < _EXPLORERS)
        favourites = [int(index) for index in ranked[: count - explorers]]
        others = [int(index) for index in order if int(index) not in set(favourites)][:explorers]
        return [*favourites, *others]

    def rank(self, configs: Sequence[Config]) -> NDArray[np.float64] | None:
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

    def _fit(self, observed: Observed, first: float) -> Standing:
        """Choose the model, and what predictions are made of, by what ranks the evaluations best."""
        costs = observed.costs
        if len(costs) < ADAPT_AFTER or np.ptp(costs) == 0:
            return Standing(self._models[0].name, False, True, first, first)
        places = coordinates(self._space.encode(observed.configs))
        best: tuple[int, Form, Residual] | None = None
        highest = -math.inf
        for form in FORMS:
            for model in range(len(self._models)) if form.from_score else (0,):
                scores = observed.scores[:, model]
                residual = Residual(form, scores, places, costs)
                # A score that is left as it is must be right in its direction, too.
                alone = form.from_score and not form.from_evaluations
                tau = kendall_tau(scores, costs) if alone else residual.correlation
                if tau > highest + (CLEAR_GAIN if best is not None else 0.0):
                    best, highest = (model, form, residual), tau
        asked = len(costs) < _TRUST_AFTER or highest >= _TRUST_TAU
        if best is None or not asked:
            self._fitted = None
            return Standing("none", False, asked, highest if best is not None else math.nan, first)
        self._fitted = best
        name = self._models[best[0]].name if best[1].from_score else "none"
        return Standing(name, best[1].from_evaluations, True, highest, first)
