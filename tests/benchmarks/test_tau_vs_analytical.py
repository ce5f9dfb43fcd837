"""The benchmark on a miniature collection."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tau_vs_analytical
from benchmarks.tau_vs_analytical import AGAIN, LIMIT, _learned_rankers, _measured_once_more
from benchmarks.unseen_families import certain_taus, open_collection, taus
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


def test_noise_of_the_labels_bounds_every_ranker(tmp_path: Path) -> None:
    write_collection(tmp_path / "data")
    records = tmp_path / "data" / NAME / "records"
    for number, path in enumerate(sorted(records.glob("*.json"))):
        twice = {"measured_twice_median": 0.0954}
        same = {"same_program": 0.2} | twice if number else {"same_program": None} | twice
        path.write_text(json.dumps(json.loads(path.read_text()) | {"noise": same}))
    collection = open_collection(tmp_path / "data", NAME, tmp_path / "store", members=1)
    first, *others = sorted(collection.programs, key=lambda each: each.graph.name)
    assert first.noise == pytest.approx(0.1)
    assert [each.noise for each in others] == pytest.approx([0.2 / 0.954] * 5)
    options = argparse.Namespace(iterations=1, folds=2, shares=[], published=0)
    rankings = [_learned_rankers(collection, seed, options)[LIMIT] for seed in range(5)]
    found = np.mean([taus(collection.programs, ranking) for ranking in rankings])
    assert 0.5 < found < 0.95, "the steps between costs are as large as the noise"


def test_a_collection_measured_twice_is_judged_by_its_second_measurement(tmp_path: Path) -> None:
    write_collection(tmp_path / "data")
    random = np.random.default_rng(0)
    for path in sorted((tmp_path / "data" / NAME / "records").glob("*.json")):
        record = json.loads(path.read_text())
        first = 1 + np.arange(len(record["ways"]))
        costs = np.stack([first, first * np.exp(random.normal(0, 0.1, len(first)))], axis=1)
        path.write_text(json.dumps(record | {"costs": costs.tolist(), "noise": {"same_program": 0.5}}))
    collection = open_collection(tmp_path / "data", NAME, tmp_path / "store", members=1)
    for program in collection.programs:
        assert program.measured is not None
        # The file has the configs in another order than the record where some are equal.
        assert program.measured[0] == pytest.approx(np.log(1 + program.graph.raw_ids.argsort()), abs=1e-6)
        assert program.noise == pytest.approx(0.05, rel=0.7), "half of what both differ by, not that of one program"
    (row,) = _measured_once_more(collection)
    assert (row["ranker"], row["programs"]) == (AGAIN, 6)
    assert 0.7 < row["tau"] < 1, "neighbours are 10 to 70 % apart, and the second is 10 % off"


def test_pairs_within_the_noise_do_not_count(tmp_path: Path) -> None:
    write_collection(tmp_path / "data")
    collection = open_collection(tmp_path / "data", NAME, tmp_path / "store", members=1)
    logarithms = np.log([1.0, 1.01, 2.0, 4.0])
    program = collection.programs[0]
    program = replace(program, example=replace(program.example, log_costs=logarithms), noise=0.01)
    name = program.graph.name
    # 0 and 1 are less than 2.8 % apart; of the other five pairs one is wrong in the second, and one undecided.
    assert certain_taus([program], {name: np.array([2.0, 1.0, 3.0, 4.0])}) == pytest.approx([1.0])
    assert certain_taus([program], {name: np.array([1.0, 3.0, 2.0, 3.0])}) == pytest.approx([(3 - 1) / 5])
    assert np.isnan(certain_taus([replace(program, noise=2.0)], {name: logarithms})[0])


def test_drawn_products_are_learned_from_and_not_judged(tmp_path: Path) -> None:
    write_collection(tmp_path / "data")
    folder = tmp_path / "data" / NAME
    (equal, split), (other, split_too) = ((path.stem, path.parent.name) for path in sorted(folder.glob("*/*.npz"))[:2])
    for name, of, part in (("matmul__b1-m8", equal, split), ("matmul__b1-m16", other, split_too)):
        shutil.copy(folder / part / f"{of}.npz", folder / "train" / f"{name}.npz")
        record = json.loads((folder / "records" / f"{of}.json").read_text())
        if of == other:
            record["fingerprint"] = name
        (folder / "records" / f"{name}.json").write_text(json.dumps(record))
    collection = open_collection(tmp_path / "data", NAME, tmp_path / "store", members=1)
    assert [each.graph.name for each in collection.drawn] == ["matmul__b1-m16"], "the other one is judged already"
    assert len(collection.programs) == 6
    for known, unseen in collection.folds(3, seed=0):
        assert collection.drawn[0] in known
        assert collection.drawn[0] not in unseen
