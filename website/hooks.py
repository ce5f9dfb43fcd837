"""What MkDocs calls while it builds the site (`hooks` in mkdocs.yml)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from website.blocks import without_comments
from website.cards import cards_section
from website.commands import commands_section
from website.numbers import numbers_section

_ROOT: Final = Path(__file__).resolve().parent.parent
_RESULTS: Final = _ROOT / "benchmarks" / "results"

SECTIONS: Final[dict[str, Callable[[], str]]] = {
    "cards": lambda: cards_section(_RESULTS),
    "commands": commands_section,
    "numbers": lambda: numbers_section(_RESULTS),
}
"""What `<!-- generated: NAME -->` stands for in a page."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take the comments for tests out of a page, and put in what is generated."""
    text = without_comments(markdown)
    for name, section in SECTIONS.items():
        mark = f"<!-- generated: {name} -->"
        if mark in text:
            text = text.replace(mark, section())
    return text
