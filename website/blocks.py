"""The code blocks of a page, and the comments that say how a test treats them.

A comment stands alone on the line above the block:

    <!-- test: skip REASON -->          it cannot run in a test
    <!-- test: output varies -->        what a command prints differs from run to run
    <!-- test: exit CODE -->            the last command of the block ends with that exit code

A block with a title (```python title="NAME") is saved under that name, as a reader would, and not run by itself.
Two comments stand alone; a reader does not see what is in the first:

    <!-- test: hidden bash
    commands
    -->

    <!-- test: needs MODULE -->         the page is not run where that module of Python is not installed

Comments are for the sources only: the built pages have none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

RUN: Final = ("bash", "console", "python")
"""Languages whose blocks are run. `console`: lines that begin with "$ " are commands, the others their output."""

DATA: Final = ("diff", "json", "text")
"""Languages whose blocks are shown only."""

_COMMENT: Final = re.compile(r"^<!-- test: (?P<text>.*?)\s*-->\n?", re.MULTILINE | re.DOTALL)
_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)

_TITLE: Final = re.compile(r'\btitle="([^"]+)"')


class BlockError(ValueError):
    """A block or a comment of a page is not as it must be."""


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        page: where it stands, for messages.
        line: of its first line of code, from 1.
        language: one of RUN or DATA.
        code: its text, without the indentation of the fence.
        skip: why a test does not run it; "" if it does.
        file: the name to save it under; "" if it is run.
        output_varies: whether the output of commands is not compared.
        exit_code: of the last command.
        hidden: whether a reader does not see it.
    """

    page: str
    line: int
    language: str
    code: str
    skip: str = ""
    file: str = ""
    output_varies: bool = False
    exit_code: int = 0
    hidden: bool = False


def blocks(text: str, page: str) -> list[Block]:
    """The code blocks of a page, in order, hidden ones included.

    Args:
        text: Markdown.
        page: its name, for messages.

    Raises:
        BlockError: a block has no known language, or a comment says nothing that is known or stands above no block.
    """
    found: list[Block] = []
    place = 0
    said: re.Match[str] | None = None
    for match in sorted([*_COMMENT.finditer(text), *_FENCE.finditer(text)], key=lambda each: each.start()):
        if match.start() < place:  # a comment that is shown in a block
            continue
        place = match.end()
        line = text.count("\n", 0, match.start()) + 1
        if said is not None and (match.re is not _FENCE or match.start() != said.end()):
            break
        if match.re is _FENCE:
            found.append(_block(match, "" if said is None else said["text"], page, line + 1))
            said = None
        elif match["text"].startswith("hidden "):
            language, _, code = match["text"].removeprefix("hidden ").partition("\n")
            found.append(Block(page, line + 1, _known(language, page, line), code + "\n", hidden=True))
        elif not match["text"].startswith("needs "):
            said = match
    if said is not None:
        raise BlockError(f"{page}: a comment for a test stands above no block: {said['text']!r}")
    return found


def needed_modules(text: str) -> list[str]:
    """The modules of Python that a page cannot be run without."""
    said = [match["text"] for match in _COMMENT.finditer(text)]
    return [each.removeprefix("needs ") for each in said if each.startswith("needs ")]


def without_comments(text: str) -> str:
    """A page without the comments that are for tests."""
    return _COMMENT.sub("", text)


def _block(fence: re.Match[str], comment: str, page: str, line: int) -> Block:
    indent = fence["indent"]
    code = "".join(each.removeprefix(indent) for each in fence["code"].splitlines(keepends=True))
    name, _, attributes = fence["info"].partition(" ")
    language = _known(name, page, line)
    title = _TITLE.search(attributes)
    if title is not None and comment:
        raise BlockError(f"{page}, line {line}: a file is only saved, so that it has no comment: {comment!r}")
    kind, _, rest = comment.partition(" ")
    match kind:
        case "":
            return Block(page, line, language, code, file="" if title is None else title[1])
        case "skip" if rest:
            return Block(page, line, language, code, skip=rest)
        case "output" if rest == "varies":
            return Block(page, line, language, code, output_varies=True)
        case "exit" if rest.isdigit():
            return Block(page, line, language, code, exit_code=int(rest), output_varies=True)
        case _:
            raise BlockError(f"{page}, line {line}: unknown comment for a test: {comment!r}")


def _known(language: str, page: str, line: int) -> str:
    if language not in (*RUN, *DATA):
        expected = ", ".join((*RUN, *DATA))
        raise BlockError(f"{page}, line {line}: a code block of language {language!r}; expected one of {expected}")
    return language
