"""Code blocks of pages, and what the comments above them say."""

from __future__ import annotations

import pytest

from website.blocks import Block, BlockError, blocks, needed_modules, without_comments

PAGE = """# A page

<!-- test: needs libtpu -->
<!-- test: hidden bash
echo hidden
-->

```python
print(1)
```

<!-- test: skip needs a TPU -->
```console
$ autotune
```

- a list

    <!-- no comment for tests -->
    ```text
    shown
      indented
    ```

```python title="a/b.py"
# <!-- test: skip no comment either -->
```
"""


def test_blocks_have_their_lines_and_what_is_said_above_them() -> None:
    assert blocks(PAGE, "p.md") == [
        Block("p.md", 5, "bash", "echo hidden\n", hidden=True),
        Block("p.md", 9, "python", "print(1)\n"),
        Block("p.md", 14, "console", "$ autotune\n", skip="needs a TPU"),
        Block("p.md", 21, "text", "shown\n  indented\n"),
        Block("p.md", 26, "python", "# <!-- test: skip no comment either -->\n", file="a/b.py"),
    ]
    assert needed_modules(PAGE) == ["libtpu"]


def test_a_reader_sees_no_comment() -> None:
    shown = without_comments("a\n<!-- test: hidden bash\nx\n-->\n\n<!-- test: skip y -->\n```bash\nz\n```\n")
    assert shown == "a\n\n```bash\nz\n```\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nx\n```\n", "line 2: a code block of language ''"),
        ("```ruby\nx\n```\n", "expected one of bash, console"),
        ("<!-- test: skip -->\n```bash\nx\n```\n", "unknown comment for a test: 'skip'"),
        ("<!-- test: later -->\n```bash\nx\n```\n", "unknown comment for a test: 'later'"),
        ("<!-- test: skip why -->\n\n```bash\nx\n```\n", "stands above no block"),
        ("<!-- test: skip why -->\n<!-- test: exit 1 -->\n```bash\nx\n```\n", "stands above no block: 'skip why'"),
        ('<!-- test: exit 1 -->\n```python title="x"\nx\n```\n', "a file is only saved"),
        ("<!-- test: skip why -->\n", "stands above no block"),
    ],
)
def test_what_a_test_would_miss_is_refused(text: str, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        blocks(text, "p.md")
