"""What all commands share: where they print, and how they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

import typer

from autotune import errors

if TYPE_CHECKING:
    from rich.console import Console

EXIT_CODES: dict[type[errors.AutotuneError], int] = {
    errors.ProgramReadError: 3,
    errors.UnsupportedProgramError: 4,
    errors.SpaceError: 4,
    errors.ToolchainError: 5,
    errors.DefaultFailedError: 6,
    errors.ServerError: 7,
    errors.NotTunedError: 8,
}
INTERRUPTED = 130


def console(*, stderr: bool = False) -> Console:
    """A console for standard output, or for standard error."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def fail(error: errors.AutotuneError, as_json: bool) -> NoReturn:
    """Ends with the error's exit code; the message goes to standard error, and as JSON to standard output if asked."""
    code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
    if as_json:
        typer.echo(json.dumps({"error": type(error).__name__, "message": str(error), "exit_code": code}))
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(code)
