from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import training.data.coding
from training.data.coding import code_layouts, code_rows, code_values, smallest_unsigned

_FLOATS = arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 4)), elements=st.floats(width=32))
_LAYOUTS = st.tuples(st.integers(0, 5), st.integers(0, 3)).flatmap(
    lambda shape: arrays(np.int8, (*shape, 18), elements=st.integers(-1, 127))
)


@given(_FLOATS)
def test_every_bit_of_a_number_comes_back(values: NDArray[np.float32]) -> None:
    table, codes = code_values(values)
    assert table.dtype == np.float32
    assert codes.shape == values.shape
    assert np.array_equal(table[codes].view(np.uint32), values.view(np.uint32))  # also -0.0 and every nan
    assert len(np.unique(table.view(np.uint32))) == len(table)


@given(_LAYOUTS)
def test_every_layout_comes_back(layouts: NDArray[np.int8]) -> None:
    table, codes = code_layouts(layouts.astype(np.float32))
    assert table.dtype == np.int8
    assert codes.shape == layouts.shape[:2]
    assert np.array_equal(table[codes], layouts)
    assert len(table) == len(np.unique(layouts.reshape(-1, 18), axis=0))


def test_layouts_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = np.random.default_rng(0).integers(-1, 6, (7, 3, 18)).astype(np.float32)
    whole = code_layouts(layouts)
    monkeypatch.setattr(training.data.coding, "_CHUNK", 4)
    for one, other in zip(whole, code_layouts(layouts), strict=True):
        assert np.array_equal(one, other)


def test_a_fraction_is_no_layout() -> None:
    layouts = np.zeros((1, 2, 18), np.float32)
    layouts[0, 1, 3] = 0.5
    with pytest.raises(ValueError, match="no integer"):
        code_layouts(layouts)


def test_rows_are_numbered_as_they_come() -> None:
    rows = np.array([[5, 5], [1, 2], [5, 5], [0, 0], [1, 2]], np.uint16)
    first, kinds = code_rows(rows)
    assert first.tolist() == [0, 1, 3]
    assert kinds.tolist() == [0, 1, 0, 2, 1]
    assert kinds.dtype == np.uint8


def test_rows_without_columns_are_equal() -> None:
    first, kinds = code_rows(np.empty((3, 0), np.uint8))
    assert (first.tolist(), kinds.tolist()) == ([0], [0, 0, 0])


def test_as_few_bytes_as_suffice() -> None:
    assert [smallest_unsigned(n).name for n in (0, 255, 256, 65535, 65536, 2**32)] == [
        *("uint8", "uint8", "uint16", "uint16", "uint32", "uint64")
    ]
    values = np.arange(257, dtype=np.float32)
    assert code_values(values[:256])[1].dtype == np.uint8
    assert code_values(values)[1].dtype == np.uint16
