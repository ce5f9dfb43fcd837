"""The built site: it builds without a warning, and a browser finds it whole, on a desk and on a phone."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO_ROOT

pytestmark = pytest.mark.slow

PAGES = sorted(path.relative_to(REPO_ROOT / "docs").with_suffix(".html") for path in (REPO_ROOT / "docs").rglob("*.md"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: with --strict a broken link is an error."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module} to build the site: pip install 'xla-autotune[docs]'")
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=REPO_ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    return built


def test_every_page_is_built_and_says_nothing_for_tests_alone(site: Path) -> None:
    for page in PAGES:
        text = (site / page).read_text()
        assert "<!-- test:" not in text
        assert "<!-- generated:" not in text


def test_no_page_names_a_file_of_another_host(site: Path) -> None:
    loads = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^\s"'>]+""")
    for path in site.rglob("*.html"):
        assert not loads.findall(path.read_text()), path
    for path in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", path.read_text()), path


# ---- in a browser ----------------------------------------------------------------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Of a server of the site."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_pages_fit_ask_nobody_else_and_have_no_errors(browser: Any, address: str, width: int) -> None:
    page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda each: wrong.append(f"{each.status}: {each.url}") if each.status >= 400 else None)
    page.on("request", lambda each: None if each.url.startswith((address, "data:")) else wrong.append(each.url))
    for path in PAGES:
        page.goto(f"{address}{path}")
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert not wrong


def test_the_search_finds_a_word(browser: Any, address: str) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{address}index.html")
    page.click("input.md-search__input")
    page.locator("input.md-search__input").press_sequentially("require_cached", delay=20)
    page.wait_for_selector(".md-search-result__item", timeout=30_000)
    found = page.eval_on_selector_all(".md-search-result__link", "links => links.map(link => link.href)")
    assert any("jax.html" in link for link in found)
