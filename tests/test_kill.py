"""kill -9 at random moments: nothing that was committed is lost, and the budget holds in total."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.database import Database
from tests import hlo_texts
from tests.rows import committed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BUDGET = 14


def _command(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "autotune.cli", "search", str(folder / "model.hlo")),
        *("--budget", str(BUDGET), "--database", str(folder / "evaluations.sqlite"), "--json"),
    ]


def test_killed_searches_add_up_to_one(tmp_path: Path) -> None:
    (tmp_path / "model.hlo").write_text(hlo_texts.TWO_DOTS)
    database = tmp_path / "evaluations.sqlite"
    rng = random.Random(11)
    for _ in range(4):
        before = committed(database)
        with subprocess.Popen(_command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as search:
            # Wait until it has recorded something, then for a moment that may fall anywhere in an evaluation.
            deadline = time.monotonic() + 120
            while len(committed(database)) <= len(before) and time.monotonic() < deadline and search.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
            search.send_signal(signal.SIGKILL)
        after = committed(database)
        assert after[: len(before)] == before, "every committed evaluation is still there"
    survived = committed(database)
    finished = subprocess.run(_command(tmp_path), capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    final = committed(database)
    assert final[: len(survived)] == survived
    assert len(final) == len(set(final)), "no config was evaluated twice"
    assert len(final) == BUDGET + 1, "the budget and the default, over all five runs together"
    assert result["search"]["reused"] == len(survived) - 1
    with Database.open(database) as opened:
        assert len(opened.programs()) == 1
