"""What a model takes: declared by the model itself while it runs, so that shapes are written down once.

A model is a function of `Arguments` and sizes. It is traced twice: first to learn which weights and inputs it asks for
(nothing is allocated), then with tracers in their place. Hence no weight is ever a constant of the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class Arguments:
    """Hands a model its weights and inputs in the order in which it asks for them.

    Args:
        dtype: of all weights, and of inputs that do not say otherwise.
        train: whether layers behave as in training (batch norm takes the statistics of the batch).
        weights: the values to hand out; None to record what is asked for and hand out zeros.
        inputs: likewise.

    Attributes:
        weights: shapes and dtypes of the weights asked for so far.
        inputs: likewise.
    """

    def __init__(
        self,
        dtype: DTypeLike,
        *,
        train: bool,
        weights: Sequence[jax.Array] | None = None,
        inputs: Sequence[jax.Array] | None = None,
    ) -> None:
        self.dtype = jnp.dtype(dtype)
        self.train = train
        self.weights: list[jax.ShapeDtypeStruct] = []
        self.inputs: list[jax.ShapeDtypeStruct] = []
        self._weight_values = iter(weights) if weights is not None else None
        self._input_values = iter(inputs) if inputs is not None else None

    def weight(self, *shape: int) -> jax.Array:
        """The next weight, of this shape."""
        return _next(jax.ShapeDtypeStruct(shape, self.dtype), self.weights, self._weight_values)

    def input(self, *shape: int, dtype: DTypeLike | None = None) -> jax.Array:
        """The next input, of this shape and dtype (None: that of the weights)."""
        wanted = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype) if dtype is not None else self.dtype)
        return _next(wanted, self.inputs, self._input_values)

    def tokens(self, *shape: int) -> jax.Array:
        """The next input: indices, int32."""
        return self.input(*shape, dtype=jnp.int32)


def _next(
    wanted: jax.ShapeDtypeStruct, asked: list[jax.ShapeDtypeStruct], values: Iterator[jax.Array] | None
) -> jax.Array:
    asked.append(wanted)
    return jnp.zeros(wanted.shape, wanted.dtype) if values is None else next(values)
