r"""What decisions do to the cost of one program, learned from its evaluations, and which configs to evaluate next.

A Bayesian linear regression: the logarithm of a cost, in units of the spread of those seen, is a sum over the factors
of a config (`Factors`) plus a multiple of a cost model's score. Effects that nothing is known of are drawn from
N(0, 1), so a config with an untried decision is uncertain and one with tried decisions is not. The multiple of the
score has a small mean above 0, until evaluations tell more.
What is evaluated next is what has the largest expected improvement

.. math:: \mathrm{EI} = \sigma\,(z\,\Phi(z) + \varphi(z)), \quad z = (y_{best} - \mu) / \sigma

one after the other, each as if those chosen before it had been evaluated and had cost what was expected (only the
uncertainty shrinks: "kriging believer").

Source: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning" (2006), section 2.1 and equation
5.12; D. R. Jones, M. Schonlau, W. J. Welch, "Efficient Global Optimization of Expensive Black-Box Functions" (1998);
D. Ginsbourger, R. Le Riche, L. Carraro, "Kriging is well-suited to parallelize optimization" (2010).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model.metrics import kendall_tau

Floats = NDArray[np.float64]

_NOISE: Final = 0.05
"""Variance of what no effect explains, in units of the spread of the costs squared."""

_SMALLEST_SPREAD: Final = 0.003
"""Of logarithms of costs."""


class Effects:
    """Effects of factors, and of a score.

    Args:
        factors: of the evaluated configs, float64[n, f]; n may be 0.
        scores: theirs, 0 for the default, 1 where usual, float64[n].
        costs: theirs relative to the default, above 0, float64[n].
        score_weight: variance of the multiple of the score; 0 for none.
        score_slope: what the multiple of the score is expected to be before evaluations tell.
    """

    def __init__(
        self, factors: Floats, scores: Floats, costs: Floats, score_weight: float, score_slope: float = 0.0
    ) -> None:
        self._factors, self._scores = factors, scores
        self._score_weight, self._score_slope = score_weight, score_slope
        logarithms = np.log(costs)
        self._targets = logarithms / spread_of(logarithms, _SMALLEST_SPREAD)
        covariance = self._covariance(factors, scores)
        self._inverse = np.linalg.inv(covariance + _NOISE * np.eye(len(costs)))
        self._weights = self._inverse @ (self._targets - score_slope * scores)

    @property
    def correlation(self) -> float:
        """Kendall's tau between costs and what would have been predicted without each; nan if not defined."""
        without = self._targets - self._weights / np.diag(self._inverse)
        return kendall_tau(without, self._targets)

    def predict(self, factors: Floats, scores: Floats) -> Floats:
        """Predicted costs, in no unit; lower = faster; float64[c]."""
        mean: Floats = self._score_slope * scores + self._covariance(factors, scores) @ self._weights
        return mean

    def choose(self, factors: Floats, scores: Floats, count: int) -> list[int]:
        """Which configs to evaluate next, at most `count`, the most promising first."""
        known = self._covariance(factors, scores)
        mean = self._score_slope * scores + known @ self._weights
        own = (factors**2).sum(axis=1) + self._score_weight * scores**2
        variance = own - np.einsum("ij,jk,ik->i", known, self._inverse, known)
        best = min(0.0, float(self._targets.min(initial=0.0)))
        chosen: list[int] = []
        shrunk: list[Floats] = []  # by what those chosen before tell of each config
        for _ in range(min(count, len(mean))):
            improvement = expected_improvement(mean, np.sqrt(np.maximum(variance, 1e-9)), best)
            improvement[chosen] = -1.0
            index = int(improvement.argmax())
            chosen.append(index)
            shared = factors @ factors[index] + self._score_weight * scores * scores[index]
            shared -= known @ (self._inverse @ known[index])
            for earlier in shrunk:
                shared -= earlier * earlier[index]
            shrunk.append(shared / math.sqrt(max(float(shared[index]), 0.0) + _NOISE))
            variance = variance - shrunk[-1] ** 2
        return chosen

    def _covariance(self, factors: Floats, scores: Floats) -> Floats:
        """Of some configs (rows) with the evaluated ones (columns)."""
        return factors @ self._factors.T + self._score_weight * np.outer(scores, self._scores)


def spread_of(values: Floats, least: float) -> float:
    """The root mean square, or `least` where it is smaller or there are no values."""
    return max(math.sqrt(float(np.mean(values**2))), least) if values.size else least


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """By how much configs are expected to be better than the best one, worse ones counted as 0; float64[c]."""
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * np.array([math.erfc(-each / math.sqrt(2)) for each in z])
    result: Floats = deviation * (z * below + density)
    return result
