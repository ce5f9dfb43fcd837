"""From a Keras model to a program: the forward pass or a whole training step, on TensorFlow or on jax.

The backend is the one that Keras was started with (KERAS_BACKEND). Variables become parameters of the program, so that
the program needs no state; parameters and results have the same order under both backends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.errors import AutotuneError, ToolchainError, UnsupportedProgramError
from autotune.frontends import tensorflow as tensorflow_frontend
from autotune.frontends.signature import ArraySpec, array_spec, first_lines, take_apart
from autotune.hlo.program import Program

Step = Callable[[Sequence[Any], Sequence[Any]], list[Any]]
"""From the inputs (with the targets, if any) and the values of the variables to the results of the program."""


def program_of(
    model: Any, inputs: Any = None, *, batch_size: int | None = None, targets: Any = None, train: bool = False
) -> Program:
    """The program of a model, before XLA optimises it.

    Args:
        model: a `keras.Model`. One that has no variables yet is built for these inputs.
        inputs: what the model is called with: a pair such as `((8, 224, 224, 3), "float32")` or an example array for
            each tensor, in the lists and dictionaries that the model takes. None: as the model declares it.
        batch_size: of inputs that the model declares without one.
        targets: what the loss compares the outputs with, in the same form; only for a training step.
        train: whether to take a training step (loss, gradients, the optimiser's update) of a compiled model instead of
            the forward pass with `training=False`.

    Returns:
        The program. Its parameters are the inputs, the targets, `model.trainable_variables`,
        `model.non_trainable_variables` and, of a training step, `model.optimizer.variables`. Results: the outputs of
        the model; or the loss and the new values of the variables that the step changes, in the order of the
        parameters. Dictionaries count in the order of their keys. `program.module` is a file for `autotune search`.

    Raises:
        UnsupportedProgramError: a shape is not known in full, XLA cannot compile the model, or the backend is none of
            the two.
        ToolchainError: keras is missing.
        AutotuneError: inputs or targets do not fit the model, or it was not compiled.
    """
    keras = _keras_for(model)
    if inputs is None:
        inputs = _declared_inputs(keras, model, batch_size)
    if train == (targets is None):
        raise AutotuneError(
            f'model {model.name}: a training step needs targets, such as ((8, 10), "float32"), and nothing else does'
        )
    if train and getattr(model, "optimizer", None) is None:
        raise AutotuneError(f"model {model.name}: it has no loss and optimiser; call model.compile(...) first")
    leaves, put_together = take_apart(_arguments(inputs, targets))
    specs = [array_spec(leaf, f"input of model {model.name}") for leaf in leaves or [inputs]]
    name = f"{model.name}_train" if train else str(model.name)
    try:
        _build(keras, model, *put_together(specs))
    except Exception as error:  # whatever the layers of the user raise
        signature = ", ".join(map(str, specs))
        raise AutotuneError(f"model {model.name} does not take ({signature}): {first_lines(error)}") from error
    variables = _Variables.of(model, train)
    backend = keras.config.backend()
    if backend == "jax":
        program = _jax_program(_jax_step(keras, model, put_together, variables, train), specs, variables, name)
    else:
        step = _tensorflow_step(keras, model, put_together, variables, train)
        program = _tensorflow_program(step, specs, variables, name)
    return replace(program, source=f"{model.name} (model of keras on {backend})")


def arguments_of(model: Any, inputs: Any, *, targets: Any = None) -> list[NDArray[Any]]:
    """The values that the parameters of a model's program have in a call.

    Args:
        model: after `program_of`, which builds what was not built.
        inputs: arrays, put together as for `program_of`.
        targets: likewise; given for the program of a training step.

    Returns:
        Arrays in the order of the parameters.
    """
    keras = _keras_for(model)
    leaves, _ = take_apart(_arguments(inputs, targets))
    variables = _Variables.of(model, train=targets is not None)
    return [np.asarray(keras.ops.convert_to_numpy(each)) for each in (*leaves, *variables.all)]


@dataclass(frozen=True)
class _Variables:
    """The variables of a model, in the order in which they are parameters."""

    trainable: list[Any]
    others: list[Any]
    optimizer: list[Any]

    @classmethod
    def of(cls, model: Any, train: bool) -> _Variables:
        optimizer = list(model.optimizer.variables) if train else []
        return cls(list(model.trainable_variables), list(model.non_trainable_variables), optimizer)

    @property
    def all(self) -> list[Any]:
        return [*self.trainable, *self.others, *self.optimizer]

    def split(self, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Their values, in three parts."""
        first = len(self.trainable)
        second = first + len(self.others)
        return list(values[:first]), list(values[first:second]), list(values[second:])


# ---- What the model computes, for both backends ----------------------------------------------------------------------


def _outputs(keras: Any, model: Any, inputs: Any, variables: _Variables, values: Sequence[Any]) -> list[Any]:
    """The forward pass."""
    with keras.StatelessScope(list(zip(variables.all, values, strict=True))):
        return list(keras.tree.flatten(model(inputs, training=False)))


def _losses(
    keras: Any, model: Any, inputs: Any, targets: Any, variables: _Variables, values: Sequence[Any]
) -> tuple[Any, tuple[Any, list[Any]]]:
    """The loss as it is differentiated, the loss, and what the variables that are not trained become."""
    state = list(zip(variables.all, values, strict=True))
    # Some losses write metrics on the way, which nobody reads.
    state += [(metric, keras.ops.zeros(metric.shape, metric.dtype)) for metric in model.metrics_variables]
    with keras.StatelessScope(state, collect_losses=True) as scope:
        predicted = model(inputs, training=True)
        loss = model.compute_loss(x=inputs, y=targets, y_pred=predicted, training=True)
        scaled = model.optimizer.scale_loss(loss)
        others = [scope.get_current_value(variable) for variable in variables.others]
    return scaled, (loss, others)


# ---- jax -------------------------------------------------------------------------------------------------------------


def _jax_step(keras: Any, model: Any, put_together: Callable[..., Any], variables: _Variables, train: bool) -> Step:
    import jax

    def forward(arrays: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        return _outputs(keras, model, put_together(arrays)[0], variables, values)

    def training(arrays: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        inputs, targets = put_together(arrays)
        trainable, others, optimizer = variables.split(values)

        def losses(trained: list[Any]) -> tuple[Any, tuple[Any, list[Any]]]:
            return _losses(keras, model, inputs, targets, variables, [*trained, *others, *optimizer])

        (_, (loss, others)), gradients = jax.value_and_grad(losses, has_aux=True)(trainable)
        trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        new = [*trainable, *others, *optimizer]
        return [loss, *(after for before, after in zip(values, new, strict=True) if after is not before)]

    return training if train else forward


def _jax_program(step: Step, specs: Sequence[ArraySpec], variables: _Variables, name: str) -> Program:
    import jax

    def flat(*arrays: Any) -> list[Any]:
        return step(arrays[: len(specs)], arrays[len(specs) :])

    shapes = [(spec.shape, jax.dtypes.canonicalize_dtype(spec.dtype)) for spec in specs]
    shapes += [(tuple(variable.shape), variable.dtype) for variable in variables.all]
    try:
        # Unused parameters stay: the state of a dropout layer, say, which the forward pass does not read.
        traced = jax.jit(flat, keep_unused=True).lower(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
        computation: Any = traced.compiler_ir("hlo")
        module: bytes = computation.as_serialized_hlo_module_proto()
    except Exception as error:  # what layers raise, or jax about them
        signature = ", ".join(map(str, specs))
        raise AutotuneError(f"{name}({signature}): jax cannot make a program of it: {first_lines(error)}") from error
    return tensorflow_frontend.checked_program(module, name, name)


# ---- TensorFlow ------------------------------------------------------------------------------------------------------


def _tensorflow_step(
    keras: Any, model: Any, put_together: Callable[..., Any], variables: _Variables, train: bool
) -> Step:
    import tensorflow as tf

    def forward(tensors: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        return _outputs(keras, model, put_together(tensors)[0], variables, values)

    def training(tensors: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        inputs, targets = put_together(tensors)
        trainable, others, _ = variables.split(values)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            scaled, (loss, new) = _losses(keras, model, inputs, targets, variables, values)
        # Keras has no stateless update here: the variables themselves are assigned, which makes them results.
        model.optimizer.apply(tape.gradient(scaled, trainable), variables.trainable)
        for variable, before, after in zip(variables.others, others, new, strict=True):
            if after is not before:
                variable.assign(after)
        return [loss]

    return training if train else forward


def _tensorflow_program(step: Step, specs: Sequence[ArraySpec], variables: _Variables, name: str) -> Program:
    import tensorflow as tf

    def flat(*tensors: Any) -> list[Any]:
        # Captured variables become parameters in the order in which they are read.
        return step(tensors, [tf.convert_to_tensor(variable.value) for variable in variables.all])

    flat.__name__ = name
    return tensorflow_frontend.program_of(tf.function(flat, autograph=False), *((s.shape, s.dtype) for s in specs))


# ---- The user's model ------------------------------------------------------------------------------------------------


def _keras_for(model: Any) -> Any:
    """The module keras, for a model that it can make a program of."""
    try:
        import keras
    except ImportError as error:
        raise ToolchainError(
            f"keras cannot be imported ({error}); run: pip install 'xla-autotune[tensorflow]'"
        ) from error
    if not isinstance(model, keras.Model):
        raise AutotuneError(f"expected a keras.Model, found {type(model).__module__}.{type(model).__qualname__}")
    if keras.config.backend() not in ("jax", "tensorflow"):
        raise UnsupportedProgramError(
            f"model {model.name}: Keras runs on {keras.config.backend()}, which makes no programs for XLA; "
            "set KERAS_BACKEND=jax or KERAS_BACKEND=tensorflow before keras is imported"
        )
    return keras


def _arguments(inputs: Any, targets: Any) -> tuple[Any, Any]:
    """Inputs and targets; a list of one, as a command line makes it, is that one."""
    alone = isinstance(inputs, list) and len(inputs) == 1
    return (inputs[0] if alone else inputs), targets


def _declared_inputs(keras: Any, model: Any, batch_size: int | None) -> Any:
    """What a functional or sequential model says that it takes."""
    declared = getattr(model, "inputs" if isinstance(model, keras.Sequential) else "input", None)
    if declared is None:
        raise AutotuneError(
            f"model {model.name}: it does not declare its inputs; give them, such as "
            'inputs=((8, 224, 224, 3), "float32")'
        )
    leaves, put_together = take_apart(declared)
    return put_together([(_with_batch(leaf.shape, batch_size), leaf.dtype) for leaf in leaves])


def _with_batch(shape: Sequence[int | None], batch_size: int | None) -> tuple[int | None, ...]:
    return (batch_size, *shape[1:]) if shape and shape[0] is None else tuple(shape)


def _build(keras: Any, model: Any, inputs: Any, targets: Any) -> None:
    """Have all variables made, before anything is traced: in a trace they would become a part of it.

    Args:
        keras: the module.
        model: of the user.
        inputs: a nest of specs.
        targets: likewise; None unless it is for a training step.
    """

    class Everything(keras.Operation):  # type: ignore[misc]
        def call(self, inputs: Any, targets: Any) -> Any:
            predicted = model(inputs, training=False)
            return predicted if targets is None else model.compute_loss(x=inputs, y=targets, y_pred=predicted)

    leaves, put_together = take_apart((inputs, targets))
    symbols = put_together([keras.KerasTensor(spec.shape, spec.dtype.name) for spec in leaves])
    try:
        Everything().compute_output_spec(*symbols)
    except Exception as error:  # Keras speaks of our operation first, then says what a layer of the user raised
        raise ValueError(str(error).rpartition("Error encountered:")[2].strip()) from error
    if targets is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
