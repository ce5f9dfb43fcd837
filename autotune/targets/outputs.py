"""Are the outputs of a tuned program those of the default?

The tolerance of an output is the larger of two: a fraction, by the least precise type in the program, of its largest
value; and a multiple of how much the default's own output moves when the inputs move by a rounding error. The second
is what keeps an output that is nothing but rounding (the gradient of something that cancels) from being called wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCES = {
    "f64": 1e-10,
    "c128": 1e-10,
    "f32": 1e-4,
    "c64": 1e-4,
    "f16": 1e-2,
    "bf16": 4e-2,
}
"""Largest difference over largest value, by element type: about 2**10 roundings (f32), 5 to 10 (16-bit types)."""

NARROW_TOLERANCE = 0.25
"""For 8-bit and smaller floating point types, where one rounding is up to 12 %."""

_ROUNDINGS = 16.0
"""How many times the default's own sensitivity to a rounding error of its inputs is allowed."""


_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Reference:
    """Outputs of the default, and how far another result may be from them.

    Attributes:
        outputs: the default's outputs, in order.
        tolerances: largest allowed absolute difference per output; for integers and booleans the largest allowed
            fraction of differing elements.
    """

    outputs: tuple[NDArray[np.generic], ...]
    tolerances: tuple[float, ...]

    @classmethod
    def make(
        cls,
        outputs: Sequence[NDArray[np.generic]],
        disturbed: Sequence[NDArray[np.generic]] | None,
        tolerance: float,
    ) -> Reference:
        """Set the tolerances.

        Args:
            outputs: of the default.
            disturbed: of the default for inputs changed by a rounding error; None when that was not affordable.
            tolerance: relative to the largest value of an output, see `TOLERANCES`.
        """
        tolerances = []
        for index, output in enumerate(outputs):
            sensitivity = _distance(output, disturbed[index]) if disturbed is not None else 0.0
            if not np.isfinite(sensitivity):
                sensitivity = 0.0
            base = 0.0 if _exact(output) else tolerance * _largest(output)
            tolerances.append(max(base, _ROUNDINGS * sensitivity))
        return cls(tuple(outputs), tuple(tolerances))

    def check(self, outputs: Sequence[NDArray[np.generic]]) -> tuple[bool, float, str]:
        """Compare a result with the default's.

        Returns:
            Whether every output is within its tolerance; the largest difference in units of the largest value of its
            output; and a line that names the worst output.
        """
        worst, message, correct = 0.0, "", True
        for index, (ours, theirs, tolerance) in enumerate(zip(outputs, self.outputs, self.tolerances, strict=True)):
            distance = _distance(ours, theirs)
            relative = distance / max(_largest(theirs), _TINY) if not _exact(theirs) else distance
            if distance > tolerance:
                correct = False
            if relative >= worst:
                worst = relative
                message = f"output {index} differs by {distance:.3g} (allowed: {tolerance:.3g})"
        return correct, worst, message

    @property
    def finite_fraction(self) -> float:
        """Share of the floating point outputs' elements that are finite: a check of NaN against NaN proves little."""
        floats = [output for output in self.outputs if not _exact(output)]
        total = sum(output.size for output in floats)
        return 1.0 if total == 0 else sum(int(np.isfinite(_wide(output)).sum()) for output in floats) / total


def _exact(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind in "biu" or array.dtype.name.startswith(("int", "uint"))


def _wide(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Types narrower than 32 bits (ml_dtypes among them) as float32."""
    return array if array.dtype.name in ("float32", "float64", "complex64", "complex128") else array.astype(np.float32)


def _largest(array: NDArray[np.generic]) -> float:
    values = np.abs(_wide(array))
    return float(np.max(values, where=np.isfinite(values), initial=0.0))


def _distance(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Largest difference of finite elements, infinite if the elements that are not finite stand elsewhere.

    For integers and booleans: the fraction of elements that differ.
    """
    if first.shape != second.shape or first.dtype != second.dtype:
        return float("inf")
    if first.size == 0:
        return 0.0
    if _exact(first):
        return float(np.mean(first != second))
    ours, theirs = _wide(first), _wide(second)
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)):
        return float("inf")
    difference = np.abs(np.subtract(ours, theirs, where=finite, out=np.zeros_like(ours)))
    return float(np.max(difference))
