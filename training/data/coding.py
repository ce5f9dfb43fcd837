"""Arrays with few distinct entries, as a table of those and a small number per entry. Exact: every bit comes back.

The 622,024 node layouts of alexnet's 23,924 configs are 32 different rows. One byte each instead of 72 makes the store
smaller than the compressed original, and a config is read without decompressing anything.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cost_model import features

Coded = tuple[NDArray[Any], NDArray[np.unsignedinteger[Any]]]
"""A table, and for every entry its index in it."""

_CHUNK: Final = 1 << 20
"""Layout rows that are converted at a time, so that little memory is needed beside the file's own."""

_BASE: Final = 129
"""Digits of a layout entry: -1 to 127 (`LayoutConfigs` accepts no other)."""
_DIGITS: Final = features.LAYOUT_FEATURES // 2
"""Digits per 64-bit word: 129**9 < 2**64, so that a row of 18 is two words."""
_WEIGHTS: Final = np.array([_BASE**digit for digit in range(_DIGITS)], dtype=np.uint64)


def smallest_unsigned(maximum: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds 0 to maximum."""
    return np.min_scalar_type(maximum)


def code_values(values: NDArray[np.float32]) -> Coded:
    """Codes single numbers.

    Args:
        values: float32, any shape. Numbers are distinct when their bits are.

    Returns:
        The table, float32[v], and uint8, uint16 or uint32 of the shape of `values`: `table[codes]` is `values`.
    """
    table, codes = _code(np.ascontiguousarray(values).view(np.uint32))
    return table.view(np.float32), codes


def code_layouts(layouts: NDArray[np.float32]) -> Coded:
    """Codes the rows of layout configs.

    Args:
        layouts: float32[c, nc, 18], from -1 to 127 (`LayoutConfigs.node_config_feat`).

    Returns:
        The table, int8[r, 18], and uint8, uint16 or uint32[c, nc]: `table[codes]` is `layouts`.

    Raises:
        ValueError: an entry is no integer.
    """
    rows = layouts.reshape(-1, 2, _DIGITS)
    words = np.empty((len(rows), 2), dtype=np.uint64)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        digits = (chunk + 1).astype(np.uint8)
        if not np.array_equal(digits, chunk + 1):
            raise ValueError("an entry is no integer")
        words[start : start + _CHUNK] = digits.astype(np.uint64) @ _WEIGHTS
    first_words, firsts = _code(words[:, 0])
    second_words, seconds = _code(words[:, 1])
    pairs, codes = _code(firsts.astype(np.uint64) * np.uint64(max(1, len(second_words))) + seconds)
    halves = np.divmod(pairs, np.uint64(max(1, len(second_words))))
    entries = [_digits(table[half]) for table, half in zip((first_words, second_words), halves, strict=True)]
    table = np.concatenate(entries, axis=1).astype(np.int8) - np.int8(1)
    return table, codes.reshape(layouts.shape[:2])


def code_rows(rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.unsignedinteger[Any]]]:
    """Finds equal rows.

    Args:
        rows: [n, k]; rows are equal when their bytes are.

    Returns:
        The index of the first row of each kind, int64[r], ascending; and for every row its kind, uint8, uint16 or
        uint32[n]. `rows[first][kinds]` is `rows`. Without equal rows, `kinds` is 0, 1, 2, ...
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    kinds = np.empty(len(rows), dtype=np.int64)
    for index, row in enumerate(np.ascontiguousarray(rows)):
        kinds[index] = kind = seen.setdefault(row.tobytes(), len(seen))
        if kind == len(first):
            first.append(index)
    return np.array(first, dtype=np.int64), kinds.astype(smallest_unsigned(max(0, len(first) - 1)))


def _code(keys: NDArray[Any]) -> Coded:
    # np.unique(return_inverse=True) sorts indices as well, which takes several times the time and the memory.
    table = np.unique(keys)
    kind = smallest_unsigned(max(0, len(table) - 1))
    return table, np.searchsorted(table, keys).astype(kind)


def _digits(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return words[:, None] // _WEIGHTS % np.uint64(_BASE)
