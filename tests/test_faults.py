"""A whole search while its children hang, abort and are killed: each fault costs one evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import api
from autotune.targets.cpu import CpuTarget
from tests import programs
from tests.rows import committed
from tests.targets.faults import faulty

pytestmark = pytest.mark.slow


def test_a_search_goes_on_after_every_kind_of_fault(tmp_path: Path) -> None:
    database = tmp_path / "evaluations.sqlite"
    plan = {2: "hang", 4: "abort", 5: "kill", 7: "crash while running"}  # 1 is the default
    with CpuTarget(**faulty(plan, tmp_path)) as target:
        result = api.search(programs.two_dots(), target=target, database=database, budget=8)
    assert result.counts == {"measured": 5, "estimated": 0, "failed": 4}
    assert result.failures == {
        "compile timed out": 1,
        "compiler crashed": 1,
        "killed from outside": 1,
        "run crashed": 1,
    }
    assert result.stopped == "budget used up"
    assert result.comparison is not None
    assert len(committed(database)) == 9, "every evaluation, failed ones included, is in the database"
    with CpuTarget() as target:
        again = api.search(programs.two_dots(), target=target, database=database, budget=8)
    assert again.reused == 7, "the one that was killed from outside is tried again, the others are remembered"
