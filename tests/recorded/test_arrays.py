"""Replaying TpuGraphs files: numbers and units as their files say, duplicates as one, costs relative to the default."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from autotune import api
from autotune.errors import ProgramReadError, UnsupportedProgramError
from autotune.evaluation import Estimated, Evaluation, LabelKind
from autotune.hlo.graph import program_graph
from autotune.spaces.base import Space
from autotune.spaces.layout import LayoutSpace
from autotune.targets.base import PreparedProgram
from autotune.targets.replay import ReplayTarget, open_replay
from autotune.tuning_export import save_tuning_data
from cost_model import LayoutConfigs, TileConfigs
from cost_model.npz import TuningArrays, write_npz
from tests import programs
from tests.tables import KnownTarget
from tests.test_cli import autotune

SPACE = LayoutSpace(programs.two_dots().proto)
FIRST_FEW = list(itertools.islice(SPACE.enumerate(), 4))
RUNTIMES = [2000, 1000, 3000, 3300]


def write_layouts(path: Path, runtimes: list[int], *, with_default: bool = True) -> Path:
    """The default (or not), two or three other layouts, and the last of them once more."""
    configs = FIRST_FEW[0 if with_default else 1 :][:3]
    batch = SPACE.encode([*configs, configs[-1]])
    assert isinstance(batch, LayoutConfigs)
    labels = np.array(runtimes, dtype=np.int64) if runtimes else None
    write_npz(path, TuningArrays(program_graph(programs.two_dots()), batch, labels))
    return path


def write_tiles(path: Path) -> Path:
    features = np.zeros((3, 24), np.float32)
    features[:, 8] = [8, 4, 2]  # the first entry of the output bounds
    runtimes, normalizers = (np.array(values, dtype=np.int64) for values in ([300, 200, 100], [200, 200, 200]))
    write_npz(path, TuningArrays(program_graph(programs.two_dots()), TileConfigs(features), runtimes, normalizers))
    return path


def evaluated(target: ReplayTarget, path: Path) -> tuple[PreparedProgram, Space, list[Evaluation]]:
    prepared = target.prepare(target.read(path, None))
    space = target.space(prepared, "auto")
    return prepared, space, target.evaluate(prepared, list(space.enumerate()))


def test_layouts_are_relative_to_the_default_and_equal_ones_are_one(tmp_path: Path) -> None:
    path = write_layouts(tmp_path / "two_dots.npz", RUNTIMES)
    with open_replay(str(path)) as target:
        prepared, space, evaluations = evaluated(target, path)
        assert target.description.label is LabelKind.MEASURED
        assert target.description.name == "replay:two_dots.npz"
    measured = [vars(evaluation.outcome) for evaluation in evaluations]
    assert [each["seconds"] for each in measured] == pytest.approx([2e-6, 1e-6, 3e-6])
    assert [each["default_seconds"] for each in measured] == pytest.approx([2e-6] * 3)
    assert [each["spread"] for each in measured] == pytest.approx([0.0, 0.0, 0.1]), "3000 and 3300 ns of one config"
    assert [each["runs"] for each in measured] == [1, 1, 2]
    assert prepared.caveat == ""
    np.testing.assert_array_equal(prepared.graph.node_feat, program_graph(programs.two_dots()).node_feat)
    batch, original = space.encode(list(space.enumerate())), SPACE.encode(FIRST_FEW[:3])
    assert isinstance(batch, LayoutConfigs)
    assert isinstance(original, LayoutConfigs)
    np.testing.assert_array_equal(batch.node_config_feat, original.node_config_feat)
    (decision,) = space.explain(list(space.enumerate())[1])
    (expected,) = SPACE.explain(FIRST_FEW[1])
    assert {name: expected[name] for name in ("tensor", "minor_to_major")}.items() <= decision.items()


def test_without_the_default_the_config_in_the_middle_stands_for_it(tmp_path: Path) -> None:
    path = write_layouts(tmp_path / "two_dots.npz", [2000, 1000, 3000, 3000], with_default=False)
    with open_replay(str(path)) as target:
        prepared, _, evaluations = evaluated(target, path)
    assert [evaluation.cost for evaluation in evaluations] == pytest.approx([1.0, 0.5, 1.5])
    assert "relative to the recorded config in the middle" in prepared.caveat


def test_tiles_are_relative_to_the_normalizer(tmp_path: Path) -> None:
    path = write_tiles(tmp_path / "kernel.npz")
    with open_replay(str(path)) as target:
        _, space, evaluations = evaluated(target, path)
    assert [evaluation.cost for evaluation in evaluations] == pytest.approx([1.5, 1.0, 0.5])
    assert space.explain(space.default) == [{"kernel_bounds": [], "output_bounds": [4], "input_bounds": []}]


def test_estimates_stay_estimates(tmp_path: Path) -> None:
    folder = tmp_path / "layout-tpu-v5e"
    (folder / "train").mkdir(parents=True)
    manifest = {"target": "tpu:v5e", "device_kind": "TPU v5e", "compiler_version": "libtpu 1", "label": "estimated"}
    (folder / "manifest.json").write_text(json.dumps({"name": "layout-tpu-v5e"} | manifest))
    path = write_layouts(folder / "train" / "two_dots.npz", RUNTIMES)
    with open_replay(str(path)) as target:
        assert target.description.label is LabelKind.ESTIMATED
        assert target.description.cost_model_device == "tpu-v5e"
        _, _, evaluations = evaluated(target, path)
    assert [evaluation.outcome for evaluation in evaluations] == [
        Estimated(2000.0, 2000.0),
        Estimated(1000.0, 2000.0),
        Estimated(3000.0, 2000.0),
    ]
    (folder / "manifest.json").write_text('{"label": "guessed"}')
    with pytest.raises(ProgramReadError, match=r"manifest.json: expected what the numbers were made with"):
        open_replay(str(path))


@pytest.mark.parametrize("name", ["two_dots.layout.npz", "two_dots.layout.pb"])
def test_what_a_search_has_saved_can_be_replayed(name: str, tmp_path: Path) -> None:
    result = api.search(programs.two_dots(), target=KnownTarget(), database=tmp_path / "db.sqlite", budget=8)
    save_tuning_data(result, tmp_path / "data")
    path = tmp_path / "data" / name
    again = api.search(path, target=f"replay:{path}", database=tmp_path / "studies.sqlite", budget=100)
    assert again.target.device_kind == "a table", "as labels.json says"
    assert again.counts == {"measured": 9, "estimated": 0, "failed": 0}
    assert again.speedup == pytest.approx(result.speedup)
    saved = again.save(tmp_path / "two_dots.autotune")
    assert [file.name for file in saved] == ["best.json", "evaluations.jsonl", "explanation.json"], "no program"


def test_another_program_is_refused(tmp_path: Path) -> None:
    path = write_layouts(tmp_path / "two_dots.npz", RUNTIMES)
    with open_replay(str(path)) as target, pytest.raises(UnsupportedProgramError, match="search the file itself"):
        target.prepare(programs.lookup())


def test_files_without_runtimes_or_damaged(tmp_path: Path) -> None:
    path = write_layouts(tmp_path / "unlabelled.npz", [])
    with pytest.raises(ProgramReadError, match="expected configs with runtimes"):
        open_replay(str(path))
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProgramReadError, match=r"damaged.npz: expected an .npz file"):
        open_replay(str(damaged))


def test_on_the_command_line(tmp_path: Path) -> None:
    path = write_layouts(tmp_path / "two_dots.npz", RUNTIMES)
    done = autotune("search", path, "--target", f"replay:{path}", "--database", tmp_path / "db.sqlite", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["speedup"] == pytest.approx(2.0)
    assert result["target"]["name"] == "replay:two_dots.npz"
    assert [Path(file).name for file in result["files"]] == ["best.json", "evaluations.jsonl", "explanation.json"]
