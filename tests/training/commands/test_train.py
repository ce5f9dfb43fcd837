"""`autotune train` as a user runs it: in a process, killed and started again, and as two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autotune.cli import app
from cost_model.checkpoint import read_checkpoint
from tests.training.data_sets import layouts, write
from tests.training.trainings import COLLECTION, SMALL, write_programs
from training.callbacks import LAST
from training.journal import TABLE
from training.trainer import MODEL

SETTINGS = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    write_programs(folder)
    return folder


def _arguments(programs: Path, out: Path, *more: str, iterations: int) -> list[str]:
    data = ["--data", str(programs), "--store", str(programs / "store"), "--out", str(out), "--device", "cpu"]
    return ["train", COLLECTION, *data, "--iterations", str(iterations), *SETTINGS, *more]


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autotune.cli", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def _weights(out: Path) -> dict[str, np.ndarray]:
    return dict(read_checkpoint(out / MODEL)[1])


def test_a_model_and_what_it_is_worth(programs: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, _arguments(programs, tmp_path / "out", "--judge-every=10", "--json", iterations=20))
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["iterations"], facts["resumed_at"]) == (20, 0)
    assert facts["validation"]["split"] == "valid"
    assert [graph["name"] for graph in facts["validation"]["graphs"]] == ["p0", "p1"]
    assert Path(facts["model"]) == tmp_path / "out" / MODEL
    again = CliRunner().invoke(app, _arguments(programs, tmp_path / "out", "--judge-every=10", iterations=20))
    assert again.exit_code == 0
    assert "this training was finished before: nothing was left to do" in again.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set=loss.margins=1"], "loss.margins: expected one of collection, "),
        (["--set=collection=tile:xla"], "architecture.config_features: expected"),
        (["--variant=paper"], "--variant: expected readme or code, found 'paper'"),
        (["--device=tpu"], "--device: expected auto, cpu or cuda, found 'tpu'"),
        (["--device=cuda", "--devices=99"], "devices: expected at most the"),
        (["--precision=float16"], "precision: expected"),
        (["--devices=3"], "slates: expected a multiple of the 3 processes"),
    ],
)
def test_wrong_options(programs: Path, tmp_path: Path, more: list[str], message: str) -> None:
    if more == ["--devices=3"]:  # checked where the processes are known
        process = _start(_arguments(programs, tmp_path / "out", *more, iterations=2))
        _, stderr = process.communicate(timeout=240)
        assert (process.returncode, "Traceback" in stderr) == (1, False)
    else:
        done = CliRunner().invoke(app, _arguments(programs, tmp_path / "out", *more, iterations=2))
        assert done.exit_code == 1
        stderr = done.stderr
    assert message in stderr


def test_only_programs_with_damaged_labels(tmp_path: Path) -> None:
    write(tmp_path, COLLECTION, "train", "unet3d", layouts(0, 1, 2), [10, 20, 30])
    done = CliRunner().invoke(app, _arguments(tmp_path, tmp_path / "out", iterations=2))
    assert done.exit_code == 1
    assert "found only ones that are left out (unet3d)" in done.stderr


@pytest.mark.slow
def test_killed_and_started_again_it_makes_the_same_model(programs: Path, tmp_path: Path) -> None:
    arguments = _arguments(programs, tmp_path / "killed", "--checkpoint-every=20", iterations=400)
    process = _start(arguments)
    deadline = time.monotonic() + 240
    while not (tmp_path / "killed" / LAST).exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (tmp_path / "killed" / MODEL).exists()
    whole = _start(_arguments(programs, tmp_path / "whole", "--checkpoint-every=20", iterations=400))
    resumed = _start([*arguments, "--json"])
    outputs = [each.communicate(timeout=240) for each in (whole, resumed)]
    assert [each.returncode for each in (whole, resumed)] == [0, 0], outputs
    assert 20 <= json.loads(outputs[1][0])["resumed_at"] < 400
    killed, one = _weights(tmp_path / "killed"), _weights(tmp_path / "whole")
    assert all(np.array_equal(killed[name], one[name]) for name in one)


@pytest.mark.slow
def test_two_processes_train_what_one_does(programs: Path, tmp_path: Path) -> None:
    # few iterations: the sums of gradients round differently, and ReLUs make more of it every step
    runs = {name: _arguments(programs, tmp_path / name, *more, iterations=8) for name, more in (
        ("one", ()), ("two", ("--devices=2", "--workers=0")),
    )}  # fmt: skip
    for arguments in runs.values():
        process = _start(arguments)
        stdout, stderr = process.communicate(timeout=280)
        assert process.returncode == 0, stderr
        assert stdout.count("parameters") == 1  # the second process keeps quiet
    one, two = (_weights(tmp_path / name) for name in runs)
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, rtol=1e-3, atol=1e-5)
    assert (tmp_path / "two" / TABLE).read_text().count("\n") == 3  # heading, iteration 8, its tau
