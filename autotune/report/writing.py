"""`autotune report`: from a result folder to one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from autotune.errors import AutotuneError
from autotune.extras import require
from cost_model.files import replace_file

FILE: Final = "report.html"


def require_packages() -> None:
    """Find out before a long search whether a report can be written.

    Raises:
        ToolchainError: a package is missing; says how to install it.
    """
    require("report", "reports need Plotly, Jinja and Pydantic", "jinja2", "plotly", "pydantic")


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a search.

    Args:
        folder: that the search wrote.
        output: the HTML file; None for report.html in the folder. Its own folder must exist.

    Returns:
        The file written.

    Raises:
        AutotuneError: the folder is none of a search, a file in it is damaged, or the report cannot be written.
        ToolchainError: a package that reports need is missing.
    """
    require_packages()
    from autotune.report.page import render
    from autotune.report.reading import read_folder

    folder = Path(folder)
    path = Path(output) if output is not None else folder / FILE
    page = render(read_folder(folder))
    try:
        replace_file(path, page.encode())
    except OSError as error:
        raise AutotuneError(f"report {path}: cannot be written ({error}); choose another file with -o") from error
    return path
