"""Networks that classify or compare images by attention or by mixing patches."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from training.zoo.arguments import Arguments
from training.zoo.layers import (
    attention,
    classifier,
    dense,
    embed,
    encoder_block,
    layer_norm,
    patches,
)


def vit(a: Arguments, *, batch: int, image: int, width: int = 96, depth: int = 3) -> jax.Array:
    """Vision transformer with a class token (Dosovitskiy et al. 2020), patches of 8 x 8: [batch, classes]."""
    x = patches(a, a.input(batch, image, image, 3), 8, width)
    x = jnp.concatenate([jnp.broadcast_to(a.weight(1, 1, width), (batch, 1, width)), x], axis=1)
    x = x + a.weight(1, x.shape[1], width)
    for _ in range(depth):
        x = encoder_block(a, x, 4)
    return dense(a, layer_norm(a, x)[:, 0], 100)


def mlp_mixer(a: Arguments, *, batch: int, image: int, width: int = 96, depth: int = 3) -> jax.Array:
    """Dense layers over patches and over channels in turn (Tolstikhin et al. 2021): [batch, classes]."""
    x = patches(a, a.input(batch, image, image, 3), 8, width)
    for _ in range(depth):
        y = layer_norm(a, x).swapaxes(1, 2)
        x = x + dense(a, jax.nn.gelu(dense(a, y, 2 * width)), x.shape[1]).swapaxes(1, 2)
        x = x + dense(a, jax.nn.gelu(dense(a, layer_norm(a, x), 4 * width)), width)
    return classifier(a, layer_norm(a, x))


def swin(a: Arguments, *, batch: int, image: int, width: int = 48) -> jax.Array:
    """Attention within windows of 4 x 4 that shift, and merged patches (Liu et al. 2021): [batch, classes]."""
    side = image // 4
    x = patches(a, a.input(batch, image, image, 3), 4, width).reshape(batch, side, side, width)
    for stage in range(2):
        for shift in (0, 2) if stage == 0 else (0,):
            x = _window_block(a, x, window=4, shift=shift)
        if stage == 0:
            x = x.reshape(batch, side // 2, 2, side // 2, 2, width).transpose(0, 1, 3, 2, 4, 5)
            x = dense(a, layer_norm(a, x.reshape(batch, side // 2, side // 2, 4 * width)), 2 * width, bias=False)
    return classifier(a, layer_norm(a, x))


def _window_block(a: Arguments, x: jax.Array, *, window: int, shift: int) -> jax.Array:
    batch, side, _, width = x.shape
    count = side // window
    y = jnp.roll(layer_norm(a, x), (-shift, -shift), (1, 2)) if shift else layer_norm(a, x)
    y = y.reshape(batch, count, window, count, window, width).transpose(0, 1, 3, 2, 4, 5)
    y = attention(a, y.reshape(-1, window * window, width), 4, bias=a.weight(1, 4, window * window, window * window))
    y = y.reshape(batch, count, count, window, window, width).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)
    x = x + (jnp.roll(y, (shift, shift), (1, 2)) if shift else y)
    return x + dense(a, jax.nn.gelu(dense(a, layer_norm(a, x), 4 * width)), width)


def clip(a: Arguments, *, batch: int, image: int, tokens: int = 32, width: int = 64) -> jax.Array:
    """Two towers, images and texts, compared pairwise (Radford et al. 2021): logits [batch, batch]."""
    pixels = patches(a, a.input(batch, image, image, 3), 8, width)
    texts, _ = embed(a, a.tokens(batch, tokens), 512, width)
    pixels, texts = pixels + a.weight(pixels.shape[1], width), texts + a.weight(tokens, width)
    for _ in range(2):
        pixels, texts = encoder_block(a, pixels, 4), encoder_block(a, texts, 4, causal=True)

    def direction(x: jax.Array) -> jax.Array:
        y = dense(a, x, width, bias=False).astype(jnp.float32)
        return y / jnp.sqrt(jnp.square(y).sum(-1, keepdims=True) + 1e-6)

    similar = direction(layer_norm(a, pixels).mean(1)) @ direction(layer_norm(a, texts)[:, -1]).T
    return similar * jnp.exp(a.weight().astype(jnp.float32))


def detr(a: Arguments, *, batch: int, image: int, width: int = 64) -> jax.Array:
    """Object queries that attend to an encoded image (Carion et al. 2020): classes and boxes [batch, 16, 24]."""
    x = patches(a, a.input(batch, image, image, 3), 8, width)
    x = encoder_block(a, x + a.weight(x.shape[1], width), 4)
    queries = jnp.broadcast_to(a.weight(16, width), (batch, 16, width))
    for _ in range(2):
        queries = queries + attention(a, layer_norm(a, queries), 4)
        queries = queries + attention(a, layer_norm(a, queries), 4, context=x)
        queries = queries + dense(a, jax.nn.relu(dense(a, layer_norm(a, queries), 4 * width)), width)
    boxes = jax.nn.sigmoid(dense(a, jax.nn.relu(dense(a, queries, width)), 4))
    return jnp.concatenate([dense(a, queries, 20), boxes], axis=-1)
