"""Exports a small convolutional training step (three convolutions, bfloat16, SGD) as HLO text before optimisation.

    python examples/export_conv_step.py [output.hlo]

Only the shapes of the arguments count; nothing is computed.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

BATCH = 32
SIZE = 32
CHANNELS = (3, 32, 64, 128)
CLASSES = 10
POOLED = 8
"""Pixels a side after two poolings."""

Weights = list[jax.Array]
"""Kernels [3, 3, in, out] of the convolutions, then the matrix of the classifier; bfloat16."""


def logits(weights: Weights, images: jax.Array) -> jax.Array:
    """Scores of the classes.

    Args:
        weights: of the network.
        images: bfloat16[BATCH, SIZE, SIZE, 3].

    Returns:
        bfloat16[BATCH, CLASSES].
    """
    values = images
    for kernel in weights[:-1]:
        values = lax.conv_general_dilated(values, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        values = jax.nn.relu(values)
        if values.shape[1] > POOLED:
            values = lax.reduce_window(values, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return values.reshape(BATCH, -1) @ weights[-1]


def loss(weights: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy, a float32 scalar; labels are int32[BATCH]."""
    logarithms = jax.nn.log_softmax(logits(weights, images).astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(logarithms, labels[:, None], 1))


def step(weights: Weights, images: jax.Array, labels: jax.Array) -> Weights:
    """The weights after one step of gradient descent."""
    gradients = jax.grad(loss)(weights, images, labels)
    return [weight - 0.01 * gradient for weight, gradient in zip(weights, gradients, strict=True)]


def main() -> None:
    """Writes the text beside this script, or to the path in the first argument."""
    jax.config.update("jax_platforms", "cpu")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().with_name("conv_step.hlo")
    kernels = [jnp.zeros((3, 3, *pair), jnp.bfloat16) for pair in itertools.pairwise(CHANNELS)]
    weights = [*kernels, jnp.zeros((CHANNELS[-1] * POOLED**2, CLASSES), jnp.bfloat16)]
    images = jnp.zeros((BATCH, SIZE, SIZE, CHANNELS[0]), jnp.bfloat16)
    computation: Any = jax.jit(step).lower(weights, images, jnp.zeros(BATCH, jnp.int32)).compiler_ir("hlo")
    path.write_text(computation.as_hlo_text())
    print(path)


if __name__ == "__main__":
    main()
