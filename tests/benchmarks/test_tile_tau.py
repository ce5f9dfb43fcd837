"""Rankers of tiles against measured runtimes: small kernels by hand, and the published ones with the real compiler."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from autotune.errors import WorkerError
from autotune.hlo.window_config import TileCandidate
from benchmarks import tile_tau
from cost_model import AnalyticalCostModel, CostModel, DeviceError, GraphError, ProgramGraph, TileConfigs, features
from cost_model.devices import DEVICES
from cost_model.npz import TuningArrays, read_npz, write_npz
from protos import hlo_pb2
from tests.cost_model.models import write_small

HLO = """HloModule kernel
ENTRY main {
  x = f32[64,128]{1,0} parameter(0)
  ROOT y = f32[64,128]{1,0} negate(x)
}
"""
ROWS = [8, 4, 2, 1, 3]
"""Output bounds (rows, 1) of the measured configs; the compiler lists all but the last."""
RUNTIMES = [100, 200, 150, 800, 50]
LISTED = [TileCandidate(10, (8, 1)), TileCandidate(20, (4, 1)), TileCandidate(30, (2, 1)), TileCandidate(40, (1, 1))]


def _graph() -> ProgramGraph:
    """A parameter f32[64, 128] and its negation."""
    nodes = np.zeros((2, features.NODE_FEATURES), np.float32)
    nodes[:, features.SHAPE_DIMENSIONS.entries.start : features.SHAPE_DIMENSIONS.entries.start + 2] = 64, 128
    nodes[:, features.SHAPE_DIMENSIONS.sum], nodes[:, features.SHAPE_DIMENSIONS.product] = 192, 8192
    nodes[:, features.ELEMENT_TYPE.start + features.ELEMENT_TYPES.index("F32")] = 1
    nodes[1, features.IS_ROOT] = 1
    nodes[:, features.MINOR_TO_MAJOR.start] = 1
    return ProgramGraph(
        node_feat=nodes,
        node_opcode=np.array([features.OPCODE_IDS["parameter"], features.OPCODE_IDS["negate"]], np.uint8),
        edge_index=np.array([[1, 0]]),
        node_config_ids=np.zeros(0, np.int64),
        node_splits=np.array([0, 2]),
    )


def _tiles(rows: Sequence[int] = ROWS) -> TileConfigs:
    values = np.zeros((len(rows), features.TILE_FEATURES), np.float32)
    for row, size in zip(values, rows, strict=True):
        row[8:10], row[14], row[15] = (size, 1), size + 1, size
    return TileConfigs(values)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with kernel.npz and kernel.hlo."""
    runtimes = np.array(RUNTIMES)
    write_npz(tmp_path / "kernel.npz", TuningArrays(_graph(), _tiles(), runtimes, np.full_like(runtimes, 100)))
    (tmp_path / "kernel.hlo").write_text(HLO)
    return tmp_path


def _rank(folder: Path, listed: Sequence[TileCandidate] | Exception, name: str = "kernel") -> tile_tau.Ranked:
    def lister(module: hlo_pb2.HloModuleProto) -> Sequence[TileCandidate]:
        assert module.name == "kernel"
        if isinstance(listed, Exception):
            raise listed
        return listed

    rankers = {"rows": lambda graph, configs: configs.config_feat[:, 8].astype(np.float64)}
    return tile_tau.rank(folder / f"{name}.npz", {"kernel": folder / "kernel.hlo"}, lister, rankers)


def test_the_table_by_hand(files: Path) -> None:
    ranked = _rank(files, LISTED)
    assert ranked.scores[tile_tau.CYCLES].tolist() == [10, 20, 30, 40, np.inf]
    cycles, rows = tile_tau.table([ranked])
    assert {key: cycles[key] for key in ("kernel", "configs", "candidates", "matched", "ranker")} == {
        "kernel": "kernel", "configs": 5, "candidates": 4, "matched": 4, "ranker": "compiler cycles"
    }  # fmt: skip
    # 100 200 150 800 in that order: 5 pairs are right, 1 is wrong. The fifth, 50 ns, comes last: 4 more are wrong.
    assert cycles["tau"] == pytest.approx((5 - 1) / 6)
    assert cycles["tau_all"] == pytest.approx((5 - 5) / 10)
    assert (cycles["top_1"], cycles["top_5"]) == (1.0, 1.0)
    # By rows: 800 150 200 100, of which only 150 before 200 is right; then 800 150 50 200 100, with 50 before 200, 100.
    assert rows["tau"] == pytest.approx((1 - 5) / 6)
    assert (rows["top_1"], rows["top_5"]) == (8.0, 1.0)
    assert rows["tau_all"] == pytest.approx((3 - 7) / 10)
    assert "note" not in cycles | rows


def test_the_means_by_hand(files: Path) -> None:
    row = {"kernel": "a", "configs": 12, "matched": 10, "ranker": "r", "tau": 0.5, "top_1": 2, "top_5": 1, "tau_all": 0}
    other = row | {"kernel": "b", "configs": 30, "matched": 30, "tau": 0.9, "top_1": 1}
    undefined = row | {"kernel": "c", "tau": None}
    unlisted = row | {"kernel": "d", "matched": 0, "tau": -1.0}
    mean, weighted = tile_tau.summary([row, other, undefined, unlisted])
    assert mean["kernel"] == "mean of 2"
    assert (mean["configs"], mean["matched"]) == (42, 40)
    assert (mean["tau"], mean["top_1"]) == pytest.approx((0.7, 1.5))
    assert (weighted["tau"], weighted["top_1"]) == pytest.approx((0.25 * 0.5 + 0.75 * 0.9, 1.25))
    assert (mean["tau_low"], mean["tau_high"]) == pytest.approx((0.5, 0.9)), "of two, resampled: .5, .7 or .9"
    assert list(tile_tau.summary([unlisted])) == []


def test_equal_scores_have_no_order(files: Path) -> None:
    ranked = _rank(files, [TileCandidate(7, candidate.output_bounds) for candidate in LISTED])
    row, _ = tile_tau.table([ranked])
    assert row["tau"] is None
    # Each of 100, 200, 150, 800 is the first equally often: (1 + 2 + 1.5 + 8) / 4, and never always the default.
    assert row["top_1"] == pytest.approx(3.125, rel=0.3)


@pytest.mark.parametrize(
    ("listed", "note", "candidates"),
    [
        ([], "the compiler has no candidates for this kernel", None),
        (WorkerError("error while compiling: cannot\nmore"), "error while compiling: cannot", None),
        ([TileCandidate(1, (16, 1))], "no config is among the compiler's candidates", 1),
    ],
)
def test_kernels_without_a_list_say_so(files: Path, listed: Any, note: str, candidates: int | None) -> None:
    (row,) = tile_tau.table([_rank(files, listed)])
    assert (row["ranker"], row["matched"], row["candidates"], row["note"]) == ("rows", 0, candidates, note)
    assert row["tau"] == row["tau_all"] == pytest.approx((3 - 7) / 10), "over all configs"


def test_files_that_cannot_be_judged_say_so(files: Path) -> None:
    (files / "damaged.npz").write_bytes(b"PK")
    write_npz(files / "test.npz", TuningArrays(_graph(), _tiles()))
    (files / "lost.npz").write_bytes((files / "kernel.npz").read_bytes())
    (files / "kernel.hlo").write_text("HloModule kernel\nENTRY main { x = ")
    notes = [
        row["note"]
        for name in ("damaged", "test", "lost", "kernel")
        for row in tile_tau.table([_rank(files, LISTED, name)])
    ]
    assert "expected an .npz file" in notes[0]
    assert notes[1:3] == ["no measured tiles", "no program of that name in --modules"]
    assert "kernel.hlo" in notes[3]


def test_a_model_that_cannot_score_leaves_the_others(files: Path) -> None:
    def refuses(graph: ProgramGraph, configs: TileConfigs) -> tile_tau.Scores:
        raise GraphError("expected layout configs")

    programs = {"kernel": files / "kernel.hlo"}
    (row,) = tile_tau.table([tile_tau.rank(files / "kernel.npz", programs, lambda module: LISTED, {"model": refuses})])
    assert (row["ranker"], row["matched"]) == (tile_tau.CYCLES, 4)
    assert row["note"] == "model: expected layout configs"


def test_a_kernel_bound_tells_candidates_apart() -> None:
    configs = _tiles([8, 4])
    assert np.isinf(tile_tau.match_cycles(configs, [TileCandidate(5, (8, 1), (2, 2))])).all()
    values = configs.config_feat.copy()
    values[:, [0, 1, 6, 7]] = 2, 2, 4, 4
    values[:, 16:] = 3  # input bounds are the compiler's own matter
    listed = [TileCandidate(5, (8, 1), (2, 2)), TileCandidate(6, (8, 1), (4, 1))]
    assert tile_tau.match_cycles(TileConfigs(values), listed).tolist() == [5, np.inf]


def test_simple_rankers_by_hand() -> None:
    rankers = tile_tau.make_rankers("tpu-v3")
    # 64 rows are 8 of the hardware's tiles of 8 rows: bounds 8, 4, 2, 1 and 3 make 1, 2, 4, 8 and 3 iterations.
    iterations = rankers["fewest iterations"](_graph(), _tiles())
    assert (iterations / iterations[0]).tolist() == pytest.approx([1, 2, 4, 8, 3])
    assert rankers["largest tile"](_graph(), _tiles()).tolist() == [-8, -4, -2, -1, -3]
    assert rankers["largest tile"](_graph(), TileConfigs(np.zeros((1, 24), np.float32))).tolist() == [-1]
    own = AnalyticalCostModel(DEVICES["tpu-v3"]).score(_graph(), _tiles())
    assert rankers["analytical:tpu-v3"](_graph(), _tiles()).tolist() == own.tolist()
    with pytest.raises((DeviceError, LookupError)):
        tile_tau.make_rankers("tpu-v9")


def _main(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tile_tau", *options])
    tile_tau.main()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "tpu"), "expected tpu:GENERATION, such as tpu:v3, found 'tpu'"),
        (("--target", "cpu"), "found 'cpu'"),
        (("--tiles", "/nowhere"), "expected a folder of npz files, found none in /nowhere"),
    ],
)
def test_wrong_options_are_named(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        _main(monkeypatch, "--modules", str(files), "--tiles", str(files), *options)
    assert exit_code.value.code == 2
    assert message in capsys.readouterr().err


def test_published_kernels(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of shared/design/xla_tpu.md, section 0."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, the TPU compiler (pip install 'xla-autotune[tpu]')")
    data = shared / "data" / "tpugraphs"
    options = ["--modules", str(data / "modules"), "--tiles", str(data / "tile" / "xla" / "train")]
    checkpoint = tmp_path / "own.safetensors"
    write_small(checkpoint, "tile")
    _main(monkeypatch, *options, "--model", str(checkpoint), "--json", str(tmp_path / "table.json"))
    document = json.loads((tmp_path / "table.json").read_text())
    assert "estimated (compiler cycles, tpu v3, libtpu 0.0.52)" in document["title"]
    cycles = {row["kernel"]: row for row in document["rows"] if row["ranker"] == tile_tau.CYCLES}
    expected = {
        "fusion.191": (579, 578, 0.874), "fusion.205": (16, 16, 0.867), "fusion.261": (16, 16, 0.800),
        "copy.24": (10, 10, 0.822), "fusion.181": (5, 5, 1.0), "fusion.206": (3, 3, 1.0),
    }  # fmt: skip
    for name, (configs, matched, tau) in expected.items():
        assert (cycles[name]["configs"], cycles[name]["matched"]) == (configs, matched)
        assert cycles[name]["tau"] == pytest.approx(tau, abs=5e-4)
    (own,) = {row["ranker"] for row in document["rows"] if "own" in row["ranker"]}
    model = {row["kernel"]: row for row in document["rows"] if row["ranker"] == own}
    arrays = read_npz(data / "tile" / "xla" / "train" / "fusion.205.npz")
    assert isinstance(arrays.configs, TileConfigs)
    scores = CostModel.load(checkpoint).score(arrays.graph, arrays.configs)
    assert model["fusion.205"]["tau"] == pytest.approx(scipy.stats.kendalltau(scores, arrays.runtimes).statistic)
    notes = {row["kernel"]: row["note"] for row in document["rows"] if "note" in row}
    assert notes == dict.fromkeys(("reshape.37", "reshape.39"), "the compiler has no candidates for this kernel")
