"""What the tests of the zoo do with jax in a child process: `Worker("tests.training.zoo.child")`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from training.zoo import find, language, layers, recurrent
from training.zoo.arguments import Arguments

jax.config.update("jax_platforms", "cpu")


def shapes(name: str) -> list[tuple[tuple[int, ...], str]]:
    """The arguments of a program."""
    return [(each.shape, str(each.dtype)) for each in find(name).builder()[1]]


def call(name: str, arguments: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs of a program, by jax."""
    function, _ = find(name).builder()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(function)(*arguments))]


def attend_and_reference(queries: int, keys: int, heads: int, groups: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Our attention, and that of jax.nn, of the same numbers."""
    numbers = np.random.default_rng(0)
    query = jnp.array(numbers.normal(size=(2, queries, heads, 8)), jnp.float32)
    key, value = jnp.array(numbers.normal(size=(2, 2, keys, groups, 8)), jnp.float32)
    bias = jnp.array(numbers.normal(size=(1, heads, queries, keys)), jnp.float32)
    mask = layers.causal_mask(keys)[:queries]
    ours = layers.attend(query, key, value, mask=mask, bias=bias)
    theirs = jax.nn.dot_product_attention(query, key, value, bias=bias, mask=mask[None, None])
    return np.asarray(ours), np.asarray(theirs.reshape(ours.shape))


def retention_in_chunks(chunk: int) -> NDArray[Any]:
    """Retention of the same 32 positions, in chunks of this size."""
    return _run(lambda a: recurrent.retention(a, batch=2, tokens=32, width=8, chunk=chunk))


def rotated_products(shift: int) -> NDArray[Any]:
    """Products of rotated queries and keys, all positions moved by the same."""
    query, key = jnp.array(np.random.default_rng(0).normal(size=(2, 1, 5, 1, 8)), jnp.float32)
    positions = jnp.arange(5) + shift
    turned = language.rotate(query, positions), language.rotate(key, positions)
    return np.asarray(jnp.einsum("bqhd,bkhd->qk", *turned))


def _run(model: Callable[[Arguments], jax.Array]) -> NDArray[Any]:
    """The output of a model for weights and inputs drawn from one seed."""
    asked = Arguments(jnp.float32, train=False)
    jax.eval_shape(lambda: model(asked))
    numbers = np.random.default_rng(0)
    weights, inputs = (
        [jnp.array(0.3 * numbers.normal(size=each.shape), each.dtype) for each in part]
        for part in (asked.weights, asked.inputs)
    )
    return np.asarray(model(Arguments(jnp.float32, train=False, weights=weights, inputs=inputs)))
