"""`autotune collect --ray` as a user runs it, with the real target, and what goes wrong before it begins."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autotune.cli import app
from tests import hlo_texts
from tests.rows import committed

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'xla-autotune[cluster]'"
)
CONFIGS = 12


def _arguments(folder: Path, *more: str) -> list[str]:
    program = folder / "dots__two.hlo"
    program.write_text(hlo_texts.TWO_DOTS)
    out = ["--out", str(folder / "out"), "--database", str(folder / "evaluations.sqlite")]
    return ["collect", str(program), "--space", "layout", "--configs", str(CONFIGS), "--least-spread=1", *out, *more]


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, _arguments(tmp_path, "--ray=auto"))
    assert done.exit_code == 5
    assert "--ray needs Ray (ray not found); run: pip install 'xla-autotune[cluster]'" in done.stderr


@needs_ray
def test_without_a_cluster(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address, words in ((f"127.0.0.1:{port}", "refused"), (f"ray://127.0.0.1:{port}", "refused"), ("x", "x")):
        done = CliRunner().invoke(app, _arguments(tmp_path, "--ray", address))
        assert done.exit_code == 7, done.output
        assert f"--ray {address}: no Ray cluster answers (" in done.stderr
        assert words in done.stderr


@needs_ray
def test_servers_share_work_by_themselves(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, _arguments(tmp_path, "--ray=auto", "--target=grpc://host:1"))
    assert done.exit_code == 1
    assert "--ray with --target grpc://host:1: expected cpu, tpu or tpu:<generation>" in done.stderr


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "autotune.cli", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores, one for each of two workers")
def test_measured_interrupted_killed_and_finished(cluster: Any, tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, "--ray", cluster.address)
    database = tmp_path / "evaluations.sqlite"
    for sign, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = committed(database)
        collecting = _start(arguments)
        deadline = time.monotonic() + 120
        while len(committed(database)) <= len(before) + 1 and time.monotonic() < deadline and collecting.poll() is None:
            time.sleep(0.01)
        os.killpg(collecting.pid, sign)
        _, stderr = collecting.communicate(timeout=100)
        assert collecting.returncode == code, stderr
        assert "Traceback" not in stderr
        assert committed(database)[: len(before)] == before
    survived = committed(database)
    finished = _start(arguments)
    stdout, stderr = finished.communicate(timeout=200)
    assert finished.returncode == 0, stderr
    final = committed(database)
    assert final[: len(survived)] == survived
    assert len(final) == len(set(final)) == CONFIGS + 1, "the default and the configs, each once over all runs"
    record = json.loads(stdout)["programs"]["dots__two"]
    assert (record["label"], record["configs"], record["reused"]) == ("measured", CONFIGS + 1, len(survived))
    assert record["failed"] == {}


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu, the TPU compiler")
def test_tiles_of_kernels_from_a_cluster_of_this_host(tmp_path: Path) -> None:
    for name in ("a__one", "b__same"):
        (tmp_path / f"{name}.hlo").write_text(hlo_texts.matrix_product(256, 512, 256))
    programs = [str(tmp_path / "a__one.hlo"), str(tmp_path / "b__same.hlo")]
    found = []
    for which, more in (("here", []), ("cluster", ["--ray=local", "--workers=1"])):
        out = ["--out", str(tmp_path / which), "--database", str(tmp_path / "evaluations.sqlite")]
        run = _start(["collect", *programs, "--space=tile", "--target=tpu:v5e", "--least-spread=1", *out, *more])
        stdout, stderr = run.communicate(timeout=250)
        assert run.returncode == 0, stderr
        records = json.loads(stdout)["programs"]
        written = sorted(path.name for path in (tmp_path / which / "tile-tpu-v5e/protos").iterdir())
        found.append((sum(each["configs"] for each in records.values()), [name.partition("__")[2] for name in written]))
        assert {each["kernels_equal_to_others"] for each in records.values()} == {0, 1}
    assert found[0][0] == found[1][0] > 1
    assert len(found[0][1]) == len(found[1][1]) == 1
