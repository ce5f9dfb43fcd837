"""Tiles of XLA:CPU: programs of several products are taken apart, each product is measured by itself."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.database import Database
from autotune.targets import open_target
from cost_model.npz import read_npz
from tests.hlo_texts import matrix_product
from training.collecting.collect import collect
from training.collecting.programs import find_sources
from training.collecting.request import Request
from training.data.store import open_split

TWO = """HloModule two

ENTRY main {
  x = f32[64,32]{1,0} parameter(0)
  w = f32[32,48]{1,0} parameter(1)
  h = f32[64,48]{1,0} dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  v = f32[48,1]{1,0} parameter(2)
  ROOT y = f32[64,1]{1,0} dot(h, v), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def test_each_distinct_product_is_a_program_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a__two.hlo").write_text(TWO)
    (tmp_path / "b__two.hlo").write_text(TWO)
    (tmp_path / "c__one.hlo").write_text(matrix_product(16, 24, 40))
    request = Request("tile", configs=4, least_spread=1.0)
    sources = find_sources([tmp_path])
    with Database.in_memory() as database, open_target("cpu") as target:
        statistics = collect(sources, target, request, tmp_path / "out", database)
        evaluated = len(database.programs())
        again = collect(sources, target, request, tmp_path / "out", database)
    assert evaluated == 2
    programs = statistics["programs"]
    assert programs["a__two"]["products"] == 2
    assert programs["a__two"]["products_written"] == ["a__two__f32-1x64x32x48"]
    assert "matrix-vector" in programs["a__two"]["products_without_tiles"]["f32-1x64x48x1"]
    assert programs["b__two"]["products_written"] == [], "a__two has it"
    assert again["programs"] == programs, "what is finished is not measured once more"
    folder = tmp_path / "out/tile-cpu"
    for name in ("a__two__f32-1x64x32x48", "c__one"):
        record = json.loads((folder / f"records/{name}.json").read_text())
        assert record["label"] == "measured"
        arrays = read_npz(folder / record["file"])
        assert arrays.runtimes is not None
        assert len(arrays.runtimes) == record["rows"] >= 2
    split = programs["c__one"]["file"].split("/")[0]
    assert "c__one" in [graph.name for graph in open_split(tmp_path / "out", "tile-cpu", split)]
