"""Programs for tests, read once per process."""

from __future__ import annotations

import functools

from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from tests import hlo_texts


@functools.cache
def two_dots() -> Program:
    return read_bytes(hlo_texts.TWO_DOTS.encode(), "two_dots")


@functools.cache
def lookup() -> Program:
    return read_bytes(hlo_texts.LOOKUP.encode(), "lookup")


@functools.cache
def product(rows: int, steps: int, columns: int, bias_and_tanh: bool = False) -> Program:
    text = hlo_texts.matrix_product(rows, steps, columns, bias_and_tanh=bias_and_tanh)
    return read_bytes(text.encode(), "product")
