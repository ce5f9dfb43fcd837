"""A real Keras model -> program -> search -> tuned program, under TensorFlow and under jax, each in its own process."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.hlo.modules import instructions
from autotune.targets.cpu import CpuTarget
from autotune.targets.isolation import Worker, WorkerFailure, run_in_child

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras") is None,
        reason="needs TensorFlow and Keras: pip install 'xla-autotune[tensorflow]'",
    ),
]


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def child(request: pytest.FixtureRequest) -> Iterator[Worker]:
    environment = {"KERAS_BACKEND": request.param, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with Worker("tests.frontends.keras_child", environment=environment) as worker:
        assert worker.call("backend", time_limit=200) == request.param
        yield worker


def _run(module: bytes, arguments: list[np.ndarray]) -> list[np.ndarray]:
    outputs: list[np.ndarray] = run_in_child("tests.hlo.child", "run", module, arguments, time_limit=200)
    return outputs


def _parameters(program: autotune.hlo.program.Program) -> list[tuple[int, ...]]:
    return [tuple(each.dimensions) for each in program.proto.host_program_shape.parameters]


@pytest.mark.parametrize("name", ["convolutional", "dropout", "two inputs", "bfloat16", "class"])
def test_the_program_computes_what_the_model_does(child: Worker, name: str) -> None:
    program, arguments, expected = child.call("forward", name, time_limit=200)
    outputs = _run(program.module, arguments)
    assert [each.shape for each in outputs] == [each.shape for each in expected]
    for output, right in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.astype(np.float32), right.astype(np.float32), rtol=1e-4, atol=1e-4)


def test_parameters_are_inputs_then_variables(child: Worker) -> None:
    program, *_ = child.call("forward", "convolutional", True, time_limit=200)
    # trained: kernel and bias of the convolution, gamma and beta, kernel and bias of the dense layer (6 x 6 x 16 = 576
    # inputs); not trained: the moving mean and variance
    trained = [(3, 3, 3, 16), (16,), (16,), (16,), (576, 5), (5,)]
    assert _parameters(program) == [(4, 8, 8, 3), *trained, (16,), (16,)]
    assert program.name == "convolutional"
    backend = child.call("backend", time_limit=60)
    assert program.source == f"convolutional (model of keras on {backend})"
    opcodes = [instruction.opcode for instruction in instructions(program.proto)]
    assert opcodes.count("convolution") == 1
    assert opcodes.count("dot") == 1
    assert "fusion" not in opcodes, "before optimisation"


def test_inputs_of_a_dictionary_come_in_the_order_of_their_keys(child: Worker) -> None:
    named, arguments, _ = child.call("forward", "two inputs", time_limit=200)
    declared, *_ = child.call("forward", "two inputs", True, time_limit=200)
    assert _parameters(named) == [(4, 8, 8, 3), (4, 6), (198, 2), (2,), (198, 3), (3,)]
    assert [each.shape for each in arguments] == _parameters(named)
    assert declared.fingerprint == named.fingerprint


def test_arguments_of_the_command_line(child: Worker) -> None:
    program = child.call("exported", "f32[2,8,8,3]", time_limit=200)
    assert _parameters(program)[0] == (2, 8, 8, 3)
    assert program.name == "convolutional"


@pytest.mark.parametrize("name", ["convolutional", "two inputs"])
def test_a_training_step_is_that_of_keras(child: Worker, name: str) -> None:
    program, arguments, loss, changed, paths = child.call("training_step", name, time_limit=200)
    outputs = _run(program.module, arguments)
    assert float(outputs[0]) == pytest.approx(loss, rel=1e-4)
    # All but the learning rate change, in the order of the parameters.
    assert set(paths) - set(changed) == {"adam/learning_rate"}
    new = dict(zip([path for path in paths if path in changed], outputs[1:], strict=True))
    for path, right in changed.items():
        np.testing.assert_allclose(new[path], right, rtol=1e-3, atol=1e-5, err_msg=path)


def test_a_tuned_model_computes_what_the_model_does(child: Worker, tmp_path: Path) -> None:
    program, arguments, expected = child.call("forward", "convolutional", time_limit=200)
    with CpuTarget() as target:
        database = tmp_path / "evaluations.db"
        result = autotune.search(program, target=target, space="layout", budget=4, database=database)
        # Whether any is faster is the machine's business; each must be right, and at least one must be no default.
        assert result.counts["measured"] >= 2, result.failures
        other = target.realise(result.prepared, result.runner_up.config)
    assert other.module != target.realise(result.prepared, result.default.config).module
    for tuned in (result.tuned, other):
        (output,) = _run(tuned.module, arguments)
        np.testing.assert_allclose(output, expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("no model", "AutotuneError", "expected a keras.Model, found builtins.function"),
        ("no batch", "UnsupportedProgramError", r"shape \(None, 8, 8, 3\) has a dimension without a size"),
        (
            "wrong channels",
            "AutotuneError",
            r"convolutional does not take \(float32\[4,8,8,5\]\): ValueError: .* axis -1 .* value 3",
        ),
        ("not compiled", "AutotuneError", r"it has no loss and optimiser; call model\.compile"),
        ("no targets", "AutotuneError", "a training step needs targets"),
        ("not declared", "AutotuneError", "model residual: it does not declare its inputs; give them"),
        ("strings", "UnsupportedProgramError", "elements are str; XLA computes with numbers only"),
        ("not a shape", "AutotuneError", "input of model convolutional: expected a shape with a dtype.*found 5"),
    ],
)
def test_refusals(child: Worker, what: str, error: str, message: str) -> None:
    with pytest.raises(WorkerFailure, match=message) as failure:
        child.call("refused", what, time_limit=200)
    assert failure.value.error_type == error
