"""Networks that classify images by convolutions: [batch, image, image, 3] -> [batch, classes]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from training.zoo.arguments import Arguments
from training.zoo.layers import (
    average_pool,
    batch_norm,
    classifier,
    conv,
    dense,
    depthwise,
    layer_norm,
    pool,
)


def resnet(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Residual network with bottlenecks (He et al. 2015), two blocks in each of three stages."""
    x = pool(_conv_norm_relu(a, a.input(batch, image, image, 3), width, 7, stride=2), 3)
    for stage in range(3):
        for block in range(2):
            x = _bottleneck(a, x, width << stage, stride=2 if stage and not block else 1)
    return classifier(a, x)


def _bottleneck(a: Arguments, x: jax.Array, width: int, *, stride: int) -> jax.Array:
    y = _conv_norm_relu(a, x, width, 1)
    y = _conv_norm_relu(a, y, width, 3, stride=stride)
    y = batch_norm(a, conv(a, y, 4 * width, 1))
    if x.shape != y.shape:
        x = batch_norm(a, conv(a, x, 4 * width, 1, stride=stride))
    return jax.nn.relu(x + y)


def _conv_norm_relu(a: Arguments, x: jax.Array, width: int, kernel: int, *, stride: int = 1) -> jax.Array:
    return jax.nn.relu(batch_norm(a, conv(a, x, width, kernel, stride=stride)))


def vgg(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Plain stacks of 3 x 3 convolutions and a wide dense head (Simonyan & Zisserman 2014)."""
    x = a.input(batch, image, image, 3)
    for stage in range(3):
        for _ in range(2):
            x = jax.nn.relu(conv(a, x, width << stage) + a.weight(width << stage))
        x = pool(x)
    x = jax.nn.relu(dense(a, x.reshape(batch, -1), 8 * width))
    return dense(a, jax.nn.relu(dense(a, x, 8 * width)), 100)


def mobilenet(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Inverted residuals with linear bottlenecks (MobileNetV2, Sandler et al. 2018)."""
    x = jax.nn.relu6(batch_norm(a, conv(a, a.input(batch, image, image, 3), width, stride=2)))
    for factor, stride in ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1)):
        y = jax.nn.relu6(batch_norm(a, conv(a, x, 6 * x.shape[-1], 1)))
        y = jax.nn.relu6(batch_norm(a, depthwise(a, y, stride=stride)))
        y = batch_norm(a, conv(a, y, factor * width, 1))
        x = x + y if x.shape == y.shape else y
    return classifier(a, x)


def efficientnet(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Inverted residuals with squeeze-and-excitation (Tan & Le 2019)."""
    x = jax.nn.silu(batch_norm(a, conv(a, a.input(batch, image, image, 3), width, stride=2)))
    for factor, kernel, stride in ((1, 3, 1), (2, 3, 2), (2, 3, 1), (3, 5, 2), (3, 5, 1)):
        y = jax.nn.silu(batch_norm(a, conv(a, x, 4 * x.shape[-1], 1)))
        y = jax.nn.silu(batch_norm(a, depthwise(a, y, kernel, stride=stride)))
        squeezed = jax.nn.silu(conv(a, y.mean((1, 2), keepdims=True), x.shape[-1] // 4, 1))
        y = batch_norm(a, conv(a, y * jax.nn.sigmoid(conv(a, squeezed, y.shape[-1], 1)), factor * width, 1))
        x = x + y if x.shape == y.shape else y
    return classifier(a, jax.nn.silu(batch_norm(a, conv(a, x, 8 * width, 1))))


def convnext(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Depthwise 7 x 7 convolutions, layer norm and layer scale (Liu et al. 2022)."""
    x = layer_norm(a, conv(a, a.input(batch, image, image, 3), width, 4, stride=4, padding="VALID"))
    for stage in range(3):
        if stage:
            x = conv(a, layer_norm(a, x), width << stage, 2, stride=2, padding="VALID")
        for _ in range(2):
            y = layer_norm(a, depthwise(a, x, 7))
            y = dense(a, jax.nn.gelu(dense(a, y, 4 * x.shape[-1])), x.shape[-1])
            x = x + a.weight(x.shape[-1]) * y
    return classifier(a, layer_norm(a, x))


def densenet(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Every layer sees all before it in its block (Huang et al. 2016); `width` is the growth rate."""
    x = pool(conv(a, a.input(batch, image, image, 3), 2 * width, 7, stride=2), 3)
    for block in range(3):
        if block:
            x = average_pool(conv(a, jax.nn.relu(batch_norm(a, x)), x.shape[-1] // 2, 1))
        for _ in range(3):
            y = conv(a, jax.nn.relu(batch_norm(a, x)), 4 * width, 1)
            x = jnp.concatenate([x, conv(a, jax.nn.relu(batch_norm(a, y)), width)], axis=-1)
    return classifier(a, jax.nn.relu(batch_norm(a, x)))


def inception(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Branches of 1 x 1, 3 x 3, 5 x 5 convolutions and pooling, side by side (Szegedy et al. 2014)."""
    x = pool(_conv_norm_relu(a, a.input(batch, image, image, 3), 2 * width, 7, stride=2), 3)
    for stage in range(3):
        n = width << (stage // 2)
        branches = [
            _conv_norm_relu(a, x, 2 * n, 1),
            _conv_norm_relu(a, _conv_norm_relu(a, x, 2 * n, 1), 3 * n, 3),
            _conv_norm_relu(a, _conv_norm_relu(a, x, n // 2, 1), n, 5),
            _conv_norm_relu(a, pool(x, 3, stride=1), n, 1),
        ]
        x = jnp.concatenate(branches, axis=-1)
        if stage == 1:
            x = pool(x, 3)
    return classifier(a, x)


def shufflenet(a: Arguments, *, batch: int, image: int, width: int = 48) -> jax.Array:
    """Grouped 1 x 1 convolutions with shuffled channels between them (Zhang et al. 2017)."""
    groups = 4
    x = _conv_norm_relu(a, a.input(batch, image, image, 3), width, 3, stride=2)
    for _ in range(4):
        y = jax.nn.relu(batch_norm(a, conv(a, x, width, 1, groups=groups)))
        y = y.reshape(*y.shape[:-1], groups, width // groups).swapaxes(-1, -2).reshape(y.shape)
        y = batch_norm(a, conv(a, batch_norm(a, depthwise(a, y)), width, 1, groups=groups))
        x = jax.nn.relu(x + y)
    return classifier(a, x)
