"""What is put into pages: it is what stands in the checkpoints, in the command line and in the results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.cli import app
from autotune.terminal import EXIT_CODES
from cost_model.base import shipped_checkpoints
from cost_model.checkpoint import read_checkpoint
from website.cards import cards_section
from website.commands import commands_section
from website.hooks import SECTIONS, on_page_markdown
from website.markdown import number, rows_tables, table
from website.numbers import numbers_section

RESULTS = Path("benchmarks") / "results"


def test_every_mark_is_replaced() -> None:
    page = "".join(f"<!-- generated: {name} -->\n" for name in SECTIONS)
    text = on_page_markdown(f"# Title\n<!-- test: skip x -->\n{page}")
    assert "<!--" not in text
    assert len(text) > 1000


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_a_card_is_shown_as_it_is(name: str, repo_root: Path) -> None:
    card, _ = read_checkpoint(shipped_checkpoints()[name])
    text = cards_section(repo_root / RESULTS).partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert f"**{card.label_kind}**" in text
    assert ({"measured", "estimated"} - {card.label_kind}).pop() + "**" not in text
    for data in card.training_data:
        assert f"{data.graphs:,} programs, {data.configs:,} configs of {len(data.families)} families" in text
    for judged in card.metrics.values():
        assert f"{judged['tau']:.3f}" in text
        assert all(family in text for family in judged["families"])


def test_baselines_stand_beside_a_card(repo_root: Path) -> None:
    document = json.loads((repo_root / RESULTS / "tau_vs_analytical.json").read_text())
    text = cards_section(repo_root / RESULTS)
    for row in document["rows"]:
        assert f"| {row['ranker']} | {row['tau']:.3f} |" in text


def test_every_command_and_option_is_there() -> None:
    text = commands_section()
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        assert f"## autotune {name}\n" in text
    assert "### autotune servers status\n" in text
    assert "| `--budget` N | Configs to evaluate besides the default, those in the database included." in text
    assert "| `--reuse` / `--no-reuse`, `--repeat` |" in text
    assert all(f"| {code} |" in text for code in (0, 1, 2, *EXIT_CODES.values(), 130))


def test_every_result_is_there(repo_root: Path) -> None:
    text = numbers_section(repo_root / RESULTS)
    for path in (repo_root / RESULTS).glob("*.json"):
        part = text.partition(f"## {path.stem}\n")[2].partition("\n## ")[0]
        document = json.loads(path.read_text())
        assert document["machine"] in part
        for row in document["rows"]:
            for value in row.values():
                if value is not None:
                    assert number(value).replace("|", "\\|").replace("\n", " ") in part


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (0.123456, "0.1235"),
        (-0.5, "-0.5"),
        ({"a": 1, "b": 0.25}, "a 1, b 0.25"),
        ("text", "text"),
    ],
)
def test_numbers_as_people_read_them(value: object, shown: str) -> None:
    assert number(value) == shown


def test_tables() -> None:
    assert table(("a", "b"), [("1|2", "x\ny")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | x y |\n"
    # the second row has no column of its own, the third one has
    assert rows_tables([{"a": 1, "b_c": 2}, {"a": 3}, {"a": 4, "d": 5}]) == (
        "| a | b c |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |\n\n| a | d |\n| --- | --- |\n| 4 | 5 |\n"
    )
