"""Exports the demo program: forward and backward of one attention + MLP block, as HLO before optimisation.

    python examples/export_transformer_block.py [OUTPUT.hlo]

Float32, 4 sequences of 64 tokens, width 128, 4 heads: about 3 ms on one core. The same bytes on every machine.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

BATCH, TOKENS, WIDTH, HEADS = 4, 64, 128, 4


class Weights(NamedTuple):
    """Of one block; every matrix is [in, out]."""

    query: jax.Array
    key: jax.Array
    value: jax.Array
    output: jax.Array
    expand: jax.Array
    contract: jax.Array


def attention(weights: Weights, x: jax.Array) -> jax.Array:
    """Multi-head self-attention, float32[batch, tokens, width] -> the same shape."""

    def split(projected: jax.Array) -> jax.Array:
        return projected.reshape(BATCH, TOKENS, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

    query, key, value = (split(x @ matrix) for matrix in (weights.query, weights.key, weights.value))
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key) / (WIDTH // HEADS) ** 0.5
    mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), value)
    return mixed.transpose(0, 2, 1, 3).reshape(BATCH, TOKENS, WIDTH) @ weights.output


def loss(weights: Weights, x: jax.Array) -> jax.Array:
    """Mean square of what the block puts out: something to differentiate."""
    hidden = x + attention(weights, x)
    hidden = hidden + jax.nn.gelu(hidden @ weights.expand) @ weights.contract
    return jnp.mean(hidden**2)


def transformer_block(weights: Weights, x: jax.Array) -> tuple[jax.Array, Weights]:
    """The loss and its gradient."""
    return jax.value_and_grad(loss)(weights, x)


def export() -> str:
    """The program as HLO text, without metadata (it would name this machine's files)."""

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    square = array(WIDTH, WIDTH)
    weights = Weights(square, square, square, square, array(WIDTH, 4 * WIDTH), array(4 * WIDTH, WIDTH))
    lowered = jax.jit(transformer_block).lower(weights, array(BATCH, TOKENS, WIDTH))
    computation = lowered.compiler_ir("hlo")
    assert computation is not None
    text: str = computation.as_hlo_text()
    lines = text.splitlines()
    lines = [re.sub(r", (?:metadata|origin)=\{.*$", "", line) for line in lines]
    lines = [line for line in lines if not re.match(r"(FileNames|FunctionNames|FileLocations|StackFrames|\d+ )", line)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    default = Path(__file__).with_suffix("").with_name("transformer_block.hlo")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(export())
