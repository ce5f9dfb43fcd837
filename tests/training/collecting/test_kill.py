"""`autotune collect` on XLA:CPU, killed and continued: nothing is evaluated twice, and the end is the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cost_model.npz import read_npz
from tests import hlo_texts
from tests.rows import committed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGS = 8


def _command(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "autotune.cli", "collect", str(folder / "dots__two.hlo"), "--space", "layout"),
        *("--configs", str(CONFIGS), "--out", str(folder / "out"), "--least-spread", "1"),
        *("--database", str(folder / "evaluations.sqlite"), "--json"),
    ]


def test_killed_collections_add_up_to_one(tmp_path: Path) -> None:
    (tmp_path / "dots__two.hlo").write_text(hlo_texts.TWO_DOTS)
    database = tmp_path / "evaluations.sqlite"
    for moment in (0.0, 0.3):
        before = committed(database)
        with subprocess.Popen(_command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as collecting:
            deadline = time.monotonic() + 120
            while len(committed(database)) <= len(before) and time.monotonic() < deadline and collecting.poll() is None:
                time.sleep(0.01)
            time.sleep(moment)
            collecting.send_signal(signal.SIGKILL)
        assert committed(database)[: len(before)] == before
    survived = committed(database)
    finished = subprocess.run(_command(tmp_path), capture_output=True, text=True, timeout=200, check=False)
    assert finished.returncode == 0, finished.stderr
    final = committed(database)
    assert final[: len(survived)] == survived
    assert len(final) == len(set(final)) == CONFIGS + 1, "the default and the configs, each once over all runs"
    record = json.loads(finished.stdout)["programs"]["dots__two"]
    assert record["reused"] == len(survived)
    assert (record["label"], record["configs"]) == ("measured", CONFIGS + 1)
    arrays = read_npz(tmp_path / "out/layout-cpu" / record["file"])
    assert arrays.runtimes is not None
    assert len(arrays.runtimes) == record["rows"] == CONFIGS + 1 - record["merged_duplicates"]
