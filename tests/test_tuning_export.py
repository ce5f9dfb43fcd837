"""What a search leaves in the format of TpuGraphs: numbers, their labels, and that they are read back as they were."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.database import Database
from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, LabelKind, Measured, Outcome
from autotune.hlo.features_file import write_features
from autotune.hlo.program import Program
from autotune.hlo.reader import read, read_bytes
from autotune.hlo.tuning_data import (
    configurable_nodes,
    layout_configs_from_tuning,
    layouts_to_tuning,
    tile_configs_from_tuning,
    tiles_to_tuning,
)
from autotune.result import SearchResult
from autotune.spaces.base import Config, Space
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import EMITTER_DEFAULT, TILED, GemmTileSpace, TileConfig, find_dot_kernel
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.tiles import KernelTiles
from autotune.tuning_export import check_tuning_folder, save_tuning_data
from cost_model import LayoutConfigs, TileConfigs
from cost_model.npz import read_npz
from protos import tuning_pb2
from tests import programs
from tests.tables import TILES, ListedTarget
from tests.test_cli import autotune
from tests.test_tiles import kernel
from tests.test_tiles import search as search_kernels

REFUSED = Failed(FailureReason.COMPILE_ERROR, "no")
CPU = TargetDescription("cpu", "a CPU", "jaxlib 1", LabelKind.MEASURED, "cpu")
TPU = TargetDescription("tpu:v5e", "TPU v5e, compiler only", "libtpu 1", LabelKind.ESTIMATED, "tpu-v5e")
FIRST = LayoutConfig.of({(2, 0): (0, 1), (5, 2): (1, 0)})
SECOND = LayoutConfig.of({(5, 1): (0, 1)})


def measured(seconds: float) -> Measured:
    return Measured(seconds, 0.01, 1.0, 0.01, 0.01, 4, 24)


def searched(
    program: Program, space: Space, target: TargetDescription, tried: Sequence[tuple[Config, Outcome]]
) -> SearchResult:
    """The result of a search that has tried these configs, the default first."""
    evaluations = tuple(Evaluation(config, outcome) for config, outcome in tried)
    prepared = PreparedProgram(program, program)
    return SearchResult(
        prepared=prepared,
        target=target,
        space=space,
        strategy="random",
        cost_model="none",
        seed=0,
        budget=len(tried),
        default=evaluations[0],
        best=evaluations[0],
        tuned=TunedProgram(program.module),
        runner_up=evaluations[0],
        noise=0.0,
        evaluations=evaluations,
        comparison=None,
        scores={},
        reused=0,
        ranking=None,
        stopped="budget used up",
        seconds=1.0,
    )


def layouts(target: TargetDescription = CPU, *outcomes: Outcome) -> SearchResult:
    """The default, a config that failed and two others; of the program with dots at nodes 2 and 5."""
    program = programs.two_dots()
    default, first, second = outcomes or (measured(2e-6), measured(1.4996e-6), measured(3e-10))
    failing = LayoutConfig.of({(2, 1): (0, 1)})
    tried = [(LayoutConfig(), default), (FIRST, first), (failing, REFUSED), (SECOND, second)]
    return searched(program, LayoutSpace(program.proto), target, tried)


def labels(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "labels.json").read_text())["data"]
    return data


def tuning(path: Path) -> tuning_pb2.ModuleTuningData:
    return tuning_pb2.ModuleTuningData.FromString(path.read_bytes())


def assert_inspect_agrees(path: Path) -> None:
    """`autotune inspect FILE.pb --features` gives the .npz that was written beside it, bit for bit."""
    again = path.with_name("again.npz")
    write_features(read(path, keep_optimised=True), again)
    with np.load(again) as found, np.load(path.with_suffix(".npz")) as written:
        assert list(found) == list(written)
        for name in found:
            assert found[name].dtype == written[name].dtype
            np.testing.assert_array_equal(found[name], written[name])
    again.unlink()


# ---- Layouts ---------------------------------------------------------------------------------------------------------


def test_measured_layouts(tmp_path: Path) -> None:
    result = layouts()
    folder = tmp_path / "new" / "data"
    files = save_tuning_data(result, folder)
    assert [path.name for path in files] == ["labels.json", "two_dots.layout.pb", "two_dots.layout.npz"]
    assert sorted(folder.iterdir()) == sorted(files), "nothing else is left behind"
    data = tuning(files[1])
    assert data.module == result.prepared.module.proto
    assert f"{data.fingerprint:016x}" == result.prepared.module.fingerprint[:16]
    assert list(data.config_index_to_node) == [2, 5]
    # 2 us, 1499.6 ns, a failure, and 0.3 ns: less than 2 would mean that it was not run
    assert [run.profile.compute_time_ns for run in data.runs] == [2000, 1500, 0, 2]
    assert [run.error for run in data.runs] == [False, False, True, False]
    assert [run.is_default for run in data.runs] == [True, False, False, False]
    decided = [[list(t.dims) for t in node.tensors] for node in data.runs[1].module_config.layout_config.nodes]
    assert decided == [[[0, 1], [], []], [[], [], [1, 0]]]
    assert [list(t.dims) for t in data.runs[2].module_config.layout_config.nodes[0].tensors] == [[], [0, 1], []]


def test_layouts_are_read_back_as_they_were(tmp_path: Path) -> None:
    result = layouts()
    _, proto, npz = save_tuning_data(result, tmp_path)
    expected = result.space.encode([LayoutConfig(), FIRST, SECOND])
    assert isinstance(expected, LayoutConfigs)
    runs, arrays = layout_configs_from_tuning(tuning(proto)), read_npz(npz)
    assert isinstance(arrays.configs, LayoutConfigs)
    np.testing.assert_array_equal(runs.configs.node_config_feat, expected.node_config_feat)
    np.testing.assert_array_equal(arrays.configs.node_config_feat, expected.node_config_feat)
    assert arrays.runtimes is not None
    assert runs.runtimes.tolist() == arrays.runtimes.tolist() == [2000, 1500, 2]
    assert runs.node_config_ids.tolist() == arrays.graph.node_config_ids.tolist() == [2, 5]
    assert_inspect_agrees(proto)


def test_labels_of_measurements(tmp_path: Path) -> None:
    save_tuning_data(layouts(), tmp_path)
    (facts,) = labels(tmp_path).values()
    program = programs.two_dots()
    assert facts["files"] == ["two_dots.layout.pb", "two_dots.layout.npz"]
    assert (facts["label"], facts["unit"]) == ("measured", "nanoseconds")
    assert facts["target"] == {"name": "cpu", "device_kind": "a CPU", "compiler_version": "jaxlib 1"}
    assert facts["program"] == {"name": "two_dots", "fingerprint": program.fingerprint, "source": program.source}
    assert facts["module_fingerprint"] == program.fingerprint
    assert facts["tool"].startswith("xla-autotune ")
    assert (facts["runs"], facts["runs_failed"], facts["left_out"]) == (3, {"compile error": 1}, {})


def test_estimates_are_cycles_and_never_called_a_time(tmp_path: Path) -> None:
    result = layouts(TPU, Estimated(9000.0, 9000.0), Estimated(8000.4, 9000.0), Estimated(0.0, 9000.0))
    _, proto, npz = save_tuning_data(result, tmp_path)
    assert layout_configs_from_tuning(tuning(proto)).runtimes.tolist() == [9000, 8000, 2]
    runtimes = read_npz(npz).runtimes
    assert runtimes is not None
    assert runtimes.tolist() == [9000, 8000, 2]
    facts = labels(tmp_path)["two_dots.layout"]
    assert (facts["label"], facts["unit"]) == ("estimated", "compiler cycles")
    assert "not a time" in facts["meaning"]
    assert "nanoseconds" not in json.dumps(facts)
    assert "second" not in json.dumps(facts)


def test_measurements_and_estimates_do_not_go_into_one_file(tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match="expected an evaluation that is measured, found one that is estimated"):
        save_tuning_data(layouts(CPU, measured(1.0), Estimated(5.0, 5.0), measured(1.0)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_inputs_of_a_reshape_and_a_program_without_layouts(tmp_path: Path) -> None:
    # A reshape has one input, so two tensors, as in published runs; six dimensions fill all columns.
    text = (
        "HloModule shapes\nENTRY main { a = f32[2,3,4,5,6,7]{5,4,3,2,1,0} parameter(0) "
        "ROOT b = f32[6,840]{1,0} reshape(a) }"
    )
    module = read_bytes(text.encode(), "shapes").proto
    assert configurable_nodes(module) == {1: 2}
    space = LayoutSpace(module)
    config = LayoutConfig.of({(1, 0): (0, 1), (1, 1): (3, 0, 5, 1, 4, 2)})
    (message,) = layouts_to_tuning(space.encode([config]), [2])
    (node,) = message.layout_config.nodes
    assert [list(tensor.dims) for tensor in node.tensors] == [[0, 1], [3, 0, 5, 1, 4, 2]]

    program = programs.lookup()
    result = searched(program, LayoutSpace(program.proto), CPU, [(LayoutConfig(), measured(1e-6))])
    _, proto, npz = save_tuning_data(result, tmp_path)
    configs = read_npz(npz).configs
    assert isinstance(configs, LayoutConfigs)
    assert configs.node_config_feat.shape == (1, 0, 18)
    assert_inspect_agrees(proto)


def test_published_layouts_come_out_as_they_went_in(shared: Path) -> None:
    data = tuning(shared / "data" / "tpugraphs" / "module_tuning_data_layout.pb")
    nodes = configurable_nodes(data.module)
    assert list(nodes) == list(data.config_index_to_node)
    configs = layout_configs_from_tuning(data).configs
    assert layouts_to_tuning(configs, nodes.values()) == [run.module_config for run in data.runs if not run.error]


# ---- Tiles -----------------------------------------------------------------------------------------------------------


def _row(*groups: Sequence[int]) -> NDArray[np.float32]:
    """Kernel, output and input bounds as columns, by hand."""
    row = np.zeros(24, np.float32)
    for place, bounds in enumerate(groups):
        if bounds:
            row[8 * place : 8 * place + len(bounds)] = bounds
            row[8 * place + 6 : 8 * place + 8] = sum(bounds), np.prod(bounds)
    return row


def test_bounds_of_tiles() -> None:
    more_than_six = _row((), (2, 2, 2, 2, 2, 2))
    more_than_six[14:16] = 15, 192  # there was a seventh, 3
    rows = [_row((3,), (8, 128), (5, 1)), _row((), (1, 2, 3, 4, 5, 6)), _row(), more_than_six]
    whole, long, library, unknown = tiles_to_tuning(TileConfigs(np.stack(rows)))
    assert whole is not None
    tile = whole.tile_size_config
    assert (list(tile.kernel_bounds), list(tile.output_bounds), list(tile.input_bounds)) == ([3], [8, 128], [5, 1])
    assert long is not None
    assert list(long.tile_size_config.output_bounds) == [1, 2, 3, 4, 5, 6]
    assert library is None
    assert unknown is None


def products(*tried: tuple[TileConfig, Outcome]) -> SearchResult:
    program = programs.product(64, 96, 80)
    found = find_dot_kernel(program.proto)
    assert not isinstance(found, str)
    libraries = [(TileConfig(), measured(1e-6)), (TileConfig("eigen"), measured(3e-6))]
    return searched(program, GemmTileSpace(found), CPU, [*libraries, *tried])


def test_tiles_of_a_cpu(tmp_path: Path) -> None:
    tile = TileConfig(TILED, 8, 4, 2, 512)
    failing = TileConfig(TILED, 8, 4, 1, 256)
    result = products((EMITTER_DEFAULT, measured(6e-6)), (failing, REFUSED), (tile, measured(2e-6)))
    _, proto, npz = save_tuning_data(result, tmp_path)
    assert npz.name == "product.tile.npz"
    data = tuning(proto)
    # Both libraries are left out. What runtimes are divided by is the tile that XLA's tiled product takes by itself.
    assert [(r.profile.compute_time_ns, r.error, r.is_default) for r in data.runs] == [
        (6000, False, True),
        (0, True, False),
        (2000, False, False),
    ]
    last = data.runs[2].op_config.tile_size_config
    # minor first, n = 2 vectors of 16: kernel [n, k, lanes], output [n, m], input [k, m]
    assert list(last.kernel_bounds) == [32, 4, 16]
    assert (list(last.output_bounds), list(last.input_bounds)) == ([32, 8], [4, 8])
    expected = result.space.encode([EMITTER_DEFAULT, tile])
    assert isinstance(expected, TileConfigs)
    runs, arrays = tile_configs_from_tuning(data), read_npz(npz)
    assert isinstance(arrays.configs, TileConfigs)
    np.testing.assert_array_equal(runs.configs.config_feat, expected.config_feat)
    np.testing.assert_array_equal(arrays.configs.config_feat, expected.config_feat)
    assert arrays.runtimes is not None
    assert arrays.normalizers is not None
    assert runs.runtimes.tolist() == arrays.runtimes.tolist() == [6000, 2000]
    assert arrays.normalizers.tolist() == [6000, 6000]
    facts = labels(tmp_path)["product.tile"]
    assert facts["default_run"] == "tiled, XLA's own tile"
    assert facts["left_out"] == {"configs without a tile that the format can hold": 2}
    assert (facts["runs"], facts["runs_failed"]) == (2, {"compile error": 1})
    assert_inspect_agrees(proto)


def test_without_a_run_of_the_default_tile_there_is_nothing_to_write(tmp_path: Path) -> None:
    result = products((EMITTER_DEFAULT, REFUSED), (TileConfig(TILED, 8, 4, 2, 512), measured(2e-6)))
    with pytest.raises(
        AutotuneError, match=r"nothing to write: tuning data of 'product': .* found 1 runs and no default"
    ):
        save_tuning_data(result, tmp_path / "new")
    with pytest.raises(AutotuneError, match="nothing to write: tuning data of 'product': no run succeeded"):
        save_tuning_data(products((EMITTER_DEFAULT, REFUSED)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def kernels() -> list[KernelTiles]:
    """Seven tiles of each of two kernels that a path would misunderstand, and a kernel that has none."""
    names = {"fusion.1": 500, "copy.2": 300, "add.3": 200}
    found = [kernel(name, cycles, size=8 * (place + 1)) for place, (name, cycles) in enumerate(names.items())]
    other = Failed(FailureReason.NOT_APPLIED, "another")
    target = ListedTarget(
        candidates={"add.3": []}, outcome=lambda config: other if config.output_bounds == (16,) else None
    )
    with Database.in_memory() as database:
        return search_kernels(target, found, database, budget=20)


def test_tiles_of_the_kernels_of_a_program(kernels: list[KernelTiles], tmp_path: Path) -> None:
    whole = layouts(TPU, *(Estimated(cycles, 9000.0) for cycles in (9000.0, 8000.0, 7000.0)))
    files = save_tuning_data(replace(whole, tiles=tuple(kernels)), tmp_path)
    pairs = ["two_dots.layout", "two_dots.fusion.1.tile", "two_dots.copy.2.tile"]
    assert [path.name for path in files[1:]] == [f"{name}.{ending}" for name in pairs for ending in ("pb", "npz")]
    assert sorted(labels(tmp_path)) == sorted(pairs)
    data = tuning(files[3])
    assert data.module == kernels[0].kernel.module
    by_bounds = {tuple(r.op_config.tile_size_config.output_bounds): r for r in data.runs}
    assert sorted(by_bounds) == sorted(candidate.output_bounds for candidate in TILES)
    cycles = {bounds: run.profile.compute_time_ns for bounds, run in by_bounds.items() if not run.error}
    assert cycles == {(64,): 100, (32,): 200, (8,): 400, (4,): 500, (2,): 600, (1,): 700}, "(16,) did not hold"
    assert [bounds for bounds, run in by_bounds.items() if run.is_default] == [(64,)], "the compiler's choice"
    normalizers = read_npz(files[4]).normalizers
    assert normalizers is not None
    assert normalizers.tolist() == [100] * 6
    facts = labels(tmp_path)["two_dots.fusion.1.tile"]
    assert [facts["kernel"][key] for key in ("name", "opcode", "executions")] == ["fusion.1", "negate", 1]
    assert facts["program"]["fingerprint"] == programs.two_dots().fingerprint
    assert facts["module_fingerprint"] == kernels[0].kernel.fingerprint
    assert (facts["unit"], facts["runs_failed"]) == ("compiler cycles", {"not applied": 1})
    for path in files[1::2]:
        assert_inspect_agrees(path)


# ---- The folder ------------------------------------------------------------------------------------------------------


def test_the_same_search_again_replaces_its_files(tmp_path: Path) -> None:
    first = save_tuning_data(layouts(), tmp_path)
    second = save_tuning_data(layouts(CPU, measured(5e-6), measured(6e-6), measured(7e-6)), tmp_path)
    assert second == first
    assert len(list(tmp_path.iterdir())) == 3
    assert layout_configs_from_tuning(tuning(second[1])).runtimes.tolist() == [5000, 6000, 7000]


def test_another_search_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "two_dots.layout.2.pb").write_text("somebody's")
    (tmp_path / "two_dots.2.layout.pb").write_text("somebody's")
    first = save_tuning_data(layouts(), tmp_path)
    before = [path.read_bytes() for path in first[1:]]
    newer = replace(CPU, compiler_version="jaxlib 2")
    for target, name in ((newer, "two_dots.3.layout.pb"), (TPU, "two_dots.4.layout.pb"), (CPU, "two_dots.layout.pb")):
        outcomes = (
            [Estimated(9.0, 9.0)] * 3 if target is TPU else [measured(2e-6), measured(1.4996e-6), measured(3e-10)]
        )
        assert save_tuning_data(layouts(target, *outcomes), tmp_path)[1].name == name
    assert [path.read_bytes() for path in first[1:]] == before
    assert (tmp_path / "two_dots.2.layout.pb").read_text() == "somebody's"
    kinds = {name: (facts["label"], facts["target"]["compiler_version"]) for name, facts in labels(tmp_path).items()}
    assert kinds == {
        "two_dots.layout": ("measured", "jaxlib 1"),
        "two_dots.3.layout": ("measured", "jaxlib 2"),
        "two_dots.4.layout": ("estimated", "libtpu 1"),
    }


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    names = {"../up/and away": "_up_and_away", "..": "program", "x" * 300: "x" * 80}
    for name, plain in names.items():
        program = replace(programs.two_dots(), name=name)
        result = searched(program, LayoutSpace(program.proto), CPU, [(LayoutConfig(), measured(1e-6))])
        folder = tmp_path / plain
        assert save_tuning_data(result, folder)[1] == folder / f"{plain}.layout.pb"


def test_several_searches_at_once_keep_each_other_s_labels(tmp_path: Path) -> None:
    results = [layouts(replace(CPU, compiler_version=f"jaxlib {number}")) for number in range(8)]
    threads = [threading.Thread(target=save_tuning_data, args=(result, tmp_path)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = labels(tmp_path)
    assert {facts["target"]["compiler_version"] for facts in written.values()} == {f"jaxlib {n}" for n in range(8)}
    assert all((tmp_path / file).exists() for facts in written.values() for file in facts["files"])


def test_no_file_is_there_without_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autotune.tuning_export.write_npz", full)
    with pytest.raises(AutotuneError, match=r"No space left on device.*choose another with --save-tuning-data"):
        save_tuning_data(layouts(), tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["labels.json", "two_dots.layout.pb"]
    assert labels(tmp_path)["two_dots.layout"]["label"] == "measured"


def test_a_folder_that_cannot_be_used_is_found_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_tuning_folder(tmp_path / "new" / "data")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(AutotuneError, match="file is a file; choose another place with --save-tuning-data"):
            check_tuning_folder(folder)
        with pytest.raises(AutotuneError, match="cannot be written"):
            save_tuning_data(layouts(), folder)
    (tmp_path / "sealed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path / "sealed")
    with pytest.raises(AutotuneError, match="sealed cannot be written; choose another place"):
        check_tuning_folder(tmp_path / "sealed" / "data")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"data": []}', '{"data": {"a": 1}}', '{"data": {"a": {"label": 1}}}', "\0\xff"]
)
def test_labels_that_are_not_ours_are_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(content, encoding="latin-1")
    for attempt in (check_tuning_folder, lambda folder: save_tuning_data(layouts(), folder)):
        with pytest.raises(AutotuneError, match=r"labels\.json: expected the labels of tuning data"):
            attempt(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]
    assert (tmp_path / "labels.json").read_text(encoding="latin-1") == content


# ---- The command -----------------------------------------------------------------------------------------------------


def test_the_command_refuses_a_folder_before_it_reads_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = autotune("search", tmp_path / "nothing.hlo", "--save-tuning-data", tmp_path / "file")
    assert done.returncode == 1
    assert "is a file; choose another place with --save-tuning-data" in done.stderr


@pytest.mark.slow
def test_the_command_saves_what_it_measured(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(programs.two_dots().module)
    arguments = ("--budget", 3, "--database", tmp_path / "db.sqlite", "--save-tuning-data", tmp_path / "data", "--json")
    done = autotune("search", tmp_path / "model.pb", *arguments)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / "data" / name for name in ("labels.json", "two_dots.layout.pb", "two_dots.layout.npz")]
    assert json.loads(done.stdout)["files"][-3:] == [str(path) for path in files]
    lines = (tmp_path / "model.autotune" / "evaluations.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    runtimes = read_npz(files[2]).runtimes
    assert runtimes is not None
    assert runtimes.tolist() == [round(each * 1e9) for each in seconds]
    inspected = autotune("inspect", files[1], "--features", tmp_path / "again.npz")
    assert inspected.returncode == 0, inspected.stderr
    with np.load(tmp_path / "again.npz") as again, np.load(files[2]) as written:
        assert list(again) == list(written)
        assert all(np.array_equal(again[name], written[name]) for name in again)
