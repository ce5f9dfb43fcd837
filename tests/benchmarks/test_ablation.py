"""Variants of the cost models, on a miniature collection."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.ablation import variants_of, without, without_decisions
from benchmarks.unseen_families import Collection, open_collection
from tests.own_collection import NAME, write_collection


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    write_collection(tmp_path / "data")
    return open_collection(tmp_path / "data", NAME, tmp_path / "store", members=2)


def test_variants_are_compared_with_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_collection(tmp_path / "data")
    table = tmp_path / "table.json"
    names = ["the prior alone", "without single decisions", "one member"]
    options = ["--folds", "3", "--seeds", "2", "--iterations", "60", "--members", "2", "--variants", *names]
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path / "data"), *options, "--json", str(table)])
    ablation.main()
    first, *rows = json.loads(table.read_text())["rows"]
    assert first["variant"] == "as it is"
    assert first["tau"] > 0.5
    assert "loss" not in first
    assert [row["variant"] for row in rows] == names
    for row in rows:
        assert row["loss"] == pytest.approx(first["tau"] - row["tau"])
        assert row["loss_low"] <= row["loss"] <= row["loss_high"]
    assert len({row["tau"] for row in (first, *rows)}) > 2, "each of them is another network"


def test_columns_are_blanked_by_name(collection: Collection) -> None:
    architecture = collection.recipe.architecture
    program = collection.programs[0]
    blank = without("log_copy_share", "rank")(program, architecture).example.descriptors
    before = program.example.descriptors
    for name, columns in (("items", architecture.item_columns), ("summary", architecture.summary_columns)):
        for column, known, left in zip(columns, getattr(before, name).T, getattr(blank, name).T, strict=True):
            if column in ("log_copy_share", "rank"):
                assert known.any()
                assert not left.any()
            else:
                np.testing.assert_array_equal(left, known)
    assert not without_decisions(program, architecture).example.descriptors.items.any()


def test_every_variant_names_columns_that_exist(collection: Collection) -> None:
    architecture = collection.recipe.architecture
    for variant in variants_of(collection).values():
        variant.columns(collection.programs[0], architecture)
    with pytest.raises(ValueError, match="no column begins with nothing"):
        without("nothing")(collection.programs[0], architecture)
