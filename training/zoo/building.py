"""From a model to a program: inference as it is, or one step of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp

from training.zoo.arguments import Arguments
from training.zoo.program import Built, Dtype, Mode

Loss = Literal["labels", "values"]
_LEARNING_RATE: Final = 1e-3


def build(module: str, model: str, sizes: Mapping[str, int], loss: Loss, dtype: Dtype, mode: Mode) -> Built:
    """A function of flat arguments, and their shapes.

    Args:
        module: of this package, such as "language".
        model: a function there, of `Arguments` and sizes.
        sizes: keyword arguments of the model.
        loss: what training compares with: "labels" (cross entropy with int32 indices of the last dimension) or
            "values" (mean square difference to an array like the output).
        dtype: of the weights.
        mode: inference: weights, inputs -> output. train: weights, inputs, labels or values -> loss, new weights.
    """
    function: Callable[..., jax.Array] = getattr(import_module(f"training.zoo.{module}"), model)
    train = mode == "train"
    asked = Arguments(dtype, train=train)
    output = jax.eval_shape(lambda: function(asked, **sizes))
    count = len(asked.weights)

    def forward(weights: Sequence[jax.Array], inputs: Sequence[jax.Array]) -> jax.Array:
        return function(Arguments(dtype, train=train, weights=weights, inputs=inputs), **sizes)

    def infer(*arguments: jax.Array) -> jax.Array:
        return forward(arguments[:count], arguments[count:])

    def step(*arguments: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        weights, inputs, wanted = arguments[:count], arguments[count:-1], arguments[-1]

        def cost(weights: Sequence[jax.Array]) -> jax.Array:
            return _loss(forward(weights, inputs), wanted, loss)

        value, gradients = jax.value_and_grad(cost)(weights)
        pairs = zip(weights, gradients, strict=True)
        return value, [weight - _LEARNING_RATE * gradient for weight, gradient in pairs]

    arguments = [*asked.weights, *asked.inputs]
    if not train:
        return infer, arguments
    return step, [*arguments, _wanted(output, loss)]


def _wanted(output: Any, loss: Loss) -> jax.ShapeDtypeStruct:
    if loss == "labels":
        return jax.ShapeDtypeStruct(output.shape[:-1], jnp.int32)
    return jax.ShapeDtypeStruct(output.shape, output.dtype)


def _loss(output: jax.Array, wanted: jax.Array, loss: Loss) -> jax.Array:
    """A scalar, float32."""
    wide = output.astype(jnp.float32)
    if loss == "values":
        return jnp.square(wide - wanted.astype(jnp.float32)).mean()
    chosen = jnp.take_along_axis(jax.nn.log_softmax(wide), wanted[..., None], axis=-1)
    return -chosen.mean()
