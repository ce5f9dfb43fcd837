"""`autotune train` on two hosts, which are two groups of processes here that find each other by TCP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cost_model.checkpoint import read_checkpoint
from tests.training.trainings import COLLECTION, SMALL, write_programs
from training.journal import TABLE
from training.trainer import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    write_programs(folder)
    return folder


def _train(programs: Path, out: Path, *more: str) -> list[str]:
    data = ["--data", str(programs), "--store", str(programs / "store"), "--out", str(out), "--device", "cpu"]
    # few iterations: the sums of gradients round differently, and ReLUs make more of it every step
    settings = [
        "--iterations=8",
        "--workers=0",
        *(f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()),
    ]
    return ["autotune.cli", "train", COLLECTION, *data, *settings, *more]


def _run(commands: list[list[str]], environments: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Run processes at the same time; what they printed."""
    outer = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "NODE_RANK")}
    running = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=outer | {"OMP_NUM_THREADS": "1"} | environment,
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    printed = [each.communicate(timeout=250) for each in running]
    assert [each.returncode for each in running] == [0] * len(running), printed
    return printed


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_two_hosts_train_what_one_does(programs: Path, tmp_path: Path) -> None:
    _run([[sys.executable, "-m", *_train(programs, tmp_path / "one")]], [{}])
    weights = read_checkpoint(tmp_path / "one" / MODEL)[1]
    port = _free_port()
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
    training = _train(programs, tmp_path / "torchrun", "--nodes=2")
    torchrun = [[*TORCHRUN, *meeting, f"--node-rank={node}", "-m", *training] for node in (0, 1)]
    ours = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    lightning = [[sys.executable, "-m", *_train(programs, tmp_path / "lightning", "--nodes=2")]] * 2
    hosts: list[dict[str, str]] = [ours | {"NODE_RANK": "0"}, ours | {"NODE_RANK": "1"}]
    nothing: list[dict[str, str]] = [{}, {}]
    for name, commands, environments in (("torchrun", torchrun, nothing), ("lightning", lightning, hosts)):
        printed = _run(commands, environments)
        assert sum(stdout.count("parameters") for stdout, _ in printed) == 1, "the second host keeps quiet"
        found = read_checkpoint(tmp_path / name / MODEL)[1]
        for key, expected in weights.items():
            np.testing.assert_allclose(found[key], expected, rtol=1e-3, atol=1e-5)
        assert (tmp_path / name / TABLE).read_text().count("\n") == 3  # heading, iteration 8, its tau


def test_torchrun_with_other_numbers(programs: Path, tmp_path: Path) -> None:
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "-m", *_train(programs, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode != 0
    assert "found that torchrun has started 2, 2 of them on this host" in done.stderr
    assert "or use --nodes 1 --devices 2" in done.stderr
