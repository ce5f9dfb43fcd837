"""The commands as a user runs them: exit codes, messages, files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.cli import EXIT_CODES
from autotune.errors import ProgramReadError
from autotune.hlo.reader import read
from tests import hlo_texts
from tests.rows import committed


def autotune(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autotune.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.hlo"
    path.write_text(hlo_texts.TWO_DOTS)
    return path


@pytest.mark.slow
def test_search_leaves_a_result_that_can_be_used(model: Path, tmp_path: Path) -> None:
    done = autotune("search", model, "--budget", 3, "--database", tmp_path / "db.sqlite", "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "default" in done.stdout
    assert "4 measured" in done.stdout
    folder = tmp_path / "model.autotune"
    best = json.loads((folder / "best.json").read_text())
    assert best["target"]["label"] == "measured"
    assert best["program"]["fingerprint"] == read(model).fingerprint
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all(line["kind"] == "measured" and line["seconds"] > 0 for line in lines)
    assert read(folder / "tuned.hlo").fingerprint == read(folder / "tuned.pb").fingerprint
    again = autotune("search", model, "--budget", 3, "--database", tmp_path / "db.sqlite", "--json")
    assert json.loads(again.stdout)["search"]["reused"] == 3


@pytest.mark.slow
def test_ctrl_c_saves_the_best_so_far(model: Path, tmp_path: Path) -> None:
    command = ["search", str(model), "--budget", "500", "--database", str(tmp_path / "db.sqlite"), "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job that a shell started in the background inherits an ignored SIGINT, and so would the search.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as search:
        deadline = time.monotonic() + 120
        while len(committed(tmp_path / "db.sqlite")) < 2 and time.monotonic() < deadline and search.poll() is None:
            time.sleep(0.02)
        search.send_signal(signal.SIGINT)
        output, _ = search.communicate(timeout=60)
    assert search.returncode == 130
    result = json.loads(output)
    assert result["search"]["stopped"] == "interrupted"
    assert 0 < result["evaluations"]["measured"] < 500
    assert (tmp_path / "model.autotune" / "best.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "no/such/file.hlo"], 3, "no such file"),
        (["inspect", "no/such/file.hlo"], 3, "no such file"),
        (["search"], 2, "Missing argument"),
        (["search", "MODEL", "--budget", "0"], 2, "budget"),
        (["search", "MODEL", "--target", "abacus"], 1, "target 'abacus': expected one of cpu"),
        (["search", "MODEL", "--space", "tile"], 4, "no tile choice"),
        (["search", "MODEL", "--database", "FOLDER"], 1, "is a folder"),
        (["search", "MODEL", "--out", "MODEL/result"], 1, "is a file; choose another place with --out"),
    ],
    ids=["missing file", "missing file to inspect", "no file", "budget", "target", "space", "database", "result"],
)
def test_errors_have_documented_exit_codes_and_no_traceback(
    arguments: list[str], code: int, message: str, model: Path, tmp_path: Path
) -> None:
    names = {"MODEL": str(model), "FOLDER": str(tmp_path)}
    arguments = [names.get(argument, argument).replace("MODEL", str(model)) for argument in arguments]
    if arguments[0] == "search" and "--database" not in arguments:
        arguments += ["--database", str(tmp_path / "db.sqlite")]
    done = autotune(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_json_errors_are_json(tmp_path: Path) -> None:
    done = autotune("inspect", tmp_path / "nothing.hlo", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == EXIT_CODES[ProgramReadError]


def test_inspect_shows_the_program(model: Path) -> None:
    done = autotune("inspect", model, "--json")
    facts = json.loads(done.stdout)
    # two products of 2 * 8 * 16 * 32 and 2 * 8 * 32 * 8 operations, and a tanh of 8 * 32 elements
    assert facts["costs"]["flops"] == 2 * 8 * 16 * 32 + 2 * 8 * 32 * 8
    assert facts["instructions"] == 6
    assert facts["spaces"]["layout"] == str(3**6)
    text = autotune("inspect", model)
    assert text.returncode == 0
    assert "two_dots" in text.stdout


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys, autotune.cli\n"
        "heavy = {'jax', 'jaxlib', 'tensorflow', 'torch', 'numpy', 'google.protobuf', 'sqlite3', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
