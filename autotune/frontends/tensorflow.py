"""From a function of TensorFlow to a program: the HLO that `tf.function(jit_compile=True)` gives to XLA."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from autotune.errors import AutotuneError, ToolchainError, UnsupportedProgramError
from autotune.frontends.signature import ArraySpec, array_spec, first_lines, take_apart
from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from protos import hlo_pb2

_INSTALL = "run: pip install 'xla-autotune[tensorflow]'"
_NO_KERNEL = re.compile(r"No registered '(\w+)' OpKernel")


def program_of(function: Callable[..., Any], *signature: Any, **keywords: Any) -> Program:
    """The program of a function, before XLA optimises it.

    Args:
        function: a `tf.function`, a Python function of tensors, a method of a `tf.Module`, or such a module itself.
        *signature: its positional arguments. A tensor is given as a `tf.TensorSpec`, a pair such as
            `((8, 128), "float32")`, or an example; lists, tuples and dictionaries of these are taken apart, and what
            is no tensor (`True`, `3`, `"same"`) is a fixed part of the program. Without any, those of the
            `input_signature` of a `tf.function`.
        **keywords: keyword arguments, likewise.

    Returns:
        The program. Its parameters are the tensors of the signature, in order (dictionaries in the order of their
        sorted keys), then the variables and tensors that the function captures, in the order in which it first uses
        them. Its results are the tensors that the function returns (likewise), then the new values of the variables
        that it assigns, in the order of the parameters. `program.module` is a file for `autotune search`.

    Raises:
        UnsupportedProgramError: a shape is not known in full, or the function uses what XLA cannot compile.
        ToolchainError: TensorFlow is missing.
        AutotuneError: an argument is no tensor that a program could have, or TensorFlow cannot trace the function.
    """
    tf = _tensorflow()
    name = _name(function)
    if not signature and not keywords:
        signature = tuple(getattr(function, "input_signature", None) or ())
    leaves, put_together = take_apart((signature, keywords))
    specs = [array_spec(leaf, f"argument of {name}") for leaf in leaves]
    inner = function if hasattr(function, "experimental_get_compiler_ir") else tf.function(function)

    def flat(*tensors: Any) -> Any:
        args, kwargs = put_together(tensors)
        return inner(*args, **kwargs)

    try:
        traced = tf.function(flat, jit_compile=True, autograph=False)
        lowered = traced.experimental_get_compiler_ir(*(tf.TensorSpec(spec.shape, spec.dtype) for spec in specs))
        # The device would be one of this host's otherwise, and a GPU's program is another one.
        module = lowered(stage="hlo_serialized", platform_name="CPU")
    except Exception as error:  # TensorFlow raises what the user's function raises, and ValueError for its own
        raise _refusal(name, specs, error) from error
    return checked_program(module, name, f"{name} (function of tensorflow)")


def checked_program(module: bytes, name: str, source: str) -> Program:
    """A module from a framework as a program that has been checked as if it came from a file.

    Args:
        module: serialized HloModuleProto.
        name: for the module; characters that HLO text cannot have in names are replaced.
        source: where it came from.

    Raises:
        UnsupportedProgramError: sizes of results depend on values.
        ProgramReadError: XLA refuses it.
    """
    proto = hlo_pb2.HloModuleProto.FromString(module)
    proto.name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_") or "program"
    result = proto.host_program_shape.result
    if any(any(each.is_dynamic_dimension) for each in (result, *result.tuple_shapes)):
        raise UnsupportedProgramError(
            f"{source}: the size of a result depends on values (as with tf.where of one argument, tf.unique or "
            "tf.boolean_mask); export the part of the function before that"
        )
    program = read_bytes(proto.SerializeToString(deterministic=True), source)
    return replace(program, source=source)


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise ToolchainError(f"TensorFlow cannot be imported ({error}); {_INSTALL}") from error
    return tensorflow


def _name(function: Any) -> str:
    name: str = getattr(function, "__name__", "") or type(function).__name__
    return name


def _refusal(name: str, specs: Sequence[ArraySpec], error: Exception) -> AutotuneError:
    """What TensorFlow said, as an error that says what to do."""
    message = str(error)
    missing = sorted(set(_NO_KERNEL.findall(message)))
    if missing == ["_Retval"]:
        return UnsupportedProgramError(f"{name}: a result is a string; XLA computes with numbers only: return those")
    if missing:
        return UnsupportedProgramError(
            f"{name}: XLA cannot compile {', '.join(missing)}; move that out of the function (into the input pipeline, "
            "say) and export the rest"
        )
    if "must be a compile-time constant" in message:
        return UnsupportedProgramError(
            f"{name}: {first_lines(error, 1)} Give what shapes depend on as Python numbers, not as tensors"
        )
    signature = ", ".join(map(str, specs))
    return AutotuneError(f"{name}({signature}): TensorFlow cannot make a program of it: {first_lines(error)}")
