"""Runs the code blocks of a page in the current folder, one after the other, as a reader would.

    python -m tests.docs_child PAGE

Blocks of Python share their names. The first block that fails ends it, with its page and line.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from website.blocks import DATA, Block, blocks

SMALL: Final = {"budget": 2, "configs": 2, "iterations": 20}
"""How much of what is done here: what a page shows is for people with more time."""

MARK: Final = "--- docs_child: next command ---"
_AMOUNT: Final = re.compile(rf"(--({'|'.join(SMALL)}) |\bbudget=)\d+")
_PORT: Final = re.compile(r"\b8470\b")


def run_page(text: str, page: str) -> None:
    """Run its blocks.

    Args:
        text: Markdown.
        page: its name, for messages.

    Raises:
        Exception: whatever a block of Python raises, or AssertionError for one of commands.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(text, page):
        if block.skip or (block.language in DATA and not block.file):
            continue
        started = time.monotonic()
        code = small(block.code)
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.code)
        elif block.language == "python":
            # Empty lines in front: tracebacks then have the line of the page.
            exec(compile("\n" * (block.line - 1) + code, page, "exec"), names)
        else:
            _run_commands(block, code)
        print(f"{page}:{block.line} {block.language} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def small(code: str) -> str:
    """The same, but less of it, and on a port that is free."""
    code = _AMOUNT.sub(lambda found: f"{found[1]}{SMALL[found[2] or 'budget']}", code)
    return _PORT.sub(os.environ.get("DOCS_PORT", "8470"), code)


def commands_of(block: Block, code: str) -> list[tuple[str, str]]:
    """Commands with the output that is shown below each ("" for none)."""
    if block.language == "bash":
        return [(code, "")]
    found: list[tuple[str, str]] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        else:
            assert found, f"{block.page}, line {block.line}: output before the first command"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def _run_commands(block: Block, code: str) -> None:
    """Run them in one shell, and compare what they print with what the page shows."""
    where = f"{block.page}, line {block.line}"
    commands = commands_of(block, code)
    script = f"\necho '{MARK}'\n".join(command for command, _ in commands)
    with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open as long as a server that the block starts
        status = subprocess.run(["bash", "-euo", "pipefail", "-c", script], stdout=output, timeout=200).returncode
        output.seek(0)
        printed = output.read().split(f"{MARK}\n")
    assert status == block.exit_code, f"{where}: exit code {status}, expected {block.exit_code}:\n{code}\n{printed}"
    if block.output_varies:
        return
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for (command, shown), found in zip(commands, printed, strict=True):
        fits = not shown or doctest.OutputChecker().check_output(shown, found, flags)
        assert fits, f"{where}: {command}\nthe page shows:\n{shown}\nit prints:\n{found}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    sys.path[0] = ""  # as for a script in this folder
    run_page(path.read_text(), path.name)
