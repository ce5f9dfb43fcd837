"""Networks whose output is an image, or as large as one: segmentation, diffusion, auto-encoders, generators."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from training.zoo.arguments import Arguments
from training.zoo.layers import (
    attention,
    batch_norm,
    conv,
    conv_transpose,
    dense,
    encoder_block,
    group_norm,
    layer_norm,
    patches,
    pool,
)


def unet(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Segmentation with skips between equal resolutions (Ronneberger et al. 2015): [batch, image, image, 8]."""

    def double(x: jax.Array, channels: int) -> jax.Array:
        for _ in range(2):
            x = jax.nn.relu(batch_norm(a, conv(a, x, channels)))
        return x

    x, skips = a.input(batch, image, image, 3), []
    for level in range(3):
        x = double(x, width << level)
        skips.append(x)
        x = pool(x)
    x = double(x, width << 3)
    for level in reversed(range(3)):
        x = double(jnp.concatenate([skips[level], conv_transpose(a, x, width << level)], axis=-1), width << level)
    return conv(a, x, 8, 1)


def diffusion_unet(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Predicts noise from a noisy image and a time (DDPM, Ho et al. 2020): [batch, image, image, 3]."""
    image_, moment = a.input(batch, image, image, 3), a.input(batch)
    time = dense(a, jax.nn.silu(dense(a, _sinusoids(moment, width).astype(a.dtype), 4 * width)), 4 * width)

    def residual(x: jax.Array, channels: int) -> jax.Array:
        y = conv(a, jax.nn.silu(group_norm(a, x)), channels)
        y = y + dense(a, jax.nn.silu(time), channels)[:, None, None, :]
        y = conv(a, jax.nn.silu(group_norm(a, y)), channels)
        return y + (x if x.shape[-1] == channels else conv(a, x, channels, 1))

    x = conv(a, image_, width)
    first = residual(x, width)
    second = residual(conv(a, first, 2 * width, stride=2), 2 * width)
    x = residual(conv(a, second, 4 * width, stride=2), 4 * width)
    flat = group_norm(a, x).reshape(batch, -1, 4 * width)
    x = residual(x + attention(a, flat, 4).reshape(x.shape), 4 * width)
    for skip in (second, first):
        x = conv(a, jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), skip.shape[-1])
        x = residual(jnp.concatenate([x, skip], axis=-1), skip.shape[-1])
    return conv(a, jax.nn.silu(group_norm(a, x)), 3)


def _sinusoids(moment: jax.Array, width: int) -> jax.Array:
    """float32[batch, width] of a time float[batch] (Vaswani et al. 2017, section 3.5)."""
    frequencies = jnp.exp(-9.21 * jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))  # 9.21 = log(10,000)
    angles = moment.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def diffusion_transformer(a: Arguments, *, batch: int, image: int, width: int = 64) -> jax.Array:
    """Predicts noise with transformer blocks that a time modulates (DiT, Peebles & Xie 2022): patches of 4 x 4."""
    image_, moment = a.input(batch, image, image, 4), a.input(batch)
    time = jax.nn.silu(dense(a, _sinusoids(moment, width).astype(a.dtype), width))
    x = patches(a, image_, 4, width)
    for _ in range(2):
        shift, scale, gate = jnp.split(dense(a, time, 3 * width)[:, None, :], 3, axis=-1)
        x = x + gate * encoder_block(a, layer_norm(a, x) * (1 + scale) + shift, 4)
    pixels = dense(a, layer_norm(a, x), 4 * 4 * 4).reshape(batch, image // 4, image // 4, 4, 4, 4)
    return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(batch, image, image, 4)


def vae(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Variational auto-encoder with given noise (Kingma & Welling 2013): [batch, image, image, 3]."""
    x, noise = a.input(batch, image, image, 3), a.input(batch, 2 * width)
    for level in range(2):
        x = jax.nn.relu(conv(a, x, width << level, stride=2) + a.weight(width << level))
    mean, log_variance = jnp.split(dense(a, x.reshape(batch, -1), 4 * width), 2, axis=-1)
    latent = mean + jnp.exp(0.5 * log_variance) * noise
    side = image // 4
    x = jax.nn.relu(dense(a, latent, side * side * 2 * width)).reshape(batch, side, side, 2 * width)
    x = jax.nn.relu(conv_transpose(a, x, width, 4))
    return jax.nn.sigmoid(conv_transpose(a, x, 3, 4))


def gan_generator(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Transposed convolutions from noise to an image (DCGAN, Radford et al. 2015): [batch, image, image, 3]."""
    side = image // 8
    x = dense(a, a.input(batch, 64), side * side * 4 * width, bias=False).reshape(batch, side, side, 4 * width)
    for channels in (2 * width, width):
        x = conv_transpose(a, jax.nn.relu(batch_norm(a, x)), channels, 4)
    return jnp.tanh(conv_transpose(a, jax.nn.relu(batch_norm(a, x)), 3, 4))


def super_resolution(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Residual blocks, then depth to space (EDSR, Lim et al. 2017): [batch, 2 image, 2 image, 3]."""
    x = start = conv(a, a.input(batch, image, image, 3), width)
    for _ in range(4):
        x = x + 0.1 * conv(a, jax.nn.relu(conv(a, x, width)), width)
    x = conv(a, x + start, 4 * width).reshape(batch, image, image, 2, 2, width)
    return conv(a, x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * image, 2 * image, width), 3)
