"""What every benchmark script shares: the `--json` option and the table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autotune.targets.host import processor

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

_PIPED_WIDTH = 250  # of a file or pipe: rich would take 80 columns and cut the rest off


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json FILE`."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the table here")
    return result


def publish(title: str, rows: Sequence[dict[str, Any]], path: Path | None) -> None:
    """Print rows as a table and, if asked, write them as JSON."""
    table = Table(title=title, box=None, pad_edge=False, header_style="dim", title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)
    if path is not None:
        document = {"title": title, "machine": processor(), "rows": list(rows)}
        path.write_text(json.dumps(document, indent=2) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
