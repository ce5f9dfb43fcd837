"""Markdown that pages made from data have in common: tables, and numbers that can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table.

    Args:
        head: of the columns.
        rows: cells, as many in each as there are columns; a bar in a cell is escaped.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def number(value: object) -> str:
    """A value as people read it: whole numbers with thousands' separators, others to four digits; "" for none."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if abs(value) >= 1000:
            return f"{value:,.0f}"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{name} {number(each)}" for name, each in value.items())
        case _:
            return str(value)


def rows_tables(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of a benchmark as tables: rows that have the same columns stand in one, in their order."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for row in rows:
        known = {name: value for name, value in row.items() if value is not None}
        columns = next((each for each in tables if set(known) <= set(each)), tuple(row))
        tables.setdefault(columns, []).append([number(row.get(name)) for name in columns])
    return "\n".join(
        table([name.replace("_", " ") for name in columns], cells) for columns, cells in tables.items() if columns
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
