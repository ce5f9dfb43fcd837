"""Two searches on one machine take two cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autotune.targets.cores import ReservedCore

CODE = """
from autotune.targets.cores import ReservedCore
core = ReservedCore()
print(core.number, core.shared, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_each_process_gets_a_core_while_there_are_any() -> None:
    cores = len(os.sched_getaffinity(0))
    processes = [
        subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(cores)
    ]
    try:
        answers = [process.stdout.readline().split() for process in processes if process.stdout is not None]
        assert len({number for number, _ in answers}) == cores
        assert {shared for _, shared in answers} == {"False"}
        late = ReservedCore()
        assert late.shared, "when all are taken, one is shared"
    finally:
        for process in processes:
            process.communicate("\n", timeout=60)
    again = ReservedCore()
    assert not again.shared, "a reservation ends with its process"
    again.release()
