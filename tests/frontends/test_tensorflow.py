"""Functions of TensorFlow -> programs; XLA's outputs against those of TensorFlow's own kernels, and by hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from autotune.hlo.types import element_type_name
from autotune.targets.isolation import Worker, WorkerFailure, run_in_child

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None,
        reason="needs TensorFlow: pip install 'xla-autotune[tensorflow]'",
    ),
]

X = np.array([[1, -2, 3], [0.5, 0, -1]], np.float32)


@pytest.fixture(scope="module")
def child() -> Iterator[Worker]:
    environment = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with Worker("tests.frontends.tensorflow_child", environment=environment) as worker:
        yield worker


def _run(module: bytes, arguments: list[NDArray[Any]]) -> list[NDArray[Any]]:
    outputs: list[NDArray[Any]] = run_in_child("tests.hlo.child", "run", module, arguments, time_limit=200)
    return outputs


def _parameters(program: Program) -> list[str]:
    shapes = program.proto.host_program_shape.parameters
    return [f"{element_type_name(each)}{list(each.dimensions)}" for each in shapes]


@pytest.mark.parametrize("name", ["module", "tf.function", "method", "branch", "declared"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_program_computes_what_the_function_does(child: Worker, name: str, sign: int) -> None:
    program, captured = child.call("traced", name, time_limit=200)
    (expected,) = child.call("called", name, [sign * X], time_limit=200)
    (output,) = _run(program.module, [sign * X, *captured])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_parameters_are_the_signature_then_captured_variables(child: Worker) -> None:
    program, _ = child.call("traced", "module", time_limit=200)
    assert _parameters(program) == ["f32[2, 3]", "f32[3, 4]", "f32[4]"]
    assert program.source == "_Layer (function of tensorflow)"
    opcodes = {instruction.opcode for instruction in instructions(program.proto)}
    assert {"dot", "add", "tanh"} <= opcodes
    assert "fusion" not in opcodes, "before optimisation"


def test_one_function_is_one_program_however_it_is_given(child: Worker) -> None:
    fingerprints = {child.call("traced", name, time_limit=200)[0].fingerprint for name in ("module", "tf.function")}
    assert len(fingerprints) == 1


def test_new_values_of_variables_are_results(child: Worker) -> None:
    program, (kernel,) = child.call("traced", "step", time_limit=200)
    loss, new = _run(program.module, [X, kernel])
    # d/dw sum((x w)^2) = 2 x' x w, times one half
    np.testing.assert_allclose(loss, np.sum((X @ kernel) ** 2), rtol=1e-5)
    np.testing.assert_allclose(new, kernel - X.T @ X @ kernel, rtol=1e-4, atol=1e-5)


def test_nests_come_in_the_order_of_their_keys_and_the_rest_is_fixed(child: Worker) -> None:
    program, _ = child.call("traced", "nest", time_limit=200)
    assert _parameters(program) == ["s32[4]", "bf16[2, 3]"]
    numbers = np.array([1, 2, 3, -4], np.int32)
    first, second = _run(program.module, [numbers, X.astype(bfloat16)])
    np.testing.assert_array_equal(first, [[1, -2, 3], [0, 0, -1]])
    np.testing.assert_array_equal(second, [2, 4, 6, -8])


def test_unused_arguments_stay_parameters(child: Worker) -> None:
    program, _ = child.call("traced", "unused", time_limit=200)
    assert _parameters(program) == ["f32[2, 3]", "s64[4]"]


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("size", "UnsupportedProgramError", r"shape \(None, 3\) has a dimension without a size.*such as \(8, 3\)"),
        ("rank", "UnsupportedProgramError", "has no shape; XLA compiles for one shape"),
        ("string", "UnsupportedProgramError", "XLA computes with numbers only"),
        ("string result", "UnsupportedProgramError", "as_string: a result is a string"),
        ("python", "UnsupportedProgramError", "XLA cannot compile EagerPyFunc; move that out of the function"),
        ("print", "UnsupportedProgramError", "_printed: XLA cannot compile .*StringFormat"),
        ("dynamic result", "UnsupportedProgramError", "the size of a result depends on values"),
        ("shape from a tensor", "UnsupportedProgramError", "compile-time constant.*as Python numbers"),
        ("own error", "AutotuneError", r"<lambda>\(float32\[2,3\]\): .*Dimensions must be equal, but are 3 and 2"),
        ("too many", "AutotuneError", "too many positional arguments"),
        ("dtype", "AutotuneError", "'float33' is no dtype; expected such as 'float32'"),
    ],
)
def test_refusals(child: Worker, what: str, error: str, message: str) -> None:
    with pytest.raises(WorkerFailure, match=message) as failure:
        child.call("refused", what, time_limit=200)
    assert failure.value.error_type == error


def test_arguments_of_the_command_line(child: Worker) -> None:
    for what in ("tf.function", "module"):
        program = child.call("exported", what, "f32[5,3]", time_limit=200)
        assert _parameters(program) == ["f32[5, 3]", "f32[3, 4]", "f32[4]"]
    assert child.call("exported", "python", "f32[5,3]", time_limit=200) is None, "it could as well be one of jax"
    with pytest.raises(WorkerFailure, match=r"this tf\.Module cannot be called; name one of its methods"):
        child.call("exported", "no call", "", time_limit=200)


def test_without_tensorflow_it_says_how_to_get_it(child: Worker) -> None:
    with pytest.raises(WorkerFailure, match=r"pip install 'xla-autotune\[tensorflow\]'") as failure:
        child.call("without_tensorflow", time_limit=60)
    assert failure.value.error_type == "ToolchainError"
