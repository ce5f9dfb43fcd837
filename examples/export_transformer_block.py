"""Exports the demo program: forward and backward of one attention + MLP block, as HLO text before optimisation.

    python examples/export_transformer_block.py [output.hlo]

Only the shapes of the arguments count; nothing is computed. The text carries no metadata, hence no path of the machine,
and the same versions of jax and jaxlib give the same bytes (the file in the repository: jax 0.10.2).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

BATCH = 4
TOKENS = 64
WIDTH = 128
HEADS = 4
HEAD_WIDTH = WIDTH // HEADS
HIDDEN = 4 * WIDTH


class Weights(NamedTuple):
    """The weights of the block, float32, or their gradients."""

    query: jax.Array  # [WIDTH, WIDTH]
    key: jax.Array  # [WIDTH, WIDTH]
    value: jax.Array  # [WIDTH, WIDTH]
    output: jax.Array  # [WIDTH, WIDTH]
    expand: jax.Array  # [WIDTH, HIDDEN]
    contract: jax.Array  # [HIDDEN, WIDTH]


def attention(weights: Weights, x: jax.Array) -> jax.Array:
    """Multi-head self-attention without a mask.

    Args:
        weights: the weights of the block.
        x: activations, float32[BATCH, TOKENS, WIDTH].

    Returns:
        float32[BATCH, TOKENS, WIDTH].
    """

    def heads(tensor: jax.Array) -> jax.Array:
        return tensor.reshape(BATCH, TOKENS, HEADS, HEAD_WIDTH).transpose(0, 2, 1, 3)

    query, key, value = heads(x @ weights.query), heads(x @ weights.key), heads(x @ weights.value)
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key) / HEAD_WIDTH**0.5
    mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), value)
    return mixed.transpose(0, 2, 1, 3).reshape(BATCH, TOKENS, WIDTH) @ weights.output


def loss(weights: Weights, x: jax.Array) -> jax.Array:
    """Mean square of the block's output: a scalar to differentiate."""
    attended = x + attention(weights, x)
    block = attended + jax.nn.gelu(attended @ weights.expand) @ weights.contract
    return jnp.mean(block**2)


def transformer_block(weights: Weights, x: jax.Array) -> tuple[jax.Array, Weights]:
    """The loss and its gradients for all weights."""
    value, gradients = jax.value_and_grad(loss)(weights, x)
    return value, gradients


def arguments() -> tuple[Weights, jax.Array]:
    """Weights and activations of the right shapes, all zero."""
    square = jnp.zeros((WIDTH, WIDTH), jnp.float32)
    weights = Weights(
        query=square,
        key=square,
        value=square,
        output=square,
        expand=jnp.zeros((WIDTH, HIDDEN), jnp.float32),
        contract=jnp.zeros((HIDDEN, WIDTH), jnp.float32),
    )
    return weights, jnp.zeros((BATCH, TOKENS, WIDTH), jnp.float32)


def export() -> str:
    """Lowers the block; returns HLO text."""
    computation: Any = jax.jit(transformer_block).lower(*arguments()).compiler_ir("hlo")
    text: str = computation.as_hlo_text()
    return text


def main() -> None:
    """Writes the text beside this script, or to the path in the first argument."""
    jax.config.update("jax_platforms", "cpu")
    here = Path(__file__).resolve()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else here.with_name("transformer_block.hlo")
    path.write_text(export())
    print(path)


if __name__ == "__main__":
    main()
