"""The commands as a user runs them: exit codes, messages, files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.cli import EXIT_CODES
from autotune.errors import ProgramReadError
from autotune.hlo.reader import read, read_bytes
from protos import hlo_pb2, tuning_pb2
from tests import hlo_texts, programs
from tests.rows import committed


def autotune(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autotune.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.hlo"
    path.write_text(hlo_texts.TWO_DOTS)
    return path


@pytest.mark.slow
def test_search_leaves_a_result_that_can_be_used(model: Path, tmp_path: Path) -> None:
    done = autotune("search", model, "--budget", 3, "--database", tmp_path / "db.sqlite", "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "default" in done.stdout
    assert "4 measured" in done.stdout
    folder = tmp_path / "model.autotune"
    best = json.loads((folder / "best.json").read_text())
    assert best["target"]["label"] == "measured"
    assert best["program"]["fingerprint"] == read(model).fingerprint
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all(line["kind"] == "measured" and line["seconds"] > 0 for line in lines)
    assert read(folder / "tuned.hlo").fingerprint == read(folder / "tuned.pb").fingerprint
    again = autotune("search", model, "--budget", 3, "--database", tmp_path / "db.sqlite", "--json")
    assert json.loads(again.stdout)["search"]["reused"] == 3


@pytest.mark.slow
def test_a_search_for_a_tpu_says_that_it_estimates(tmp_path: Path) -> None:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    model = tmp_path / "model.hlo"
    model.write_text(hlo_texts.matrix_product(1024, 512, 256, bias_and_tanh=True))
    options = ["--target", "tpu:v5e", "--budget", 9, "--database", tmp_path / "db.sqlite"]
    done = autotune("search", model, *options)
    assert done.returncode == 0, done.stderr
    assert "estimated (compiler cycles, tpu v5e)" in done.stdout
    assert " ms" not in done.stdout
    assert "measured" not in done.stdout
    assert "To measure first on a TPU" in done.stdout
    best = json.loads((tmp_path / "model.autotune" / "best.json").read_text())
    assert best["target"]["label"] == "estimated"
    (tiles,) = [each for each in best["tiles"] if each["measure_first"]]
    assert tiles["ranked_by"] == "analytical:tpu-v5e"
    assert all(tile["estimated_cycles"] > 0 for tile in tiles["measure_first"])
    lines = (tmp_path / "model.autotune" / "evaluations.jsonl").read_text().splitlines()
    assert all("seconds" not in json.loads(line) for line in lines)
    again = json.loads(autotune("search", model, *options, "--json").stdout)
    assert again["search"]["reused"] == again["evaluations"]["estimated"] - 1


@pytest.mark.slow
def test_ctrl_c_saves_the_best_so_far(model: Path, tmp_path: Path) -> None:
    command = ["search", str(model), "--budget", "500", "--database", str(tmp_path / "db.sqlite"), "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job that a shell started in the background inherits an ignored SIGINT, and so would the search.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as search:
        deadline = time.monotonic() + 120
        while len(committed(tmp_path / "db.sqlite")) < 2 and time.monotonic() < deadline and search.poll() is None:
            time.sleep(0.02)
        search.send_signal(signal.SIGINT)
        output, _ = search.communicate(timeout=60)
    assert search.returncode == 130
    result = json.loads(output)
    assert result["search"]["stopped"] == "interrupted"
    assert 0 < result["evaluations"]["measured"] < 500
    assert (tmp_path / "model.autotune" / "best.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "no/such/file.hlo"], 3, "no such file"),
        (["inspect", "no/such/file.hlo"], 3, "no such file"),
        (["search"], 2, "Missing argument"),
        (["search", "MODEL", "--budget", "0"], 2, "budget"),
        (["search", "MODEL", "--target", "abacus"], 1, "target 'abacus': expected cpu, tpu, tpu:<generation>"),
        (["search", "MODEL", "--space", "tile"], 4, "no tile choice"),
        (["search", "MODEL", "--database", "FOLDER"], 1, "is a folder"),
        (["search", "MODEL", "--out", "MODEL/result"], 1, "is a file; choose another place with --out"),
        (["inspect", "MODEL", "--features", "MODEL"], 1, "expected a name that ends in .npz"),
        (["inspect", "MODEL", "--features", "FOLDER/no/such.npz"], 1, "make it first or choose another place"),
    ],
    ids=[
        *("missing file", "missing file to inspect", "no file", "budget", "target", "space", "database", "result"),
        *("features: ending", "features: folder"),
    ],
)
def test_errors_have_documented_exit_codes_and_no_traceback(
    arguments: list[str], code: int, message: str, model: Path, tmp_path: Path
) -> None:
    arguments = [each.replace("MODEL", str(model)).replace("FOLDER", str(tmp_path)) for each in arguments]
    if arguments[0] == "search" and "--database" not in arguments:
        arguments += ["--database", str(tmp_path / "db.sqlite")]
    done = autotune(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_json_errors_are_json(tmp_path: Path) -> None:
    done = autotune("inspect", tmp_path / "nothing.hlo", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == EXIT_CODES[ProgramReadError]


def test_inspect_shows_the_program(model: Path) -> None:
    done = autotune("inspect", model, "--json")
    facts = json.loads(done.stdout)
    # two products of 2 * 8 * 16 * 32 and 2 * 8 * 32 * 8 operations, and a tanh of 8 * 32 elements
    assert facts["costs"]["flops"] == 2 * 8 * 16 * 32 + 2 * 8 * 32 * 8
    assert facts["instructions"] == 6
    assert facts["spaces"]["layout"] == str(3**6)
    text = autotune("inspect", model)
    assert text.returncode == 0
    assert "two_dots" in text.stdout


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys, autotune.cli\n"
        "heavy = {'jax', 'jaxlib', 'tensorflow', 'torch', 'numpy', 'google.protobuf', 'sqlite3', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# ---- inspect --features ----------------------------------------------------------------------------------------------

FUSED = """HloModule fused

twice {
  value = f32[8,128]{1,0} parameter(0)
  ROOT sum = f32[8,128]{1,0} add(value, value)
}

ENTRY main {
  input = f32[8,128]{1,0} parameter(0)
  ROOT kernel = f32[8,128]{1,0} fusion(input), kind=kLoop, calls=twice
}
"""


def _features(file: Path, out: Path, *arguments: object) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays that `inspect --features` writes, and what it says of them."""
    done = autotune("inspect", file, "--features", out, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    with np.load(out, allow_pickle=False) as content:
        return dict(content), json.loads(done.stdout)["features"]


def _tuning_data() -> tuning_pb2.TuningData:
    """Two products with layout runs, and a kernel with tile runs."""
    whole = tuning_pb2.ModuleTuningData(module=programs.two_dots().proto, fingerprint=1)
    whole.config_index_to_node.extend(
        node for node, each in enumerate(whole.module.computations[0].instructions) if each.opcode == "dot"
    )
    for nanoseconds, order in ((500, [1, 0]), (400, [0, 1])):
        run = whole.runs.add()
        run.profile.compute_time_ns = nanoseconds
        for _ in whole.config_index_to_node:
            run.module_config.layout_config.nodes.add().tensors.add(dims=order)
    whole.runs.add(error=True).module_config.SetInParent()
    fused = read_bytes(FUSED.encode(), "fused", keep_optimised=True).proto
    kernel = tuning_pb2.ModuleTuningData(module=fused, fingerprint=2)
    for nanoseconds, bounds in ((30, [8, 128]), (20, [4, 128])):
        run = kernel.runs.add(is_default=nanoseconds == 30)
        run.profile.compute_time_ns = nanoseconds
        run.op_config.tile_size_config.output_bounds.extend(bounds)
    return tuning_pb2.TuningData(modules=[whole, kernel])


def test_features_of_a_program(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    arrays, said = _features(model, out)
    assert {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()} == {
        "node_feat": "float32[6, 140]",
        "node_opcode": "uint8[6]",
        "edge_index": "int64[5, 2]",
        "node_config_ids": "int64[2]",
        "node_splits": "int64[1, 2]",
    }
    assert said["path"] == str(out)
    assert said["arrays"]["edge_index"] == {"dtype": "int64", "shape": [5, 2]}
    assert (said["runs"], said["runs_left_out"]) == (0, 0)
    shown = autotune("inspect", model, "--features", out)
    assert shown.returncode == 0, shown.stderr
    assert "no runs: the graph alone" in shown.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.hlo", "out.npz"]


def test_features_of_tuning_data(tmp_path: Path) -> None:
    file = tmp_path / "runs.pb"
    file.write_bytes(_tuning_data().SerializeToString())
    layout, said = _features(file, tmp_path / "layout.npz", "--module", "two_dots")
    assert layout["config_runtime"].tolist() == [500, 400]
    assert layout["node_config_feat"][:, :, :3].tolist() == [[[1, 0, -1]] * 2, [[0, 1, -1]] * 2]
    assert (said["runs"], said["runs_left_out"]) == (2, 1)
    tile, said = _features(file, tmp_path / "tile.npz", "--module", "fused")
    assert tile["node_opcode"].tolist() == [63, 2, 63, 41]  # the fusion (41) is still one
    assert tile["edge_index"].tolist() == [[1, 0], [3, 1], [3, 2]]
    assert tile["config_feat"][:, 8:16].tolist() == [[8, 128, 0, 0, 0, 0, 136, 1024], [4, 128, 0, 0, 0, 0, 132, 512]]
    assert tile["config_runtime"].tolist() == [30, 20]
    assert tile["config_runtime_normalizers"].tolist() == [30, 30]
    assert (said["runs"], said["runs_left_out"]) == (2, 0)


def test_features_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "program.npz"  # the content decides what is read, not the name
    renamed.write_text(hlo_texts.TWO_DOTS)
    (tmp_path / "folder.npz").mkdir()
    done = autotune("inspect", renamed, "--features", tmp_path / "." / "program.npz", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (1, 1)
    assert "is the program itself" in done.stderr
    assert renamed.read_text() == hlo_texts.TWO_DOTS
    done = autotune("inspect", model, "--features", tmp_path / "folder.npz")
    assert done.returncode == 1
    assert "is a folder" in done.stderr


def test_features_of_published_tuning_data(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "tpugraphs"
    arrays, said = _features(folder / "module_tuning_data_layout.pb", tmp_path / "out.npz")
    assert (said["runs"], said["runs_left_out"]) == (112, 10)
    with np.load(folder / "layout" / "xla" / "default" / "valid" / "unet_3d.4x4.bf16.npz") as content:
        published = dict(content)
    assert list(arrays) == list(published)
    for name in ("node_feat", "node_opcode", "edge_index", "node_config_ids", "node_splits"):
        _assert_identical(name, arrays[name], published[name])
    # The published file holds these runs among others: each must be there, config and runtime.
    assert arrays["node_config_feat"].dtype == published["node_config_feat"].dtype
    assert _runs(arrays) <= _runs(published)
    assert len(arrays["config_runtime"]) == 112


def _runs(arrays: dict[str, NDArray[Any]]) -> set[tuple[int, bytes]]:
    return {
        (int(runtime), config.tobytes())
        for runtime, config in zip(arrays["config_runtime"], arrays["node_config_feat"], strict=True)
    }


def test_features_of_published_kernels(shared: Path, tmp_path: Path) -> None:
    """The kernels' modules and what was measured, put together as tuning data, are the published files again."""
    folder = shared / "data" / "tpugraphs"
    published = {}
    data = tuning_pb2.TuningData()
    for path in sorted((folder / "tile" / "xla" / "train").glob("*.npz")):
        with np.load(path) as content:
            published[path.stem] = dict(content)
        module = hlo_pb2.HloModuleProto.FromString((folder / "modules" / f"{path.stem}.pb").read_bytes())
        data.modules.add(module=module, fingerprint=1).runs.extend(_tile_runs(published[path.stem]))
    assert sum(len(each.runs) for each in data.modules) == 636
    file = tmp_path / "kernels.pb"
    file.write_bytes(data.SerializeToString())
    for kernel, expected in published.items():
        arrays, _ = _features(file, tmp_path / "out.npz", "--module", kernel)
        assert list(arrays) == list(expected)
        # These files hold int32, all others of the data set (valid and test, layouts) bytes.
        expected["node_opcode"] = expected["node_opcode"].astype(np.uint8)
        for name, array in expected.items():
            _assert_identical(name, arrays[name], array)


def _tile_runs(arrays: dict[str, NDArray[Any]]) -> list[tuning_pb2.ConfigProfile]:
    """The runs that a tile file was made from; the first one that took as long as the normalizer is the default's."""
    runs = []
    default = arrays["config_runtime"].tolist().index(arrays["config_runtime_normalizers"][0])
    for index, (values, nanoseconds) in enumerate(zip(arrays["config_feat"], arrays["config_runtime"], strict=True)):
        run = tuning_pb2.ConfigProfile(is_default=index == default)
        run.profile.compute_time_ns = int(nanoseconds)
        tile = run.op_config.tile_size_config
        tile.SetInParent()
        for bounds, start in ((tile.kernel_bounds, 0), (tile.output_bounds, 8), (tile.input_bounds, 16)):
            # A group of columns is six bounds, padded with 0, and the sum and product of all: no bound is 0 itself (so
            # would the product be), and none is missing (or the sum would be larger).
            entries = [int(value) for value in values[start : start + 6] if value]
            assert sum(entries) == values[start + 6]
            bounds.extend(entries)
        runs.append(run)
    return runs


def _assert_identical(name: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    assert found.tobytes() == expected.tobytes(), name


TILED_KERNEL = """HloModule kernel, is_scheduled=true
ENTRY main {
  x = f32[512,512]{1,0:T(8,128)} parameter(0)
  ROOT negated = f32[512,512]{1,0:T(8,128)} negate(x)
}
"""


@pytest.mark.slow
def test_a_file_that_is_one_kernel(tmp_path: Path) -> None:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    model = tmp_path / "kernel.hlo"
    model.write_text(TILED_KERNEL)
    options = ["--target", "tpu:v5e", "--budget", 4, "--database", tmp_path / "db.sqlite"]
    done = autotune("search", model, *options, "--save-tuning-data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "estimated (compiler cycles, tpu v5e)" in done.stdout
    assert "To measure first on a TPU, as analytical:tpu-v5e ranks them" in done.stdout
    assert "measured" not in done.stdout
    best = json.loads((tmp_path / "kernel.autotune" / "best.json").read_text())
    assert best["space"]["kind"] == "tile"
    assert best["program"]["source"] == "kernel.hlo (HLO text)"
    assert "run_backend_only" in best["how_to_use"]
    (tiles,) = best["tiles"]
    assert tiles["kernel"] == "negated"
    assert tiles["chosen_by_compiler"]["estimated_cycles"] == best["default"]["cycles"]
    assert (tmp_path / "data" / "kernel_negated.tile.npz").exists() or list((tmp_path / "data").glob("*.tile.npz"))
    moved = tmp_path / "reshape.hlo"
    moved.write_text(TILED_KERNEL.replace("f32[512,512]{1,0:T(8,128)} negate", "f32[256,1024]{1,0:T(8,128)} reshape"))
    for space in ("tile", "auto"):
        refused = autotune("search", moved, *options, "--space", space)
        assert refused.returncode == 4, refused.stdout
        assert "kernel 'negated' (reshape) has no choice of tiles: the TPU compiler lists none" in refused.stderr


def test_a_tpu_that_is_not_there(model: Path) -> None:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    if Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists():
        pytest.skip("this host may have a TPU")
    done = autotune("search", model, "--target", "tpu")
    assert done.returncode == 1
    assert "error: target 'tpu': no TPU of this host can be opened. Looked for:" in done.stderr
    assert "Without a TPU, name a generation to compile for: tpu:v2" in done.stderr
    assert "Traceback" not in done.stderr
