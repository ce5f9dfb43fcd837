"""The report of a real search in a real browser: no errors, no network, everything there and in its place."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import hlo_texts
from tests.report import folders

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECTIONS = ["result", "search", "model", "failures", "instructions", "layouts", "graph", "about"]


@dataclass
class Opened:
    """A page, and what it did."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


def open_report(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light", phone: bool = False) -> Opened:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=phone, offline=True
    )
    opened = Opened(context.new_page())
    opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(path.as_uri())
    opened.page.wait_for_selector("#chart-search .main-svg")
    return opened


def search(folder: Path, *options: object) -> Path:
    """A real search by the command, with `--report`."""
    model = folder / "model.hlo"
    model.write_text(hlo_texts.matrix_product(256, 256, 128, bias_and_tanh=True))
    command = [sys.executable, "-m", "autotune.cli", "search", model, "--space", "layout", "--budget", "5"]
    command += ["--database", folder / "db.sqlite", "--report", *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    return folder / "model.autotune"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return search(tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="module")
def estimated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    return search(tmp_path_factory.mktemp("tpu"), "--target", "tpu:v5e")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from autotune.report.writing import write_report

    folder = folders.write(tmp_path_factory.mktemp("hand") / "r", explained=folders.explanation())
    write_report(folder)
    return folder


@pytest.fixture(params=["measured", "estimated", "by_hand"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def tau_by_hand(folder: Path) -> float:
    """Kendall's tau-b, pair by pair."""
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    points = [(each["score"], each["relative_to_default"]) for each in lines if each["kind"] != "failed"]
    signs = [(_sign(a[0] - b[0]), _sign(a[1] - b[1])) for a, b in itertools.combinations(points, 2)]
    difference = sum(first * second for first, second in signs)
    untied = [sum(1 for pair in signs if pair[side]) for side in (0, 1)]
    return difference / math.sqrt(untied[0] * untied[1]) if all(untied) else math.nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def test_no_errors_no_network_every_section_and_the_right_tau(browser: Any, folder: Path) -> None:
    report = folder / "report.html"
    opened = open_report(browser, report)
    page = opened.page
    assert opened.complaints == []
    assert opened.requests == [report.as_uri()]
    sections = page.eval_on_selector_all("section", "all => all.map(each => each.id)")
    assert [name for name in sections if name != "tiles"] == SECTIONS
    assert all(page.locator(f"#{name}").is_visible() for name in SECTIONS)
    for chart in page.eval_on_selector_all(".chart", "all => all.map(each => each.id)"):
        assert page.locator(f"#{chart} .main-svg").count() > 0, chart
    shown = float(page.get_attribute("#tau", "data-tau"))
    assert shown == pytest.approx(tau_by_hand(folder), nan_ok=True)
    if not math.isnan(shown):
        assert page.inner_text("#tau") == f"{shown:+.2f}"
    drawn = page.evaluate("document.getElementById('chart-search').data[0].x.length")
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    assert drawn == sum(json.loads(line)["kind"] != "failed" for line in lines)
    page.context.close()


def test_text_from_programs_stays_text(browser: Any, by_hand: Path) -> None:
    opened = open_report(browser, by_hand / "report.html")
    assert opened.page.inner_text("h1") == f"{folders.NASTY} on cpu"
    assert opened.page.locator("img").count() == 0
    opened.page.context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2000])
def test_nothing_is_wider_than_the_screen(width: int, browser: Any, folder: Path) -> None:
    page = open_report(browser, folder / "report.html", width=width, phone=width < 500).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for chart in page.locator(".chart").all():
        box = chart.bounding_box()
        inner = chart.locator(".main-svg").first.bounding_box()
        assert box["x"] - 1 <= inner["x"]
        assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
    page.context.close()


def test_dark_mode_reaches_the_figures_also_while_the_page_is_open(browser: Any, by_hand: Path) -> None:
    page = open_report(browser, by_hand / "report.html").page

    def colours() -> tuple[str, str]:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        line = page.evaluate("document.getElementById('chart-search').data[1].line.color")
        return background, line

    assert colours() == ("rgb(246, 247, 249)", "#2563c9")
    page.emulate_media(color_scheme="dark")
    deadline = time.monotonic() + 10  # `wait_for_function` evaluates a string, which the page forbids
    while colours()[1] != "#6ea5ff" and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert colours() == ("rgb(16, 19, 23)", "#6ea5ff")
    page.context.close()


def test_printing_a_dark_page_is_light_complete_and_leaves_no_trace(browser: Any, by_hand: Path) -> None:
    opened = open_report(browser, by_hand / "report.html", scheme="dark")
    page = opened.page
    page.evaluate("""() => {
        window.seen = {};
        window.addEventListener("beforeprint", () => {
            window.seen.width = document.getElementById("chart-search").layout.width;
            window.seen.ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
            window.seen.closed = document.querySelectorAll("details:not([open])").length;
        });
    }""")
    closed = page.evaluate("document.querySelectorAll('details:not([open])').length")
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.seen") == {"width": 660, "ink": "#16191d", "closed": 0}
    assert page.evaluate("document.documentElement.dataset.print === undefined")
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == closed
    assert opened.complaints == []
    page.context.close()
