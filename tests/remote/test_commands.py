"""`autotune serve`, `autotune servers status` and `autotune search --target grpc://...` as a user runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import hlo_texts
from tests.remote.server_process import server
from tests.remote.test_security import token_file
from tests.test_cli import autotune


def test_a_server_and_a_search_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "model.hlo").write_text(hlo_texts.TWO_DOTS)
    token = token_file(tmp_path)
    command = [sys.executable, "-m", "autotune.cli", "serve", "--target", "cpu", "--listen", "localhost:0"]
    command += ["--token-file", str(token), "--database", str(tmp_path / "server.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        words = serving.stdout.readline().split()
        assert words[:3] == ["serving", "cpu", "at"]
        url = words[3]
        options = ["--target", url, "--budget", 2, "--database", tmp_path / "db.sqlite", "--json"]
        done = autotune("search", tmp_path / "model.hlo", *options, "--server-token-file", token)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["evaluations"] == {"measured": 3, "estimated": 0, "failed": 0}
        assert f"evaluated by {url}" in result["program"]["notes"]
        refused = autotune("search", tmp_path / "model.hlo", *options)
        assert refused.returncode == 7
        assert "no token" in refused.stderr
        status = autotune("servers", "status", url, "--server-token-file", token, "--json")
        assert status.returncode == 0, status.stderr
        (found,) = json.loads(status.stdout)["servers"]
        assert found["target"]["name"] == "cpu"
        assert found["target"]["label"] == "measured"
        assert found["evaluations"] >= 3
        assert not found["busy"]
        serving.send_signal(signal.SIGTERM)
        _, log = serving.communicate(timeout=60)
    assert serving.returncode == 0
    assert "refused: no token" in log
    assert token.read_text().strip() not in log + done.stderr + refused.stderr


def test_status_of_servers_that_answer_and_of_one_that_does_not() -> None:
    with server() as there:
        done = autotune("servers", "status", f"{there.address},localhost:1")
    assert done.returncode == 7
    assert "known" in done.stdout
    assert "free" in done.stdout
    assert "grpc://localhost:1: unavailable" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--target", "abacus"], "target 'abacus': expected cpu"),
        (["serve", "--target", "grpc://localhost:1"], "a server serves a target of its own"),
        (["serve", "--target", "cpu", "--listen", "0.0.0.0:0"], "who reaches a server can have programs run there"),
        (["serve", "--target", "cpu", "--listen", "nowhere:x"], "expected HOST:PORT"),
        (["serve", "--target", "cpu", "--token-file", "none"], "--token-file none: cannot be read"),
        (["serve", "--target", "cpu", "--certificate", "none"], "expected both or neither"),
        (["serve", "--target", "cpu", "--certificate", "none", "--key", "none"], "none: cannot be read"),
        (["servers", "status", "localhost:x"], "expected HOST:PORT"),
        (["search", "MODEL", "--target", "grpc://localhost:x"], "expected HOST:PORT"),
        (["search", "MODEL", "--target", "grpc://a:1", "--evaluation-time-limit", "3"], "time limit of an evaluation"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    model = tmp_path / "model.hlo"
    model.write_text(hlo_texts.TWO_DOTS)
    done = autotune(*(str(model) if each == "MODEL" else each for each in arguments))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
