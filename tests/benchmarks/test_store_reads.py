from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import store_reads
from tests.training.data_sets import layouts, write


def test_all_ways_read_the_same_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_reads, "READS", dict.fromkeys(store_reads.READS, 3))
    kinds = [1, 2, 1, 3, 4, 2]
    npz = write(tmp_path, "layout:xla:default", "train", "model", layouts(*kinds), range(1, 7))
    (tmp_path / "work").mkdir()
    rows = store_reads.measure("model", npz, tmp_path / "work", rounds=2)  # checks that they agree
    assert [row["way"] for row in rows] == list(store_reads.READS)
    assert rows[1]["bytes"] == npz.stat().st_size
    with np.load(tmp_path / "work/repacked.npz") as repacked:
        assert repacked["num_configs"].tolist() == [6]
        assert [int(repacked[f"node_config_feat_{index}"][0, 0]) for index in range(6)] == kinds
        assert repacked["config_runtime"].tolist() == [1, 2, 3, 4, 5, 6]
        assert "node_config_feat" not in repacked
