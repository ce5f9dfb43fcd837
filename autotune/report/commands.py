"""`autotune report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autotune.errors import AutotuneError
from autotune.terminal import fail


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that a search wrote, with best.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="DIR/report.html")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Write one self-contained HTML file about a search: what it found, how, and where the time goes."""
    from autotune.report.writing import write_report

    try:
        path = write_report(folder, output)
    except AutotuneError as error:
        fail(error, as_json)
    typer.echo(json.dumps({"report": str(path)}) if as_json else f"report: {path}")
