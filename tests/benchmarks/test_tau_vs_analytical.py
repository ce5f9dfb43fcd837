"""The benchmark on a miniature collection."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import tau_vs_analytical
from tests.own_collection import NAME, write_collection


def test_every_ranker_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_collection(tmp_path / "data")
    table = tmp_path / "table.json"
    options = ["--folds", "3", "--seeds", "1", "--iterations", "60", "--members", "2"]
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path / "data"), *options, "--json", str(table)])
    tau_vs_analytical.main()
    rows = {row["ranker"]: row for row in json.loads(table.read_text())["rows"]}
    assert set(rows) == {
        *("analytical:tpu-v5e", "padded copy bytes", "decided tensors", "descriptors", "boosted trees", "ridge"),
    }
    for row in rows.values():
        assert (row["collection"], row["label"], row["programs"], row["families"]) == (NAME, "estimated", 6, 6)
        assert row["tau_low"] <= row["tau"] <= row["tau_high"]
        assert row["top_1"] >= row["top_5"] >= 1
    # Costs are the number of tensors in another order, which both know.
    assert rows["padded copy bytes"]["tau"] > 0.5
    assert rows["descriptors"]["tau"] > 0.5
    assert rows["ridge"]["better_by"] == pytest.approx(rows["descriptors"]["tau"] - rows["ridge"]["tau"])
