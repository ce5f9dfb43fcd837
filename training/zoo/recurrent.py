"""Networks that go along time by recurrence, scans or causal convolutions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from training.zoo.arguments import Arguments
from training.zoo.layers import conv, dense, embed, layer_norm, rms_norm


def lstm(a: Arguments, *, batch: int, tokens: int, width: int = 128) -> jax.Array:
    """Two layers of LSTM over words (Hochreiter & Schmidhuber 1997): logits [batch, tokens, 512]."""
    x, _ = embed(a, a.tokens(batch, tokens), 512, width)
    for _ in range(2):
        projected = dense(a, x, 4 * width).swapaxes(0, 1)
        recurrent = a.weight(width, 4 * width)

        def step(
            carry: tuple[jax.Array, jax.Array], now: jax.Array, recurrent: jax.Array = recurrent
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, cell = carry
            entry, forget, output, candidate = jnp.split(now + hidden @ recurrent, 4, axis=-1)
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(entry) * jnp.tanh(candidate)
            hidden = jax.nn.sigmoid(output) * jnp.tanh(cell)
            return (hidden, cell), hidden

        start = jnp.zeros((batch, width), a.dtype)
        x = lax.scan(step, (start, start), projected)[1].swapaxes(0, 1)
    return dense(a, x, 512)


def gru(a: Arguments, *, batch: int, tokens: int, width: int = 128) -> jax.Array:
    """Both directions of a gated recurrent unit over a signal (Cho et al. 2014): classes [batch, 32]."""
    x = a.input(batch, tokens, 16)
    ends = []
    for reverse in (False, True):
        projected = dense(a, x, 3 * width).swapaxes(0, 1)
        recurrent = a.weight(width, 3 * width)

        def step(hidden: jax.Array, now: jax.Array, recurrent: jax.Array = recurrent) -> tuple[jax.Array, None]:
            reset, update, candidate = jnp.split(now, 3, axis=-1)
            reset_, update_, candidate_ = jnp.split(hidden @ recurrent, 3, axis=-1)
            update = jax.nn.sigmoid(update + update_)
            proposed = jnp.tanh(candidate + jax.nn.sigmoid(reset + reset_) * candidate_)
            return update * hidden + (1 - update) * proposed, None

        ends.append(lax.scan(step, jnp.zeros((batch, width), a.dtype), projected, reverse=reverse)[0])
    return dense(a, jnp.concatenate(ends, axis=-1), 32)


def state_space(a: Arguments, *, batch: int, tokens: int, width: int = 64, state: int = 8) -> jax.Array:
    """Selective state spaces by an associative scan (Mamba, Gu & Dao 2023): logits [batch, tokens, 512]."""
    x, table = embed(a, a.tokens(batch, tokens), 512, width)
    for _ in range(2):
        inner, gate = jnp.split(dense(a, rms_norm(a, x), 4 * width, bias=False), 2, axis=-1)
        inner = jax.nn.silu(conv(a, inner, 2 * width, 4, groups=2 * width, padding=[(3, 0)]))
        rate = jax.nn.softplus(dense(a, inner, 2 * width))[..., None]
        into, out = dense(a, inner, state, bias=False), dense(a, inner, state, bias=False)
        decay = jnp.exp(-rate * jnp.exp(a.weight(2 * width, state)))  # [batch, tokens, 2 width, state]
        driven = rate * inner[..., None] * into[:, :, None, :]
        _, states = lax.associative_scan(_compose, (decay, driven), axis=1)
        y = jnp.einsum("btds,bts->btd", states, out) + inner * a.weight(2 * width)
        x = x + dense(a, y * jax.nn.silu(gate), width, bias=False)
    return rms_norm(a, x) @ table.T


def _compose(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Two steps of h -> decay * h + driven as one: the first and then the second."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def retention(a: Arguments, *, batch: int, tokens: int, width: int = 64, chunk: int = 16) -> jax.Array:
    """Retention in chunks: within them at once, between them by a scan (Sun et al. 2023): [batch, tokens, width]."""
    x = a.input(batch, tokens, width)
    y = layer_norm(a, x)
    query, key, value = (dense(a, y, width).reshape(batch, -1, chunk, width).swapaxes(0, 1) for _ in range(3))
    index = jnp.arange(chunk, dtype=jnp.float32)
    distance = index[:, None] - index[None, :]
    decay = 0.97
    inside = jnp.where(distance >= 0, decay**distance, 0).astype(a.dtype)
    entering, leaving = (decay ** (index + 1)).astype(a.dtype), (decay ** (chunk - 1 - index)).astype(a.dtype)

    def step(memory: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, k, v = now
        near = jnp.einsum("bqk,bkd->bqd", jnp.einsum("bqd,bkd->bqk", q, k) * inside, v)
        far = jnp.einsum("bqd,bde->bqe", q, memory) * entering[:, None]
        return decay**chunk * memory + jnp.einsum("bkd,bke->bde", k * leaving[:, None], v), near + far

    mixed = lax.scan(step, jnp.zeros((batch, width, width), a.dtype), (query, key, value))[1]
    x = x + dense(a, mixed.swapaxes(0, 1).reshape(x.shape), width)
    return x + dense(a, jax.nn.gelu(dense(a, layer_norm(a, x), 4 * width)), width)


def wavenet(a: Arguments, *, batch: int, tokens: int, width: int = 32) -> jax.Array:
    """Dilated causal convolutions with gates (van den Oord et al. 2016): logits [batch, tokens, 64]."""
    x = dense(a, a.input(batch, tokens, 1), width)
    skips = jnp.zeros((batch, tokens, width), a.dtype)
    for dilation in (1, 2, 4, 8, 16, 32):
        y = conv(a, x, 2 * width, 2, dilation=dilation, padding=[(dilation, 0)])
        filtered, gate = jnp.split(y, 2, axis=-1)
        y = jnp.tanh(filtered) * jax.nn.sigmoid(gate)
        skips = skips + dense(a, y, width)
        x = x + dense(a, y, width)
    return dense(a, jax.nn.relu(dense(a, jax.nn.relu(skips), width)), 64)
