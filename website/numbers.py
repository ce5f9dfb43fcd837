"""The page of numbers: what stands in benchmarks/results, with what each benchmark says of itself. Nothing else."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

from website.markdown import rows_tables


def numbers_section(results: Path) -> str:
    """A part for each file of results, in alphabetical order.

    Args:
        results: the folder of the benchmarks' JSON; the scripts are in the folder above.
    """
    return "\n".join(_benchmark(path) for path in sorted(results.glob("*.json")))


def _benchmark(path: Path) -> str:
    document = json.loads(path.read_text())
    script = _script(path)
    about = _about(script.read_text()) if script else ""
    made = f"`benchmarks/results/{path.name}`, made on {document.get('machine', 'an unknown machine')}"
    parts = [f"## {path.stem}\n", f"{_sentence(document['title'])}\n", f"Source: {made}.\n"]
    parts.append(rows_tables(document["rows"]))
    if about:
        parts.append(f'??? note "How it is made, and what the columns are"\n\n{_indented(about)}')
    return "\n".join(parts)


def _script(results: Path) -> Path | None:
    """The script that made a file: its own, or the one whose name begins its name (train_alexnet_switches)."""
    scripts = [each for each in results.parent.parent.glob("*.py") if results.stem.startswith(each.stem)]
    return max(scripts, key=lambda each: len(each.stem), default=None)


def _about(source: str) -> str:
    """The docstring of a script as Markdown."""
    text = inspect.cleandoc(ast.get_docstring(ast.parse(source)) or "")
    text = re.sub(r"^Run it as: (.*)$", r"Run it as: `\1`", text, flags=re.MULTILINE)
    text = re.sub(r"^ {4}(\w+): ", r"- \1: ", text, flags=re.MULTILINE)  # indented lists
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("- ") and lines and lines[-1] and not lines[-1].startswith(("- ", "  ")):
            lines.append("")  # Markdown wants an empty line before a list
        lines.append(line)
    return "\n".join(lines)


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
