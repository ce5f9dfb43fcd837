from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.training.data_sets import layouts, tiles, write
from training.commands.tables import render_facts
from training.data.statistics import Counts, GraphFacts, Runtimes, SplitFacts, split_facts
from training.data.store import open_split

LAYOUT, TILE = "layout:xla:default", "tile:xla"


def _facts(data: Path, collection: str, split: str) -> SplitFacts:
    return split_facts(open_split(data, collection, split, store=data / "store"))


def _noise(facts: SplitFacts | GraphFacts) -> tuple[int, float, float]:
    assert facts.noise is not None
    return facts.noise.groups, facts.noise.median, facts.noise.maximum


def test_a_layout_split_by_hand(tmp_path: Path) -> None:
    # kind 1: 110 / 100 - 1 = 10 %; kind 2: once; kind 3: 160, 240, 200: 50 %
    write(tmp_path, LAYOUT, "valid", "unet_a", layouts(1, 2, 1, 3, 3, 3), [100, 50, 110, 160, 240, 200])
    # kind 5: 420 / 400 - 1 = 5 %
    write(tmp_path, LAYOUT, "valid", "b", layouts(5, 5, 6), [420, 400, 10])
    write(tmp_path, LAYOUT, "valid", "c", layouts(1, 1), [1, 2])
    facts = _facts(tmp_path, LAYOUT, "valid")
    b, a = facts.graphs
    assert (a.name, a.left_out, b.left_out) == ("unet_a", ("means",), ())
    assert (a.counts.nodes, a.counts.configurable_nodes) == (3, 1)
    assert (a.counts.configs, a.counts.distinct, a.counts.duplicates) == (6, 3, 3)
    assert _noise(a) == pytest.approx((2, 0.3, 0.5))
    assert a.runtimes == Runtimes(50, 135.0, 240)
    assert _noise(b) == pytest.approx((1, 0.05, 0.05))
    assert _noise(facts) == pytest.approx((3, 0.1, 0.5)), "of 5, 10 and 50 %"
    assert (facts.counts.configs, facts.counts.duplicates, facts.counts.nodes) == (9, 4, 6)
    assert facts.dropped == ("c",)
    npz = tmp_path / "layout/xla/default/valid/b.npz"
    assert b.counts.npz_bytes == npz.stat().st_size
    assert b.counts.store_bytes == (tmp_path / "store/layout/xla/default/valid/b.graph").stat().st_size


def test_noise_of_tiles_is_of_their_ratio(tmp_path: Path) -> None:
    write(tmp_path, TILE, "train", "kernel", tiles(8, 8, 4), [10, 30, 7], [10, 20, 7])
    (kernel,) = _facts(tmp_path, TILE, "train").graphs
    assert _noise(kernel) == pytest.approx((1, 0.5, 0.5))


def test_a_test_split_knows_no_times_but_its_duplicates(tmp_path: Path) -> None:
    write(tmp_path, TILE, "test", "kernel", tiles(8, 8, 4, 8))
    facts = _facts(tmp_path, TILE, "test")
    (kernel,) = facts.graphs
    assert (kernel.noise, kernel.runtimes, facts.noise) == (None, None, None)
    assert (kernel.counts.configs, kernel.counts.distinct) == (4, 2)


def test_counts_add_up() -> None:
    assert Counts(1, 2, 3, 2, 5, 6) + Counts(10, 20, 30, 30, 50, 60) == Counts(11, 22, 33, 32, 55, 66)


def test_json_holds_everything(tmp_path: Path) -> None:
    write(tmp_path, LAYOUT, "train", "a", layouts(1, 2, 1), [100, 50, 110])
    document = json.loads(json.dumps(_facts(tmp_path, LAYOUT, "train").to_json()))
    assert (document["collection"], document["split"]) == (LAYOUT, "train")
    assert document["counts"]["duplicates"] == 1
    assert document["graphs"][0]["noise"] == {"groups": 1, "median": pytest.approx(0.1), "maximum": pytest.approx(0.1)}
    assert document["graphs"][0]["runtimes"] == {"minimum": 50, "median": 100.0, "maximum": 110}


def test_the_table_names_the_rest_of_a_long_list(tmp_path: Path) -> None:
    for index in range(23):
        write(tmp_path, TILE, "train", f"kernel{index:02}", tiles(8, 4), [1_500_000, 2_000_000_000], [1, 1])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_facts([_facts(tmp_path, TILE, "train")]))
    text = console.export_text()
    assert "kernel19" in text
    assert "kernel20" not in text
    assert "and 3 more; --json shows all" in text
    assert "1.500" in text
    assert "2,000.0" in text


def test_real_noise(shared: Path, tmp_path: Path) -> None:
    """The repeated runs of unet_3d differ by 0.002 % in the median (measured on a TPU, so much is in the file)."""
    split = open_split(shared / "data" / "tpugraphs", LAYOUT, "valid", store=tmp_path)
    (unet,) = split_facts(split).graphs
    assert (unet.counts.configs, unet.counts.duplicates) == (1965, 496)
    assert unet.noise is not None
    assert unet.noise.median < 1e-4
