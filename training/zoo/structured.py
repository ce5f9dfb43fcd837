"""Networks over tables, graphs, points, fields and pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from training.zoo.arguments import Arguments
from training.zoo.layers import batch_norm, conv, dense, embed, layer_norm, mlp


def dlrm(a: Arguments, *, batch: int, width: int = 32, tables: int = 8) -> jax.Array:
    """Recommendation: embeddings and numbers, multiplied pairwise (Naumov et al. 2019): [batch, 1]."""
    vectors = [mlp(a, a.input(batch, 13), (4 * width, 2 * width, width))]
    vectors += [embed(a, a.tokens(batch, 4), 1000, width)[0].sum(1) for _ in range(tables)]
    stacked = jnp.stack(vectors, axis=1)
    pairs = jnp.einsum("bnd,bmd->bnm", stacked, stacked)
    rows, columns = jnp.tril_indices(tables + 1, -1)
    return mlp(a, jnp.concatenate([vectors[0], pairs[:, rows, columns]], axis=-1), (8 * width, 4 * width, 1))


def deep_cross(a: Arguments, *, batch: int, width: int = 256) -> jax.Array:
    """Explicit products of features beside a deep network (DCN v2, Wang et al. 2020): [batch, 1]."""
    x = start = a.input(batch, width)
    for _ in range(3):
        x = x + start * dense(a, x, width)
    return dense(a, jnp.concatenate([x, mlp(a, start, (2 * width, 2 * width, width))], axis=-1), 1)


def graph_network(a: Arguments, *, nodes: int, width: int = 64) -> jax.Array:
    """Messages along edges, four a node, summed at their ends (Gilmer et al. 2017): [nodes, 16]."""
    x, edges = a.input(nodes, 32), a.input(4 * nodes, 8)
    sources, ends = a.tokens(4 * nodes), a.tokens(4 * nodes)
    x, edges = dense(a, x, width), dense(a, edges, width)
    for _ in range(3):
        edges = edges + mlp(a, jnp.concatenate([x[sources], x[ends], edges], axis=-1), (width, width))
        received = jax.ops.segment_sum(edges, ends, nodes)
        x = layer_norm(a, x + mlp(a, jnp.concatenate([x, received], axis=-1), (width, width)))
    return dense(a, x, 16)


def graph_attention(a: Arguments, *, nodes: int, width: int = 64) -> jax.Array:
    """Weights of neighbours by a softmax over edges (Velickovic et al. 2017): [nodes, 16]."""
    x, sources, ends = a.input(nodes, 32), a.tokens(8 * nodes), a.tokens(8 * nodes)
    for _ in range(2):
        y = dense(a, x, width, bias=False).reshape(nodes, 4, width // 4)
        here, there = (y * a.weight(4, width // 4)).sum(-1), (y * a.weight(4, width // 4)).sum(-1)
        scores = jax.nn.leaky_relu(here[ends] + there[sources], 0.2)
        scores = jnp.exp(scores - jax.ops.segment_max(scores, ends, nodes)[ends])
        shares = scores / (jax.ops.segment_sum(scores, ends, nodes)[ends] + 1e-6)
        x = jax.nn.elu(jax.ops.segment_sum(shares[..., None] * y[sources], ends, nodes).reshape(nodes, width))
    return dense(a, x, 16)


def pointnet(a: Arguments, *, batch: int, points: int, width: int = 64) -> jax.Array:
    """Points by themselves, turned by a learnt matrix, then a maximum (Qi et al. 2016): [batch, 40]."""
    cloud = a.input(batch, points, 3)
    turn = mlp(a, mlp(a, cloud, (width, 2 * width)).max(1), (width, 9)).reshape(batch, 3, 3)
    x = jnp.einsum("bpi,bij->bpj", cloud, turn)
    for channels in (width, 2 * width, 4 * width):
        x = jax.nn.relu(batch_norm(a, dense(a, x, channels)))
    return mlp(a, x.max(1), (2 * width, 40))


def nerf(a: Arguments, *, batch: int, points: int = 32, width: int = 64) -> jax.Array:
    """Colour and density along rays, then integrated (Mildenhall et al. 2020): [batch, 3]."""
    positions, directions, spacing = a.input(batch, points, 3), a.input(batch, 3), a.input(batch, points)
    frequencies = 2.0 ** jnp.arange(6)
    angles = (positions[..., None] * frequencies.astype(a.dtype)).reshape(batch, points, 18)
    encoded = x = jnp.concatenate([positions, jnp.sin(angles), jnp.cos(angles)], axis=-1)
    for layer in range(6):
        x = jax.nn.relu(dense(a, jnp.concatenate([x, encoded], axis=-1) if layer == 3 else x, width))
    density = jax.nn.softplus(dense(a, x, 1))[..., 0]
    along = jnp.broadcast_to(directions[:, None, :], (batch, points, 3))
    colour = jax.nn.sigmoid(mlp(a, jnp.concatenate([dense(a, x, width), along], axis=-1), (width // 2, 3)))
    opacity = 1 - jnp.exp(-density * spacing)
    passed = jnp.cumprod(1 - opacity + 1e-6, axis=1) / (1 - opacity + 1e-6)
    return jnp.einsum("bp,bpc->bc", opacity * passed, colour)


def fourier_operator(a: Arguments, *, batch: int, image: int, width: int = 16) -> jax.Array:
    """Products in Fourier space, 8 modes a side (Li et al. 2020), in float32: [batch, image, image, 1]."""
    modes = 8
    x = dense(a, a.input(batch, image, image, 3), width)
    for _ in range(3):
        spectrum = jnp.fft.rfft2(x.astype(jnp.float32), axes=(1, 2))[:, :modes, :modes]
        real, imaginary = (a.weight(modes, modes, width, width).astype(jnp.float32) for _ in range(2))
        mixed = jnp.einsum("bxyi,xyio->bxyo", spectrum, real + 1j * imaginary)
        padded = jnp.pad(mixed, ((0, 0), (0, image - modes), (0, image // 2 + 1 - modes), (0, 0)))
        smooth = jnp.fft.irfft2(padded, s=(image, image), axes=(1, 2)).astype(x.dtype)
        x = jax.nn.gelu(smooth + dense(a, x, width))
    return mlp(a, x, (64, 1))


def evoformer(a: Arguments, *, batch: int, tokens: int, width: int = 32) -> jax.Array:
    """Sequences and pairs, joined by outer products and triangles of einsums (Jumper et al. 2021): pairs."""
    rows, pairs = a.input(batch, tokens, width), a.input(tokens, tokens, width)
    y = layer_norm(a, rows)
    left, right = dense(a, y, width // 4), dense(a, y, width // 4)
    outer = jnp.einsum("sic,sjd->ijcd", left, right).reshape(tokens, tokens, -1)
    pairs = pairs + dense(a, outer / batch, width)
    for equation in ("ikc,jkc->ijc", "kic,kjc->ijc"):
        z = layer_norm(a, pairs)
        first = dense(a, z, width) * jax.nn.sigmoid(dense(a, z, width))
        second = dense(a, z, width) * jax.nn.sigmoid(dense(a, z, width))
        gate = jax.nn.sigmoid(dense(a, z, width))
        pairs = pairs + gate * dense(a, layer_norm(a, jnp.einsum(equation, first, second)), width)
    return pairs + mlp(a, layer_norm(a, pairs), (4 * width, width))


def tensor_network(a: Arguments, *, batch: int, width: int = 8) -> jax.Array:
    """Dense layers whose weights are products of small tensors (Novikov et al. 2015): [batch, width ** 3]."""
    x, rank = a.input(batch, width, width, width), 6
    for _ in range(3):
        first, second = a.weight(width, width, rank), a.weight(rank, width, width, rank)
        x = jnp.einsum("bxyz,xir,ryjs,szk->bijk", x, first, second, a.weight(rank, width, width))
        x = jax.nn.relu(x + a.weight(width, width, width))
    return x.reshape(batch, -1)


def equivariant(a: Arguments, *, batch: int, points: int, width: int = 32) -> jax.Array:
    """Features of all pairs of points by their distances (SchNet, Schuett et al. 2017): energies [batch, 1]."""
    positions, x = a.input(batch, points, 3), embed(a, a.tokens(batch, points), 20, width)[0]
    squared = jnp.square(positions[:, :, None] - positions[:, None]).sum(-1)
    centres = jnp.arange(16, dtype=a.dtype) / 4
    basis = jnp.exp(-jnp.square(jnp.sqrt(squared + 1e-6)[..., None] - centres))
    for _ in range(2):
        filters = dense(a, jax.nn.softplus(dense(a, basis, width)), width)
        y = jnp.einsum("bjc,bijc->bic", dense(a, x, width, bias=False), filters)
        x = x + dense(a, jax.nn.softplus(dense(a, y, width)), width)
    return mlp(a, x, (width // 2, 1)).sum(1)


def siamese(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """One network for two images, compared by their difference (Koch et al. 2015): [batch, 1]."""
    x = jnp.concatenate([a.input(batch, image, image, 1), a.input(batch, image, image, 1)])  # one set of weights
    for channels in (width, 2 * width, 2 * width):
        x = jax.nn.relu(conv(a, x, channels, stride=2) + a.weight(channels))
    first, second = jnp.split(jax.nn.sigmoid(dense(a, x.reshape(2 * batch, -1), 4 * width)), 2)
    return dense(a, jnp.abs(first - second), 1)


def q_network(a: Arguments, *, batch: int, image: int, width: int = 32) -> jax.Array:
    """Values of actions from four frames, split in state and advantage (Wang et al. 2015): [batch, 18]."""
    x = a.input(batch, image, image, 4)
    for kernel, stride, channels in ((8, 4, width), (4, 2, 2 * width), (3, 1, 2 * width)):
        x = jax.nn.relu(conv(a, x, channels, kernel, stride=stride, padding="VALID") + a.weight(channels))
    flat = x.reshape(batch, -1)
    advantage = mlp(a, flat, (8 * width, 18))
    return mlp(a, flat, (8 * width, 1)) + advantage - advantage.mean(-1, keepdims=True)
