"""What tests do with TensorFlow in a child process: `Worker("tests.frontends.tensorflow_child")`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from autotune.frontends.arguments import parse_arguments
from autotune.frontends.foreign import foreign_program
from autotune.frontends.tensorflow import program_of
from autotune.hlo.program import Program

Arrays = list[NDArray[Any]]


def traced(name: str) -> tuple[Program, Arrays]:
    """The program of one of the functions below, and the values of what it captures."""
    function, signature, keywords, captured = _functions()[name]
    return program_of(function, *signature, **keywords), [np.asarray(each) for each in captured]


def exported(what: str, arguments: str) -> Program | None:
    """As `autotune export --args` asks for it."""
    things = {"tf.function": _layer().__call__, "module": _layer(), "python": _branch, "no call": tf.Module()}
    return foreign_program(things[what], parse_arguments(arguments))


def called(name: str, arguments: Arrays) -> Arrays:
    """What TensorFlow itself computes, operation by operation."""
    function, *_ = _functions()[name]
    return [np.asarray(each) for each in tf.nest.flatten(function(*map(tf.constant, arguments)))]


def refused(what: str) -> None:
    """Asks for a program that cannot be."""
    floats = tf.TensorSpec((2, 3))
    cases: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "size": (lambda x: x, (tf.TensorSpec((None, 3)),)),
        "rank": (lambda x: x, (tf.TensorSpec(None),)),
        "string": (lambda x: x, (tf.TensorSpec((2,), tf.string),)),
        "string result": (tf.strings.as_string, (floats,)),
        "python": (lambda x: tf.py_function(lambda y: y, [x], tf.float32), (floats,)),
        "print": (_printed, (floats,)),
        "dynamic result": (lambda x: tf.where(x > 0), (floats,)),
        "shape from a tensor": (tf.reshape, (floats, tf.TensorSpec((1,), tf.int32))),
        "own error": (lambda x: x @ x, (floats,)),
        "too many": (lambda x: x, (floats, floats)),
        "dtype": (lambda x: x, (((2, 3), "float33"),)),
    }
    function, signature = cases[what]
    program_of(function, *signature)


def without_tensorflow() -> None:
    """As in an installation that has none."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        program_of(lambda x: x, ((2, 3), "float32"))
    finally:
        sys.modules["tensorflow"] = tf


class _Layer(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.bias = tf.Variable(np.arange(4, dtype=np.float32))
        self.kernel = tf.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))

    @tf.function  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return tf.tanh(x @ self.kernel + self.bias)

    def plain(self, x: Any) -> Any:
        return x @ self.kernel

    def step(self, x: Any) -> Any:
        """One step of gradient descent on the sum of squares, at a rate of one half."""
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((x @ self.kernel) ** 2)
        self.kernel.assign_sub(0.5 * tape.gradient(loss, self.kernel))
        return loss


@functools.cache
def _layer() -> _Layer:
    """One for the process: a `tf.function` does not keep the module that it is a method of alive."""
    return _Layer()


def _printed(x: Any) -> Any:
    tf.print(x)
    return x


def _branch(x: Any) -> Any:
    if tf.reduce_sum(x) > 0:  # autograph makes a tf.cond of it
        return x + 1
    return x * 2


def _chosen(pair: dict[str, Any], *, flag: bool) -> dict[str, Any]:
    return {"second": pair["a"] * 2 if flag else pair["a"], "first": tf.cast(pair["b"], tf.int32)}


def _functions() -> dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]]:
    """Function, signature, keywords, captured variables in the order of their first use, by name."""
    layer, floats = _layer(), tf.TensorSpec((2, 3))
    declared = tf.function(lambda x: x + 1, input_signature=[floats])
    pair = {"b": ((2, 3), "bfloat16"), "a": np.zeros((4,), np.int32)}
    return {
        "module": (layer, (floats,), {}, [layer.kernel, layer.bias]),
        "tf.function": (layer.__call__, (((2, 3), "float32"),), {}, [layer.kernel, layer.bias]),
        "method": (layer.plain, (tf.ones((2, 3)),), {}, [layer.kernel]),
        "step": (layer.step, (floats,), {}, [layer.kernel]),
        "branch": (_branch, (floats,), {}, []),
        "declared": (declared, (), {}, []),
        "nest": (_chosen, (pair,), {"flag": True}, []),
        "unused": (lambda x, y: y, (floats, tf.TensorSpec((4,), tf.int64)), {}, []),
    }
