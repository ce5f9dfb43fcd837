"""The layers that models share. Images are [batch, height, width, channels], sequences [batch, time, channels].

Everywhere `a` is what the model is given: each layer asks it for its own weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from training.zoo.arguments import Arguments

_EPSILON = 1e-5
_MASKED = -1e9


def dense(a: Arguments, x: jax.Array, width: int, *, bias: bool = True) -> jax.Array:
    """A matrix product over the last dimension: [..., n] -> [..., width]."""
    y = x @ a.weight(x.shape[-1], width)
    return y + a.weight(width) if bias else y


def mlp(a: Arguments, x: jax.Array, widths: Sequence[int]) -> jax.Array:
    """Dense layers with ReLU between them: [..., n] -> [..., widths[-1]]."""
    for width in widths[:-1]:
        x = jax.nn.relu(dense(a, x, width))
    return dense(a, x, widths[-1])


def conv(
    a: Arguments,
    x: jax.Array,
    width: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
) -> jax.Array:
    """A convolution without bias over all dimensions between the first and the last (one or two)."""
    spatial = "HW"[: x.ndim - 2]
    weight = a.weight(*[kernel] * len(spatial), x.shape[-1] // groups, width)
    return lax.conv_general_dilated(
        x,
        weight,
        window_strides=[stride] * len(spatial),
        padding=padding,
        rhs_dilation=[dilation] * len(spatial),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def depthwise(a: Arguments, x: jax.Array, kernel: int = 3, *, stride: int = 1) -> jax.Array:
    """A convolution of every channel by itself."""
    return conv(a, x, x.shape[-1], kernel, stride=stride, groups=x.shape[-1])


def conv_transpose(a: Arguments, x: jax.Array, width: int, kernel: int = 2, *, stride: int = 2) -> jax.Array:
    """A transposed convolution: height and width grow by `stride`."""
    weight = a.weight(kernel, kernel, x.shape[-1], width)
    return lax.conv_transpose(x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def batch_norm(a: Arguments, x: jax.Array) -> jax.Array:
    """Batch norm: by the statistics of the batch in training, else by given ones (Ioffe & Szegedy 2015)."""
    wide = x.astype(jnp.float32)
    if a.train:
        axes = tuple(range(x.ndim - 1))
        mean, variance = wide.mean(axes), wide.var(axes)
    else:
        mean, variance = a.weight(x.shape[-1]).astype(jnp.float32), a.weight(x.shape[-1]).astype(jnp.float32)
    return _scale_and_shift(a, (wide - mean) * lax.rsqrt(variance + _EPSILON), x)


def layer_norm(a: Arguments, x: jax.Array) -> jax.Array:
    """Layer norm over the last dimension, in float32 (Ba et al. 2016)."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    return _scale_and_shift(a, centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + _EPSILON), x)


def rms_norm(a: Arguments, x: jax.Array) -> jax.Array:
    """Division by the root mean square of the last dimension, in float32 (Zhang & Sennrich 2019)."""
    wide = x.astype(jnp.float32)
    scaled = wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + _EPSILON)
    return scaled.astype(x.dtype) * a.weight(x.shape[-1])


def group_norm(a: Arguments, x: jax.Array, groups: int = 8) -> jax.Array:
    """Norm over space and groups of channels of images, in float32 (Wu & He 2018)."""
    batch, height, width, channels = x.shape
    wide = x.astype(jnp.float32).reshape(batch, height, width, groups, channels // groups)
    centred = wide - wide.mean((1, 2, 4), keepdims=True)
    scaled = centred * lax.rsqrt(jnp.square(centred).mean((1, 2, 4), keepdims=True) + _EPSILON)
    return _scale_and_shift(a, scaled.reshape(x.shape), x)


def _scale_and_shift(a: Arguments, scaled: jax.Array, like: jax.Array) -> jax.Array:
    return scaled.astype(like.dtype) * a.weight(like.shape[-1]) + a.weight(like.shape[-1])


def pool(x: jax.Array, window: int = 2, *, stride: int = 2) -> jax.Array:
    """Maxima over square windows of images."""
    least = np.array(-np.inf, x.dtype)  # of numpy: jax differentiates the maximum only where it knows this value
    largest: jax.Array = lax.reduce_window(x, least, lax.max, (1, window, window, 1), (1, stride, stride, 1), "SAME")
    return largest


def average_pool(x: jax.Array, window: int = 2) -> jax.Array:
    """Means over square windows of images that do not overlap."""
    size = (1, window, window, 1)
    total: jax.Array = lax.reduce_window(x, np.array(0, x.dtype), lax.add, size, size, "SAME")
    return total / window**2


def classifier(a: Arguments, x: jax.Array, classes: int = 100) -> jax.Array:
    """Mean over all dimensions but the first and the last, then a dense layer: [batch, classes]."""
    return dense(a, x.mean(tuple(range(1, x.ndim - 1))), classes)


def embed(a: Arguments, tokens: jax.Array, vocabulary: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Rows of a table: [...] -> [..., width]; and the table, [vocabulary, width]."""
    table = a.weight(vocabulary, width)
    return table[tokens], table


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """[batch, time, heads * n] -> [batch, time, heads, n]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, *, mask: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    """Scaled dot-product attention (Vaswani et al. 2017), softmax in float32.

    Args:
        query: [batch, queries, heads, n].
        key: [batch, keys, heads, n], or a divisor of the heads (grouped queries: each key serves several).
        value: as `key`.
        mask: bool, broadcast to [queries, keys]; True may be seen.
        bias: added to the scores, broadcast to [batch, heads, queries, keys].

    Returns:
        [batch, queries, heads * n].
    """
    batch, queries, heads, size = query.shape
    groups = key.shape[2]
    grouped = query.reshape(batch, queries, groups, heads // groups, size)
    scores = jnp.einsum("bqghd,bkgd->bghqk", grouped, key).astype(jnp.float32) / size**0.5
    if bias is not None:
        scores = scores + bias.reshape(-1, groups, heads // groups, *bias.shape[-2:])
    if mask is not None:
        scores = jnp.where(mask, scores, _MASKED)
    mixed = jnp.einsum("bghqk,bkgd->bqghd", jax.nn.softmax(scores).astype(value.dtype), value)
    return mixed.reshape(batch, queries, heads * size)


def attention(
    a: Arguments,
    x: jax.Array,
    heads: int,
    *,
    context: jax.Array | None = None,
    causal: bool = False,
    bias: jax.Array | None = None,
) -> jax.Array:
    """Multi-head attention of x to itself or to a context, with the four projections."""
    source = x if context is None else context
    width = x.shape[-1]
    query = split_heads(dense(a, x, width), heads)
    key = split_heads(dense(a, source, width, bias=False), heads)
    value = split_heads(dense(a, source, width), heads)
    mask = causal_mask(x.shape[1]) if causal else None
    return dense(a, attend(query, key, value, mask=mask, bias=bias), width)


def causal_mask(time: int) -> jax.Array:
    """bool[time, time]: each position sees itself and those before it. Made of iotas, so it is no constant."""
    return lax.broadcasted_iota(jnp.int32, (time, time), 0) >= lax.broadcasted_iota(jnp.int32, (time, time), 1)


def encoder_block(a: Arguments, x: jax.Array, heads: int, *, causal: bool = False) -> jax.Array:
    """A transformer block with layer norm first and a GELU network four times as wide."""
    x = x + attention(a, layer_norm(a, x), heads, causal=causal)
    return x + dense(a, jax.nn.gelu(dense(a, layer_norm(a, x), 4 * x.shape[-1])), x.shape[-1])


def patches(a: Arguments, image: jax.Array, patch: int, width: int) -> jax.Array:
    """Square patches of an image as a sequence: [batch, patches, width]."""
    x = conv(a, image, width, patch, stride=patch, padding="VALID")
    return x.reshape(x.shape[0], -1, width)
