"""Functions of jax with arguments, small enough to compile in a moment: an MLP, a convolutional net, a transformer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _random(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), jnp.float32)


def mlp(weights: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
    hidden = jax.nn.gelu(x @ weights["first"] + weights["bias"])
    mixed = hidden.reshape(8, 16, -1).transpose(1, 0, 2)
    return {"output": jnp.einsum("abc,cd->bad", mixed, weights["second"]), "mean": hidden.mean()}


def mlp_arguments() -> tuple[Any, ...]:
    weights = {"first": _random(0, 32, 64), "bias": _random(1, 64), "second": _random(2, 64, 16)}
    return weights, _random(3, 128, 32)


def convolutional(kernels: list[jax.Array], images: jax.Array) -> jax.Array:
    values = images
    for kernel in kernels[:-1]:
        values = lax.conv_general_dilated(values, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        values = jax.nn.relu(values)
    return values.reshape(values.shape[0], -1) @ kernels[-1]


def convolutional_arguments() -> tuple[Any, ...]:
    kernels = [_random(0, 3, 3, 4, 8), _random(1, 3, 3, 8, 16), _random(2, 4 * 4 * 16, 10)]
    return kernels, _random(3, 2, 16, 16, 4)


def transformer(weights: tuple[jax.Array, ...], tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    query, key, value, output = weights
    batch, length, width = tokens.shape
    heads = [(tokens @ each).reshape(batch, length, 2, width // 2) for each in (query, key, value)]
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", heads[0], heads[1]))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", scores, heads[2]).reshape(batch, length, width)
    return tokens + jax.nn.silu(mixed @ output), scores


def transformer_arguments() -> tuple[Any, ...]:
    return tuple(_random(seed, 32, 32) for seed in range(4)), _random(5, 2, 12, 32)


FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mlp": (mlp, mlp_arguments()),
    "convolutional": (convolutional, convolutional_arguments()),
    "transformer": (transformer, transformer_arguments()),
}


def loss(function: Any) -> Any:
    """A scalar of all outputs."""

    def of(*arguments: Any) -> jax.Array:
        outputs = jax.tree.leaves(function(*arguments))
        return sum((jnp.sin(3.0 * each.astype(jnp.float32)).sum() for each in outputs), jnp.float32(0))

    return of
