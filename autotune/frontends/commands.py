"""`autotune export`: a function of jax or TensorFlow, or a Keras model, as a program file. Imports happen inside."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune import errors
from autotune.terminal import fail

if TYPE_CHECKING:
    from autotune.hlo.program import Program


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(export)


def export(
    function: Annotated[
        str, typer.Argument(metavar="MODULE:FUNCTION", help="Such as model:train_step, or model:keras_model.")
    ],
    args: Annotated[
        str,
        typer.Option(
            help="Its arguments: shapes as f32[8,128], in lists, tuples and dictionaries; Python's literals for the "
            "rest. Or MODULE:NAME of a tuple of arguments, or of a function that returns one. Of a Keras model its "
            "inputs.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HLO text (.hlo, .txt) or a binary HloModuleProto (.pb).", show_default="FUNCTION.hlo"
        ),
    ] = None,
    static: Annotated[
        list[int] | None, typer.Option("--static", metavar="N", help="Number of an argument that is static.")
    ] = None,
) -> None:
    """Write a function's program, as the compiler gets it, to a file for `autotune search`.

    Functions of jax, functions and modules of TensorFlow (tf.function or plain under jit_compile), Keras models. The
    module is imported from the current folder or from what is installed; the function is traced, not run.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # tracing needs no device, and a TPU may be another process's
    name = function.rpartition(":")[2]
    path = out if out is not None else Path(f"{name}.hlo")
    try:
        program = _program(function, args, static or [])
        _write(program, path)
    except errors.AutotuneError as error:
        fail(error, as_json=False)
    typer.echo(f"{path} (fingerprint {program.fingerprint}); next: autotune search {path}")


def _program(function: str, arguments: str, static: list[int]) -> Program:
    from autotune.frontends.arguments import parse_arguments
    from autotune.frontends.foreign import foreign_program
    from autotune.frontends.jax import capture

    target = _find(function)
    if ":" in arguments and re.fullmatch(r"[\w.:]+", arguments):
        values = _find(arguments)
        values = _called(arguments, values) if callable(values) else values
        if not isinstance(values, tuple):
            raise errors.AutotuneError(f"{arguments}: expected a tuple of arguments, found {type(values).__name__}")
    else:
        values = parse_arguments(arguments)
    program = foreign_program(target, values)
    if program is not None:
        return program
    if not callable(target):
        raise errors.AutotuneError(f"{function}: expected a function, found {type(target).__name__}")
    try:
        return (capture(target, values, {}, static_argnums=static) if static else capture(target, values, {})).program
    except errors.AutotuneError:
        raise
    except Exception as error:  # the user's function, or jax about its arguments
        message = f"{function} cannot be traced with these arguments: {type(error).__name__}: {error}"
        raise errors.AutotuneError(message) from error


def _called(name: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:  # the user's code
        message = f"{name}: cannot be called for the arguments: {type(error).__name__}: {error}"
        raise errors.AutotuneError(message) from error


def _find(name: str) -> Any:
    """What `module:name` stands for.

    Raises:
        AutotuneError: there is no such thing.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise errors.AutotuneError(f"{name!r}: expected MODULE:NAME, such as model:train_step")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:  # importing runs the user's code
        raise errors.AutotuneError(f"{name}: cannot be imported: {type(error).__name__}: {error}") from error
    return value


def _write(program: Program, path: Path) -> None:
    from autotune.targets.isolation import run_in_child
    from cost_model.files import replace_file

    if path.suffix not in (".hlo", ".txt", ".pb"):
        raise errors.AutotuneError(f"{path}: the ending says the format; expected .hlo, .txt or .pb")
    if path.suffix == ".pb":
        content = program.module
    else:
        content = run_in_child("autotune.hlo.jaxlib", "print_hlo_text", program.module, time_limit=600.0).encode()
    try:
        replace_file(path, content)
    except OSError as error:
        raise errors.AutotuneError(f"{path}: cannot be written ({error})") from error
