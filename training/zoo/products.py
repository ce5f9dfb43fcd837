"""Matrix products of drawn sizes, as programs: what the CPU's tiles are learned from, beyond the products of networks.

They make a family of their own, which `autotune collect` puts into training: no network is judged by them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from training.zoo.program import Built, Dtype, ZooProgram

FAMILY: Final = "matmul"

_LEAST, _LARGEST = 4, 8192
_OPERATIONS: Final = (2**14, 2**26)
"""Multiply-adds of a product: from a few microseconds to some tens of milliseconds on one core."""
_ELEMENTS: Final = 2**22
"""The most of any of the three arrays."""
_BATCHED: Final = 0.2
"""Share of the products that are many small ones."""
_HALVED: Final = 0.2
"""Share of the products in bfloat16."""


def drawn_products(count: int, seed: int) -> list[ZooProgram]:
    """Distinct products [batch,] m x k times k x n; of one seed, fewer are the first of more.

    Extents are drawn evenly on a logarithmic scale: half of them are powers of two or three times one, a quarter are
    multiples of eight, a quarter are any number, because tiles fit each of these differently.

    Args:
        count: how many.
        seed: of the draws.
    """
    found: dict[str, ZooProgram] = {}
    draws = _draw(np.random.default_rng(seed))
    while len(found) < count:
        program = next(draws)
        found.setdefault(program.name, program)
    return list(found.values())


def _draw(random: np.random.Generator) -> Iterator[ZooProgram]:
    while True:
        batch = 2 ** int(random.integers(1, 8)) if random.random() < _BATCHED else 1
        m, k, n = (_extent(random) for _ in range(3))
        dtype: Dtype = "bfloat16" if random.random() < _HALVED else "float32"
        fewest, most = _OPERATIONS
        fits = fewest <= batch * m * k * n <= most and batch * max(m * k, k * n, m * n) <= _ELEMENTS
        if fits:
            ending = "-bf16" if dtype == "bfloat16" else ""
            builder = functools.partial(_build, batch, m, k, n, dtype)
            yield ZooProgram(f"{FAMILY}/b{batch}-m{m}-k{k}-n{n}{ending}", FAMILY, builder, dtype, "inference")


def _extent(random: np.random.Generator) -> int:
    size = float(np.exp(random.uniform(np.log(_LEAST), np.log(_LARGEST))))
    kind = random.random()
    if kind < 0.25:
        rounded = round(size)
    elif kind < 0.5:
        rounded = 8 * round(size / 8)
    else:
        power = 2 ** int(np.log2(size))
        rounded = min((power, 3 * power // 2, 2 * power), key=lambda each: abs(math.log(each / size)))
    return min(max(rounded, _LEAST), _LARGEST)


def _build(batch: int, m: int, k: int, n: int, dtype: Dtype) -> Built:
    import jax
    import jax.numpy as jnp

    sizes = (batch,) if batch > 1 else ()
    shapes = [jax.ShapeDtypeStruct((*sizes, *each), jnp.dtype(dtype)) for each in ((m, k), (k, n))]
    return lambda left, right: jnp.matmul(left, right), shapes
