"""Which framework a thing of the user belongs to: for `autotune export`, which is given one and its arguments.

Nothing is imported to find out: what is a Keras model or a function of TensorFlow has imported its framework itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from autotune.errors import AutotuneError
from autotune.hlo.program import Program


def foreign_program(function: Any, arguments: Sequence[Any]) -> Program | None:
    """The program of a Keras model or of a function of TensorFlow.

    Args:
        function: whatever the user has named.
        arguments: in the forms of `autotune.frontends.signature.array_spec` and nests of them, such as
            `autotune.frontends.arguments.parse_arguments` returns. Of a model: its inputs, none for those that it
            declares.

    Returns:
        The program; None if it is neither, hence a function of jax.

    Raises:
        AutotuneError: as `autotune.frontends.keras.program_of` and `autotune.frontends.tensorflow.program_of`.
    """
    keras, tensorflow = sys.modules.get("keras"), sys.modules.get("tensorflow")
    if keras is not None and isinstance(function, keras.Model):  # under TensorFlow a model is a tf.Module, too
        from autotune.frontends import keras as keras_frontend

        inputs = list(arguments) if len(arguments) != 1 else arguments[0]
        return keras_frontend.program_of(function, inputs if arguments else None)
    if hasattr(function, "experimental_get_compiler_ir") or _is_module(tensorflow, function):
        from autotune.frontends import tensorflow as tensorflow_frontend

        if not callable(function):
            raise AutotuneError(f"{type(function).__name__}: this tf.Module cannot be called; name one of its methods")
        return tensorflow_frontend.program_of(function, *arguments)
    return None


def _is_module(tensorflow: Any, function: Any) -> bool:
    return tensorflow is not None and isinstance(function, tensorflow.Module)
