"""What the page says, and that text from programs stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from autotune.report import words
from autotune.report.page import failure_rows, headline, headline_rows, lead, render
from autotune.report.reading import read_folder
from autotune.report.writing import write_report
from tests.report import folders


def page(tmp_path: Path, kind: str = "measured", **changes: Any) -> str:
    facts = folders.best(kind, **changes)
    return render(
        read_folder(folders.write(tmp_path / "r", facts, folders.evaluations(kind), folders.explanation(kind)))
    )


def own_text(html: str) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_text_from_programs_is_escaped(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert folders.NASTY not in html
    assert "<img src=x" not in html
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;{{ 7*7 }}" in html
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", html, re.DOTALL)[0]
    charts = json.loads(re.findall(r'id="charts">(.*?)</script>', html, re.DOTALL)[0])
    labels = charts["instructions"]["layout"]["yaxis"]["ticktext"]
    assert not any("<img" in label or "</script" in label for label in labels), "Plotly reads HTML in labels"


def test_nothing_is_asked_of_a_network(tmp_path: Path) -> None:
    html = own_text(page(tmp_path))
    assert not re.findall(r'(?:src|href)\s*=\s*"(?!data:|#)', html)
    assert "default-src 'none'" in html


def test_every_section_is_there(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert re.findall(r'<section id="(\w+)"', html) == [
        "result", "search", "model", "failures", "instructions", "layouts", "graph", "about",
    ]  # fmt: skip


def test_a_measured_result(tmp_path: Path) -> None:
    html = own_text(page(tmp_path))
    assert "1.25x faster" in html
    assert f'data-tau="{folders.TAU}"' in html
    assert "compiler cycles" not in html
    assert "2 fewer copies and transposes (3 → 1), 2 kB less written by them (3 kB → 1 kB)." in html
    assert "{1,0} → {0,1}" in html


def test_an_estimated_result_is_never_called_measured_and_says_what_its_numbers_are(tmp_path: Path) -> None:
    html = own_text(page(tmp_path, "estimated", verdict="1.250x fewer cycles than the default: estimated"))
    assert "1.250x fewer cycles" in html
    assert "estimated: compiler cycles" in html
    text = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "measured" not in text
    assert " ms" not in text
    assert "10,000" in html


def test_rows_at_the_top(tmp_path: Path) -> None:
    result = read_folder(folders.write(tmp_path / "r"))
    assert [(row.label, row.kind, row.value, row.spread, row.relative) for row in headline_rows(result)] == [
        ("default", "measured", "2.000 ms", "3.1%", "1.00x"),
        ("best", "measured", "1.600 ms", "3.1%", "1.25x"),
    ]


def test_no_difference_is_the_headline_where_nothing_beats_the_noise(tmp_path: Path) -> None:
    verdict = "no difference found (nothing beats the default by more than the noise of 5.0%): use the default"
    facts = folders.best(improved=False, speedup=1.0, verdict=verdict, best=folders.measured(folders.DEFAULT_ID, 1.0))
    result = read_folder(folders.write(tmp_path / "r", facts))
    assert headline(result) == "No difference found"
    assert lead(result) == "Nothing beats the default by more than the noise of 5.0%: use the default."
    assert [row.label for row in headline_rows(result)] == ["default", "fastest other"]
    assert "which is not taken" not in own_text(render(result)), "there is no explanation"


def test_a_small_gain_in_cycles_is_not_called_1_000x(tmp_path: Path) -> None:
    facts = folders.best("estimated", speedup=330_006 / 329_872)
    result = read_folder(folders.write(tmp_path / "r", facts, folders.evaluations("estimated")))
    assert headline(result) == "0.04% fewer cycles"


def test_failures_by_reason(tmp_path: Path) -> None:
    lines = [
        *folders.evaluations(),
        folders.failed("5" * 16, "wrong result", "off by 1"),
        folders.failed("6" * 16, "wrong result", "off by 2"),
    ]
    rows = failure_rows(read_folder(folders.write(tmp_path / "r", lines=lines)))
    assert [(row.reason, row.count, row.example[:8]) for row in rows] == [
        ("wrong result", 2, "off by 1"),
        ("compile error", 1, "no such "),
    ]


@pytest.mark.parametrize("missing", ["explanation", "costs", "scores", "everything failed"])
def test_what_is_not_known_is_said(missing: str, tmp_path: Path) -> None:
    lines, explained = folders.evaluations(), None
    if missing == "costs":
        explained = folders.explanation(missing="the compiler is asleep", default=None, tuned=None)
    if missing == "scores":
        lines = [line | {"score": None} for line in lines]
    if missing == "everything failed":
        lines = [lines[0], lines[2]]
    html = own_text(render(read_folder(folders.write(tmp_path / "r", lines=lines, explained=explained))))
    expected = {
        "explanation": "The same search again, with this version, adds it",
        "costs": "Not known: the compiler is asleep.",
        "scores": "fewer than two evaluations have a score",
        "everything failed": "1 of 2 evaluations have no number",
    }
    assert expected[missing] in html


def test_the_report_is_one_file_beside_the_result_or_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r")
    assert write_report(folder) == folder / "report.html"
    other = tmp_path / "other.html"
    assert write_report(folder, other) == other
    assert other.read_bytes() == (folder / "report.html").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["best.json", "evaluations.jsonl", "report.html"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.seconds(1.5), "1.500 s"),
        (words.seconds(0.0034589), "3.459 ms"),
        (words.seconds(2.5e-6), "2.5 µs"),
        (words.cost(57694.0, "compiler cycles"), "57,694"),
        (words.cost(1e-4, "seconds"), "100.0 µs"),
        (words.size(851968), "852 kB"),
        (words.size(12), "12 B"),
        (words.points("48"), "48 configs"),
        (words.points("1" + "0" * 40), "about 10⁴⁰ configs"),
        (words.order((1, 0)), "{1,0}"),
        (words.operation("jit(train_step)/transpose(jvp(dense_5))/dot_general", 24), "grad dense_5/dot_general"),
        (words.operation("jit(f)/jit(main)/jvp(dense_5)/dot_general", 24), "dense_5/dot_general"),
        (words.operation("jit(f)/a/very/long/scope/dot_general", 14), "…e/dot_general"),
        (words.operation("fusion.3", 14), "fusion.3"),
        (words.shortened("abcdefghij", 10), "abcdefghij"),
        (words.shortened("abcdefghijk", 10), "abc…fghijk"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert text == expected
