"""The runner of the pages notices what is wrong with a block."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs_child import commands_of, run_page, small
from website.blocks import Block


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_blocks_share_names_files_and_folder() -> None:
    run_page(
        '```python title="part.txt"\nx\n```\n```python\nn = 2\n```\n```python\nassert n == 2\n```\n'
        "```console\n$ cat part.txt\nx\n$ echo one   two\none two\n```\n```text\nnot run\n```\n"
        "<!-- test: exit 3 -->\n```bash\nexit 3\n```\n<!-- test: skip never -->\n```bash\nexit 4\n```\n",
        "p.md",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```console\n$ echo one\n$ echo two\nthree\n```\n", r"p.md, line 2: echo two\nthe page shows:\nthree"),
        ("```bash\nfalse\ntrue\n```\n", "p.md, line 2: exit code 1, expected 0"),
        ("```bash\nfalse | true\n```\n", "exit code 1"),
        ("<!-- test: exit 2 -->\n```bash\ntrue\n```\n", "exit code 0, expected 2"),
        ("```console\nno command\n```\n", "p.md, line 2: output before the first command"),
        ("```python\nassert 1 == 2, 'wrong'\n```\n", "wrong"),
    ],
)
def test_what_fails_is_said(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        run_page(text, "p.md")


def test_an_error_has_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run_page("# Title\n\n```python\nx = 1\nx / 0\n```\n", "p.md")
    assert (error.traceback[-1].path, error.traceback[-1].lineno + 1) == ("p.md", 5)


def test_a_test_does_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCS_PORT", "1234")
    assert small("search f --budget 50 --configs 25 grpc://a:8470") == "search f --budget 2 --configs 2 grpc://a:1234"
    assert small("tune(f, budget=50, time_budget=9)  # 84700 --iterations 600") == (
        "tune(f, budget=2, time_budget=9)  # 84700 --iterations 20"
    )


def test_commands_and_what_they_print() -> None:
    block = Block("p.md", 2, "console", "$ a\nx\ny\n$ b\n")
    assert commands_of(block, block.code) == [("a", "x\ny\n"), ("b", "")]
