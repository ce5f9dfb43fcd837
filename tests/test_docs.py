"""The documentation: every code block of every page is run, as a reader would run it but with less of everything."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from website.blocks import DATA, Block, blocks, needed_modules

DOCS = REPO_ROOT / "docs"
TEXTS = {path.relative_to(DOCS).as_posix(): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
BLOCKS = {page: blocks(text, page) for page, text in TEXTS.items()}
SKIPPED = [block for page in BLOCKS.values() for block in page if block.skip]
MOST_SKIPPED = 4
"""Blocks that cannot run in a test, on all pages together."""

SLOW = ("collecting.md", "extending.md", "jax.md", "keras.md", "tour.md", "training.md")
SECONDS = 200
"""That a page may take, on a machine that is busy with other things."""


def _runs(block: Block) -> bool:
    return not block.skip and (block.language not in DATA or bool(block.file))


def _cases() -> Iterator[object]:
    for page, found in BLOCKS.items():
        if any(map(_runs, found)):
            yield pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has: a checkout with its virtual environment."""
    shutil.copytree(REPO_ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.autotune"))
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize("page", [*_cases()])
def test_the_code_of_a_page_runs(page: str, folder: Path) -> None:
    for module in needed_modules(TEXTS[page]):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{page} needs the module {module}, which is not installed here")
    environment = os.environ | {
        "DOCS_PORT": str(_free_port()),
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPO_ROOT),
        "REPO_ROOT": str(REPO_ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-m", "tests.docs_child", str(DOCS / page)]
    log = folder / "log"  # a pipe would stay open as long as a server that the page starts
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as child,
    ):
        try:
            child.wait(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and the servers
    print(log.read_text())
    assert child.returncode == 0, log.read_text()


@pytest.mark.parametrize("block", SKIPPED, ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_that_cannot_run_here(block: Block) -> None:
    pytest.skip(f"1 of {len(SKIPPED)} blocks of the documentation that are not run: {block.skip}")


def test_few_blocks_are_not_run() -> None:
    assert len(SKIPPED) <= MOST_SKIPPED


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port: int = server.getsockname()[1]
    return port
