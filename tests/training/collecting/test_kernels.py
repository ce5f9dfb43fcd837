"""Tiles of kernels with the real TPU compiler."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from autotune.database import Database
from autotune.targets import open_target
from cost_model.npz import read_npz
from training.collecting.collect import collect
from training.collecting.programs import find_sources
from training.collecting.request import Request

KERNEL = """HloModule kernel

ENTRY main {
  x = bf16[256,512]{1,0} parameter(0)
  w = bf16[512,256]{1,0} parameter(1)
  ROOT y = bf16[256,256]{1,0} dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu, the TPU compiler")
def test_equal_kernels_are_one_file_with_all_tiles(tmp_path: Path) -> None:
    for name in ("a__one", "b__same"):
        (tmp_path / f"{name}.hlo").write_text(KERNEL)
    request = Request("tile", least_spread=1.0)
    with Database.in_memory() as database, open_target("tpu:v5e") as target:
        statistics = collect(find_sources([tmp_path]), target, request, tmp_path / "out", database)
        assert database.programs() == [], "what the compiler lists was not evaluated"
        again = collect(find_sources([tmp_path]), target, request, tmp_path / "out", database)
    programs = statistics["programs"]
    (kernel,) = programs["a__one"]["kernels_written"]
    assert kernel.startswith("a__one__")
    assert (programs["a__one"]["kernels"], programs["a__one"]["kernels_equal_to_others"]) == (1, 0)
    assert (programs["b__same"]["kernels_written"], programs["b__same"]["kernels_equal_to_others"]) == ([], 1)
    assert again["programs"] == programs
    assert statistics["collection"]["label"] == "estimated"
    folder = tmp_path / "out/tile-tpu-v5e"
    record = json.loads((folder / f"records/{kernel}.json").read_text())
    arrays = read_npz(folder / record["file"])
    assert arrays.runtimes is not None
    assert arrays.normalizers is not None
    assert len(arrays.runtimes) == record["rows"] > 1
    assert set(record["ways"]) == {"listed"}
    assert set(arrays.normalizers.tolist()) == {int(arrays.runtimes[0])}, "the compiler's choice stands first"
