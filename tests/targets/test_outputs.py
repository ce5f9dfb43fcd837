"""When is a result the default's result?"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from autotune.targets.outputs import Reference


def _reference(*outputs: np.ndarray, tolerance: float = 1e-4) -> Reference:
    return Reference.make(outputs, None, tolerance)


def test_difference_within_tolerance_of_the_largest_value() -> None:
    reference = _reference(np.array([100.0, 0.001], np.float32))
    correct, worst, _ = reference.check([np.array([100.0, 0.006], np.float32)])
    assert correct
    assert worst == pytest.approx(0.005 / 100, rel=1e-3)


def test_one_wrong_element_is_found() -> None:
    right = np.ones((64, 64), np.float32)
    wrong = right.copy()
    wrong[63, 17] = 1.01
    correct, worst, message = _reference(np.zeros(3, np.float32), right).check([np.zeros(3, np.float32), wrong])
    assert not correct
    assert worst == pytest.approx(0.01, rel=1e-3)
    assert "output 1" in message


def test_rounding_noise_has_its_own_tolerance() -> None:
    """An output that cancels to noise may differ by a few times what a rounding error of the inputs does to it."""
    noise = np.array([1e-8, -2e-8], np.float32)
    moved = np.array([2e-8, -2e-8], np.float32)
    other = np.array([-5e-8, 3e-8], np.float32)
    assert not _reference(noise).check([other])[0]
    assert Reference.make([noise], [moved], 1e-4).check([other])[0]
    assert not Reference.make([noise], [moved], 1e-4).check([other * 100])[0]


def test_nan_must_stand_in_the_same_places() -> None:
    reference = _reference(np.array([1.0, np.nan, np.inf], np.float32))
    assert reference.check([np.array([1.0, np.nan, np.inf], np.float32)])[0]
    assert not reference.check([np.array([np.nan, 1.0, np.inf], np.float32)])[0]
    assert reference.finite_fraction == pytest.approx(1 / 3)


def test_integers_and_booleans_are_exact() -> None:
    reference = _reference(np.array([1, 2, 3]), np.array([True, False]))
    assert reference.check([np.array([1, 2, 3]), np.array([True, False])])[0]
    assert not reference.check([np.array([1, 2, 4]), np.array([True, False])])[0]
    assert not reference.check([np.array([1, 2, 3]), np.array([True, True])])[0]


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn, np.complex64, np.float64])
def test_every_floating_type(dtype: type) -> None:
    values: np.ndarray = np.array([1.0, 2.0, -4.0]).astype(dtype)
    reference = _reference(values, tolerance=0.1)
    assert reference.check([values])[0]
    assert not reference.check([(values * 2).astype(dtype)])[0]


def test_shape_and_type_must_agree() -> None:
    reference = _reference(np.zeros(3, np.float32))
    assert not reference.check([np.zeros(4, np.float32)])[0]
    assert not reference.check([np.zeros(3, np.float64)])[0]
