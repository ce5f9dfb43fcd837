r"""What a cost model gets wrong about one program, learned from the evaluations of that program.

A Gaussian process over configs: the logarithm of a cost is a multiple of the model's score, plus a function that is
alike for configs that are alike. With K the covariance of the evaluated configs (noise included) and k that of a new
one with them, the prediction is :math:`k^T K^{-1} y`; what would have been predicted for an evaluated config without
its own evaluation is

.. math:: \mu_i = y_i - \frac{[K^{-1} y]_i}{[K^{-1}]_{ii}}

which tells, without any further evaluation, how well a prediction ranks.

Source: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning" (2006), equations 2.25 and 5.12.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs
from cost_model.metrics import kendall_tau

Floats = NDArray[np.float64]

_SCORE_WEIGHT: Final = 4.0
"""Variance of the multiple of the standardised score, in units of the spread of the costs."""

_RANGES: Final = (0.5, 2.0)
"""Over which distance configs are alike, in units of the median distance."""

_NOISES: Final = (0.03, 0.3)
"""Variance of what no config explains."""

_TENSOR_COLUMNS: Final = 6


@dataclass(frozen=True)
class Form:
    """What a prediction is made of.

    Attributes:
        from_score: a multiple of the cost model's score.
        from_evaluations: what similar configs cost.
        range: see `_RANGES`.
        noise: see `_NOISES`.
    """

    from_score: bool
    from_evaluations: bool
    range: float = 1.0
    noise: float = _NOISES[-1]


FORMS: Final = (
    Form(from_score=True, from_evaluations=False),
    *(Form(True, True, *each) for each in itertools.product(_RANGES, _NOISES)),
    *(Form(False, True, *each) for each in itertools.product(_RANGES, _NOISES)),
)
"""In the order of preference where two rank alike."""


def coordinates(configs: ConfigBatch) -> NDArray[np.int64] | Floats:
    """Where configs stand: one code per tensor of layouts, int64[c, t]; logarithms of the bounds of tiles."""
    if isinstance(configs, LayoutConfigs):
        entries = configs.node_config_feat.astype(np.int64).reshape(len(configs), -1, _TENSOR_COLUMNS) + 1
        codes: NDArray[np.int64] = (entries << (7 * np.arange(_TENSOR_COLUMNS))).sum(axis=-1)
        return codes
    return np.log2(1 + configs.config_feat.astype(np.float64))


def distances(first: NDArray[np.generic], second: NDArray[np.generic]) -> Floats:
    """How unlike configs are: tensors with different orders, or the Euclidean distance of tiles; float64[a, b].

    Args:
        first: from `coordinates`, [a, t].
        second: the same of others, [b, t].
    """
    result = np.empty((len(first), len(second)))
    for row, one in enumerate(first):
        unlike = second != one if second.dtype == np.int64 else (second - one) ** 2
        result[row] = unlike.sum(axis=1)
    return result if second.dtype == np.int64 else np.sqrt(result)


class Residual:
    """Predictions of one form.

    Args:
        form: what they are made of.
        scores: of the evaluated configs, float64[n].
        places: their `coordinates`.
        costs: theirs, above 0, float64[n].
    """

    def __init__(self, form: Form, scores: Floats, places: NDArray[np.generic], costs: Floats) -> None:
        self._form = form
        self._places = places
        self._centre, self._spread = float(scores.mean()), max(float(scores.std()), 1e-12)
        between = distances(places, places)
        positive = between[between > 0]
        self._unit = form.range * (float(np.median(positive)) if positive.size else 1.0)
        logarithms = np.log(costs)
        self._targets = (logarithms - logarithms.mean()) / max(float(logarithms.std()), 1e-12)
        self._scores = self._standardise(scores)
        covariance = self._covariance(self._scores, between) + form.noise * np.eye(len(scores))
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ self._targets

    @property
    def correlation(self) -> float:
        """Kendall's tau between costs and what would have been predicted without each; nan if not defined."""
        without = self._targets - self._weights / np.diag(self._inverse)
        return kendall_tau(without, self._targets)

    def predict(self, scores: Floats, places: NDArray[np.generic]) -> Floats:
        """Predicted costs of other configs, in no unit; lower = faster.

        Args:
            scores: float64[c].
            places: their `coordinates`.
        """
        covariance = self._covariance(self._standardise(scores), distances(places, self._places))
        result: Floats = covariance @ self._weights
        return result

    def _covariance(self, scores: Floats, between: Floats) -> Floats:
        """Of some configs (rows) with the evaluated ones (columns)."""
        result = np.ones_like(between)  # a constant
        if self._form.from_score:
            result += _SCORE_WEIGHT * np.outer(scores, self._scores)
        if self._form.from_evaluations:
            result += np.exp(-between / self._unit)
        return result

    def _standardise(self, scores: Floats) -> Floats:
        return (scores - self._centre) / self._spread
