"""`autotune report` as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import ToolchainError
from autotune.report import writing
from tests.report import folders


def autotune(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autotune.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_report(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r", explained=folders.explanation())
    done = autotune("report", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"report: {folder / 'report.html'}\n"
    done = autotune("report", folder, "-o", tmp_path / "x.html", "--json")
    assert json.loads(done.stdout) == {"report": str(tmp_path / "x.html")}
    assert (tmp_path / "x.html").stat().st_size > 1_000_000, "plotly.js is in it"


def test_bad_folders_end_with_exit_code_1_and_a_sentence(tmp_path: Path) -> None:
    done = autotune("report", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: expected the folder that a search writes")
    folder = folders.write(tmp_path / "r")
    (folder / "best.json").write_text("{")
    done = autotune("report", folder, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["message"].startswith(f"{folder / 'best.json'}: expected JSON")
    done = autotune("report", folders.write(tmp_path / "s"), "-o", tmp_path / "no" / "x.html")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "-o" in done.stderr
    assert autotune("report").returncode == 2


def test_missing_packages_are_named_before_a_search_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "plotly" else object())
    with pytest.raises(
        ToolchainError, match=r"need Plotly, .* \(plotly not found\); run: pip install 'xla-autotune\[report\]'"
    ):
        writing.require_packages()
