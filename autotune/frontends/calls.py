"""A tuned program as something that jax can trace: it differentiates and vectorises like the function it came from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_batching import custom_vmap

from autotune.frontends.capture import Captured

Lookup = Callable[[Captured], bytes | None]
"""The StableHLO to run in place of a function's own; None for its own."""


def call(captured: Captured, arguments: Sequence[Any], lookup: Lookup) -> Any:
    """Call a function, tuned if there is a tuned version.

    Args:
        captured: the function.
        arguments: its arrays, in order.
        lookup: finds tuned versions, of the function and of the two halves of its derivative.

    Returns:
        What the function returns.
    """
    code = lookup(captured)
    if code is None:
        return captured.outputs(captured.flat(*arguments))
    captured.program  # noqa: B018 - traces it, after which the structure of its output is known
    return captured.outputs(_with_rules(captured, code, lookup)(*arguments))


def traceable(function: Callable[..., Any], lookup: Lookup) -> Callable[..., Any]:
    """A function for `jax.jit` that looks itself up whenever jax traces it.

    Args:
        function: of pytrees of arrays; its signature is kept, by which jax matches static and donated arguments.
        lookup: as for `call`.
    """

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        captured = Captured.of(function, args, kwargs)
        return call(captured, captured.arrays(args, kwargs), lookup)

    return traced


def _with_rules(captured: Captured, code: bytes, lookup: Lookup) -> Callable[..., list[Any]]:
    """The tuned version from arrays to arrays, with rules for vmap and grad.

    * vmap is another program: it runs the function itself, vectorised.
    * Reverse mode runs the function's own derivative in two halves, each of which is looked up as a program of its
      own. (Forward mode has no rule: jax says so.)
    """
    exported = captured.exported(code)

    @custom_vmap
    def tuned(*arrays: Any) -> list[Any]:
        return list(exported.call(*arrays))

    @tuned.def_vmap
    def vectorised(axis_size: int, batched: Sequence[bool], *arrays: Any) -> tuple[list[Any], list[bool]]:
        axes = [0 if each else None for each in batched]
        outputs = jax.vmap(captured.flat, in_axes=axes, axis_size=axis_size)(*arrays)
        return outputs, [True] * len(outputs)

    @jax.custom_vjp
    def differentiable(*arrays: Any) -> list[Any]:
        return list(tuned(*arrays))

    def forward(*arrays: Any) -> tuple[list[Any], Any]:
        half = Captured.of(forward_half(captured), arrays, {})
        outputs, pullback = call(half, arrays, lookup)
        return outputs, pullback

    def backward(pullback: Any, cotangents: list[Any]) -> tuple[Any, ...]:
        half = Captured.of(backward_half(captured), (pullback, cotangents), {})
        gradients = call(half, half.arrays((pullback, cotangents), {}), lookup)
        return tuple(gradients)

    differentiable.defvjp(forward, backward)
    return differentiable


def forward_half(captured: Captured) -> Callable[..., Any]:
    """From the arrays of a function to its outputs and its pullback (a pytree that holds what backward needs)."""

    def forward(*arrays: Any) -> Any:
        return jax.vjp(captured.flat, *arrays)

    forward.__name__ = f"{captured.name}_forward"
    return forward


def backward_half(captured: Captured) -> Callable[..., Any]:
    """From that pullback and the cotangents of the outputs to the gradients; None for integer arguments."""

    def backward(pullback: Any, cotangents: list[Any]) -> list[Any]:
        gradients = pullback(cotangents)
        return [None if each.dtype == jax.dtypes.float0 else each for each in gradients]

    backward.__name__ = f"{captured.name}_backward"
    return backward
