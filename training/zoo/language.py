"""Transformers over tokens, int32[batch, tokens] -> logits [batch, tokens, vocabulary] unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from training.zoo.arguments import Arguments
from training.zoo.layers import (
    attend,
    attention,
    causal_mask,
    conv,
    dense,
    embed,
    encoder_block,
    layer_norm,
    rms_norm,
    split_heads,
)

_VOCABULARY = 512


def bert(a: Arguments, *, batch: int, tokens: int, width: int = 128, depth: int = 2) -> jax.Array:
    """Encoder with the norms after the sums and tied output weights (Devlin et al. 2018)."""
    words, table = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    segments, _ = embed(a, a.tokens(batch, tokens), 2, width)
    x = layer_norm(a, words + segments + a.weight(tokens, width))
    for _ in range(depth):
        x = layer_norm(a, x + attention(a, x, 4))
        x = layer_norm(a, x + dense(a, jax.nn.gelu(dense(a, x, 4 * width), approximate=False), width))
    return layer_norm(a, jax.nn.gelu(dense(a, x, width))) @ table.T


def gpt2(a: Arguments, *, batch: int, tokens: int, width: int = 128, depth: int = 2) -> jax.Array:
    """Causal decoder with the norms first (Radford et al. 2019)."""
    x, table = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    x = x + a.weight(tokens, width)
    for _ in range(depth):
        x = encoder_block(a, x, 4, causal=True)
    return layer_norm(a, x) @ table.T


def t5(a: Arguments, *, batch: int, tokens: int, width: int = 96) -> jax.Array:
    """Encoder and decoder with relative position biases (Raffel et al. 2019), gated GELU as in T5 1.1."""
    source, table = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    target = table[a.tokens(batch, tokens // 2)]
    bias = _relative_bias(a, tokens, heads=4)
    for _ in range(2):
        source = source + attention(a, rms_norm(a, source), 4, bias=bias)
        source = source + _gated(a, rms_norm(a, source), 2 * width, jax.nn.gelu)
    bias = _relative_bias(a, tokens // 2, heads=4)
    for _ in range(2):
        target = target + attention(a, rms_norm(a, target), 4, causal=True, bias=bias)
        target = target + attention(a, rms_norm(a, target), 4, context=source)
        target = target + _gated(a, rms_norm(a, target), 2 * width, jax.nn.gelu)
    return rms_norm(a, target) @ table.T


def _relative_bias(a: Arguments, time: int, *, heads: int) -> jax.Array:
    """[1, heads, time, time] out of a table of distances, clipped at 15 (T5 proper spaces far ones logarithmically)."""
    distance = jnp.arange(time)[:, None] - jnp.arange(time)[None, :]
    return a.weight(31, heads)[jnp.clip(distance, -15, 15) + 15].transpose(2, 0, 1)[None]


def _gated(a: Arguments, x: jax.Array, hidden: int, activation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """A gated network (Shazeer 2020)."""
    gate = activation(dense(a, x, hidden, bias=False))
    return dense(a, gate * dense(a, x, hidden, bias=False), x.shape[-1], bias=False)


def llama(a: Arguments, *, batch: int, tokens: int, width: int = 128, depth: int = 2) -> jax.Array:
    """Rotary positions, grouped queries, RMS norm and SwiGLU (Touvron et al. 2023)."""
    x, _ = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    for _ in range(depth):
        query, key, value = _grouped_projections(a, rms_norm(a, x))
        positions = jnp.arange(tokens)
        mixed = attend(rotate(query, positions), rotate(key, positions), value, mask=causal_mask(tokens))
        x = x + dense(a, mixed, width, bias=False)
        x = x + _gated(a, rms_norm(a, x), 3 * width, jax.nn.silu)
    return dense(a, rms_norm(a, x), _VOCABULARY, bias=False)


def _grouped_projections(a: Arguments, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Eight heads of queries, two of keys and values."""
    width = x.shape[-1]
    query = split_heads(dense(a, x, width, bias=False), 8)
    key = split_heads(dense(a, x, width // 4, bias=False), 2)
    return query, key, split_heads(dense(a, x, width // 4, bias=False), 2)


def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
    """Rotary position embedding (Su et al. 2021) of [batch, time, heads, n] at positions int32[time]."""
    half = x.shape[-1] // 2
    frequencies = jnp.exp(-9.21 * jnp.arange(half, dtype=jnp.float32) / half)  # 9.21 = log(10,000)
    angles = positions.astype(jnp.float32)[:, None, None] * frequencies
    sine, cosine = jnp.sin(angles).astype(x.dtype), jnp.cos(angles).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def cached_decoder(a: Arguments, *, batch: int, tokens: int, width: int = 128, depth: int = 2) -> jax.Array:
    """One step of decoding with caches of keys and values of `tokens` positions: logits [batch, vocabulary]."""
    x, _ = embed(a, a.tokens(batch, 1), _VOCABULARY, width)
    position = a.tokens()
    visible = jnp.arange(tokens)[None, :] <= position
    for _ in range(depth):
        query, key, value = _grouped_projections(a, rms_norm(a, x))
        start = (0, position, 0, 0)
        keys = lax.dynamic_update_slice(a.input(batch, tokens, 2, width // 8), rotate(key, position[None]), start)
        values = lax.dynamic_update_slice(a.input(batch, tokens, 2, width // 8), value, start)
        x = x + dense(a, attend(rotate(query, position[None]), keys, values, mask=visible), width, bias=False)
        x = x + _gated(a, rms_norm(a, x), 3 * width, jax.nn.silu)
    return dense(a, rms_norm(a, x), _VOCABULARY, bias=False)[:, 0]


def mixture_of_experts(a: Arguments, *, batch: int, tokens: int, width: int = 96, experts: int = 8) -> jax.Array:
    """Each token goes to one of the experts, within their capacity (Switch, Fedus et al. 2021)."""
    x, table = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    capacity = 2 * tokens // experts
    for _ in range(2):
        x = x + attention(a, layer_norm(a, x), 4, causal=True)
        y = layer_norm(a, x)
        gates = jax.nn.softmax(dense(a, y, experts, bias=False).astype(jnp.float32))
        chosen = jax.nn.one_hot(gates.argmax(-1), experts)
        place = jnp.cumsum(chosen, axis=1) * chosen - 1  # -1 and places beyond the capacity become rows of zeros
        sent = jax.nn.one_hot(place.astype(jnp.int32), capacity, dtype=a.dtype)  # [batch, tokens, experts, capacity]
        inside = jnp.einsum("btec,btd->ebcd", sent, y)
        hidden = jax.nn.relu(jnp.einsum("ebcd,edh->ebch", inside, a.weight(experts, width, 2 * width)))
        outside = jnp.einsum("ebch,ehd->ebcd", hidden, a.weight(experts, 2 * width, width))
        weights = sent * gates.astype(a.dtype)[..., None]
        x = x + jnp.einsum("btec,ebcd->btd", weights, outside)
    return layer_norm(a, x) @ table.T


def whisper(a: Arguments, *, batch: int, frames: int, width: int = 96) -> jax.Array:
    """Speech to text: convolutions and an encoder over frames, a decoder over 32 tokens (Radford et al. 2022)."""
    x = jax.nn.gelu(conv(a, a.input(batch, frames, 80), width))
    x = jax.nn.gelu(conv(a, x, width, stride=2)) + a.weight(frames // 2, width)
    for _ in range(2):
        x = encoder_block(a, x, 4)
    x = layer_norm(a, x)
    y, table = embed(a, a.tokens(batch, 32), _VOCABULARY, width)
    y = y + a.weight(32, width)
    for _ in range(2):
        y = y + attention(a, layer_norm(a, y), 4, causal=True)
        y = y + attention(a, layer_norm(a, y), 4, context=x)
        y = y + dense(a, jax.nn.gelu(dense(a, layer_norm(a, y), 4 * width)), width)
    return layer_norm(a, y) @ table.T


def linear_attention(a: Arguments, *, batch: int, tokens: int, width: int = 128) -> jax.Array:
    """Attention through a feature map, without softmax (Katharopoulos et al. 2020); not causal."""
    x, table = embed(a, a.tokens(batch, tokens), _VOCABULARY, width)
    for _ in range(2):
        y = layer_norm(a, x)
        query = jax.nn.elu(split_heads(dense(a, y, width), 4)) + 1
        key = jax.nn.elu(split_heads(dense(a, y, width), 4)) + 1
        summary = jnp.einsum("bkhd,bkhe->bhde", key, split_heads(dense(a, y, width), 4))
        total = jnp.einsum("bqhd,bhd->bqh", query, key.sum(1))
        mixed = jnp.einsum("bqhd,bhde->bqhe", query, summary) / (total + 1e-3)[..., None]
        x = x + dense(a, mixed.reshape(x.shape), width)
        x = x + dense(a, jax.nn.gelu(dense(a, layer_norm(a, x), 4 * width)), width)
    return layer_norm(a, x) @ table.T
