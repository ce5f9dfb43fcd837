"""What tests do with Keras in a child process, one per backend: `Worker("tests.frontends.keras_child")`.

Models are small enough for a test and have what makes programs hard: state, regularisers, dropout, several inputs.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autotune.frontends.arguments import parse_arguments
from autotune.frontends.foreign import foreign_program
from autotune.frontends.keras import arguments_of, program_of
from autotune.hlo.program import Program

Arrays = list[NDArray[Any]]
BATCH = 4


def backend() -> str:
    return str(keras.config.backend())


def forward(name: str, declared: bool = False) -> tuple[Program, Arrays, Arrays]:
    """The program of a model, what it is called with, and what Keras itself says are the outputs.

    Args:
        name: of one of the models below.
        declared: whether the inputs are left to the model.
    """
    model, inputs = _model(name)
    program = program_of(model, batch_size=BATCH) if declared else program_of(model, inputs)
    expected = keras.tree.flatten(model(inputs, training=False))
    return program, arguments_of(model, inputs), [np.asarray(keras.ops.convert_to_numpy(each)) for each in expected]


def training_step(name: str) -> tuple[Program, Arrays, float, dict[str, NDArray[Any]], list[str]]:
    """The program of a training step.

    Returns:
        The program; what it is called with; then what `model.train_on_batch` makes of the same: the loss, and the new
        values of the variables that changed, by path; the paths of all variables in the order of the parameters.
    """
    model, inputs = _model(name)
    numbers = np.random.default_rng(1)
    shapes = [(BATCH, *output.shape[1:]) for output in model.outputs]
    targets: Any = [numbers.normal(size=shape).astype(np.float32) for shape in shapes]
    targets = targets if len(targets) > 1 else targets[0]
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=["mse"] * len(model.outputs))
    program = program_of(model, inputs, targets=targets, train=True)
    arguments = arguments_of(model, inputs, targets=targets)
    variables = [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(each)) for each in variables]
    loss = float(np.ravel(model.train_on_batch(inputs, targets))[0])
    after = [np.array(keras.ops.convert_to_numpy(each)) for each in variables]
    changed = {
        variable.path: new
        for variable, old, new in zip(variables, before, after, strict=True)
        if not np.array_equal(old, new)
    }
    return program, arguments, loss, changed, [variable.path for variable in variables]


def exported(arguments: str) -> Program:
    """The program of the convolutional model, as `autotune export --args` asks for it."""
    model, _ = _model("convolutional")
    program = foreign_program(model, parse_arguments(arguments))
    assert program is not None
    return program


def refused(what: str) -> None:
    """Asks for a program that cannot be."""
    model, inputs = _model("convolutional")
    match what:
        case "no model":
            program_of(lambda x: x, inputs)
        case "no batch":
            program_of(model)
        case "wrong channels":
            program_of(model, ((BATCH, 8, 8, 5), "float32"))
        case "not compiled":
            program_of(model, inputs, targets=((BATCH, 5), "float32"), train=True)
        case "no targets":
            program_of(model, inputs, train=True)
        case "not declared":
            program_of(_Residual())
        case "strings":
            program_of(model, ((BATCH, 8, 8, 3), "str"))
        case "not a shape":
            program_of(model, 5)


class _Residual(keras.Model):  # type: ignore[misc]
    """Written as a class: it has no variables before its first call, and its call knows nothing of training."""

    def __init__(self) -> None:
        super().__init__(name="residual")
        self.inner = keras.layers.Dense(6)

    def call(self, inputs: Any) -> Any:
        return inputs + self.inner(inputs)


def _model(name: str) -> tuple[Any, Any]:
    """A model with weights of one seed, and an input."""
    keras.utils.clear_session()  # names count from the start again
    keras.utils.set_random_seed(0)
    layers = keras.layers
    numbers = np.random.default_rng(0)
    images = numbers.normal(size=(BATCH, 8, 8, 3)).astype(np.float32)
    rows = numbers.normal(size=(BATCH, 6)).astype(np.float32)
    model: Any
    inputs: Any = rows
    match name:
        case "convolutional":
            stack = [
                keras.Input((8, 8, 3)),
                layers.Conv2D(16, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)),
                layers.BatchNormalization(),
                layers.Flatten(),
                layers.Dense(5),
            ]
            model, inputs = keras.Sequential(stack, name=name), images
        case "dropout":
            stack = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Dropout(0.5), layers.Flatten()]
            model, inputs = keras.Sequential(stack, name=name), images
        case "two inputs":
            image, row = keras.Input((8, 8, 3), name="image"), keras.Input((6,), name="row")
            joined = layers.Concatenate()([layers.Flatten()(image), row])
            outputs = [layers.Dense(2)(joined), layers.Dense(3)(joined)]
            model = keras.Model({"row": row, "image": image}, outputs, name="two_inputs")
            inputs = {"row": rows, "image": images}
        case "bfloat16":
            policy = keras.DTypePolicy("mixed_bfloat16")
            model = keras.Sequential([keras.Input((6,)), layers.Dense(7, dtype=policy)], name=name)
        case "class":
            model = _Residual()
    return model, inputs
