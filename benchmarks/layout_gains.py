"""What is there to gain by layouts? Searches of small programs of kinds on which random tries found much.

Run it as: python -m benchmarks.layout_gains --json layout_gains.json [--target tpu:v5e] [--budget 48]

An einsum block, networks of depthwise convolutions (of several images, of a single one, and backward passes), a mixer
block and the backward pass of attention, written in JAX and compiled for a target that estimates.

Columns: the estimated cost of the best layouts that guided and random search find with the same budget, relative to the
default, the mean over seeds; `fewer_cycles` is the best of guided search over all seeds, as the share of cycles saved,
`fewer_weighed_cycles` the same with kernels weighed by kind (`benchmarks.kernel_weights`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from autotune.database import Database
from autotune.hlo.reader import read
from autotune.result import WEIGHED_CYCLES
from autotune.spaces.base import Config, Space
from autotune.targets import open_target
from autotune.targets.base import PreparedProgram
from benchmarks.common import parser, publish
from benchmarks.search_regret import WAYS, Known, best_so_far

Array = jax.Array
_Dimensions = tuple[str, str, str]
_CHANNELS_LAST: Final[_Dimensions] = ("NHWC", "HWIO", "NHWC")
_CHANNELS_FIRST: Final[_Dimensions] = ("NCHW", "OIHW", "NCHW")


def einsum_block(x: Array, query: Array, key: Array, out: Array) -> Array:
    """Products of rank 3 and 4; their outputs are wanted in several orders."""
    h = jnp.einsum("bsd,dhk->bhsk", x, query)
    g = jnp.einsum("bsd,dhk->bhks", x, key)
    weights = jnp.tanh(jnp.einsum("bhsk,bhkt->bhst", h, g))
    return jnp.einsum("bshk,hkd->bsd", jnp.einsum("bhst,bhtk->bshk", weights, h), out)


def depthwise_network(x: Array, first: Array, second: Array, narrow: Array, wide: Array) -> Array:
    """Two depthwise convolutions, each with a pointwise one."""
    return _separable(_separable(x, first, narrow), second, wide).mean((1, 2))


def depthwise_backward(x: Array, depthwise: Array, pointwise: Array) -> Sequence[Array]:
    """Gradients of one depthwise convolution and its pointwise one."""
    return _gradients(x, depthwise, pointwise, _CHANNELS_LAST)


def depthwise_backward_channels_first(x: Array, depthwise: Array, pointwise: Array) -> Sequence[Array]:
    """The same as PyTorch orders the dimensions."""
    return _gradients(x, depthwise, pointwise, _CHANNELS_FIRST)


def _separable(x: Array, depthwise: Array, pointwise: Array, dimensions: _Dimensions = _CHANNELS_LAST) -> Array:
    channels = x.shape[dimensions[0].index("C")]
    x = jax.lax.conv_general_dilated(
        x, depthwise, (1, 1), "SAME", dimension_numbers=dimensions, feature_group_count=channels
    )
    return jax.nn.relu(jax.lax.conv_general_dilated(x, pointwise, (1, 1), "SAME", dimension_numbers=dimensions))


def _gradients(x: Array, depthwise: Array, pointwise: Array, dimensions: _Dimensions) -> Sequence[Array]:
    places = tuple(dimensions[0].index(letter) for letter in "HW")

    def loss(x: Array, depthwise: Array, pointwise: Array) -> Array:
        return jnp.square(_separable(x, depthwise, pointwise, dimensions).mean(places)).sum()

    gradients: Sequence[Array] = jax.grad(loss, (0, 1, 2))(x, depthwise, pointwise)
    return gradients


def mixer(x: Array, up: Array, down: Array, widen: Array, narrow: Array) -> Array:
    """Two blocks that mix tokens, then channels."""
    for _ in range(2):
        tokens = jax.nn.gelu(jnp.swapaxes(x, 1, 2) @ up) @ down
        x = x + jnp.swapaxes(tokens, 1, 2)
        x = x + jax.nn.gelu(x @ widen) @ narrow
    return x.mean(1)


def attention_backward(x: Array, query: Array, key: Array, value: Array, out: Array) -> Sequence[Array]:
    """Gradients of self-attention."""

    def loss(x: Array, *weights: Array) -> Array:
        q, k, v = (jnp.einsum("bsd,dhk->bhsk", x, each) for each in weights[:3])
        shares = jax.nn.softmax(jnp.einsum("bhsk,bhtk->bhst", q, k) / 8.0, -1)
        mixed = jnp.einsum("bhsk,hkd->bsd", jnp.einsum("bhst,bhtk->bhsk", shares, v), weights[3])
        return jnp.square(x + mixed).mean()

    gradients: Sequence[Array] = jax.grad(loss, (0, 1, 2, 3, 4))(x, query, key, value, out)
    return gradients


PROGRAMS: Final[dict[str, tuple[Callable[..., Any], Sequence[tuple[int, ...]]]]] = {
    "einsum block": (einsum_block, [(8, 128, 128), (128, 4, 32), (128, 4, 32), (4, 32, 128)]),
    "depthwise network, eight images": (
        depthwise_network,
        [(8, 32, 32, 32), (3, 3, 1, 32), (3, 3, 1, 64), (1, 1, 32, 64), (1, 1, 64, 64)],
    ),
    "depthwise network, one image": (
        depthwise_network,
        [(1, 56, 56, 24), (3, 3, 1, 24), (3, 3, 1, 48), (1, 1, 24, 48), (1, 1, 48, 96)],
    ),
    "depthwise backward": (depthwise_backward, [(8, 16, 16, 32), (3, 3, 1, 32), (1, 1, 32, 64)]),
    "depthwise backward, channels first": (
        depthwise_backward_channels_first,
        [(8, 32, 16, 16), (32, 1, 3, 3), (64, 32, 1, 1)],
    ),
    "mixer": (mixer, [(8, 64, 128), (64, 128), (128, 64), (128, 256), (256, 128)]),
    "attention backward": (attention_backward, [(4, 128, 128), *[(128, 4, 32)] * 3, (4, 32, 128)]),
}
"""Functions, and the shapes of their float32 arguments."""


def main() -> None:
    """Search each program with and without guidance."""
    options = _options()
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_target(options.target, time_limit=options.evaluation_time_limit) as target,
        Database.open(options.database) if options.database else Database.in_memory() as database,
    ):
        for name, (function, shapes) in PROGRAMS.items():
            file = Path(folder) / f"{function.__name__}.mlir"
            arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
            file.write_text(jax.jit(function).lower(*arguments).as_text())
            known = Known(target, database)
            prepared = known.prepare(read(file))
            space = known.space(prepared, "layout")
            row: dict[str, Any] = {"program": name}
            for way in ("guided", "random"):
                courses = [
                    best_so_far(known, WAYS[way], prepared, space, options.budget, seed)
                    for seed in range(options.seeds)
                ]
                best = np.array([course.costs for course in courses])
                steps = [step for step in (20, options.budget) if step <= options.budget]
                row |= {f"{way}_{step}": float(best[:, step - 1].mean()) for step in dict.fromkeys(steps)}
                if way == "guided":
                    winner = courses[int(best[:, -1].argmin())].configs[-1]
                    row["fewer_cycles"] = 1.0 - float(best.min())
                    row["fewer_weighed_cycles"] = 1.0 - _weighed(known, prepared, space, winner)
            rows.append(row)
            print(rows[-1], flush=True)
    title = f"cost of the best layouts relative to the default, {options.target} ({target.description.label.value})"
    publish(f"{title}, {options.budget} evaluations, {options.seeds} seeds", rows, options.json)


def _weighed(known: Known, prepared: PreparedProgram, space: Space, config: Config) -> float:
    """Cycles weighed by kind of kernel, relative to the default's."""
    default, other = known.evaluate(prepared, [space.default, config])
    return float(other.details[WEIGHED_CYCLES]) / float(default.details[WEIGHED_CYCLES])


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--target", default="tpu:v5e")
    arguments.add_argument("--budget", type=int, default=48)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--database", type=Path, metavar="FILE", help="keep evaluations here")
    arguments.add_argument("--evaluation-time-limit", type=float, default=60.0, help="seconds for one config")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
