"""Results that are applied later, in other processes, and refused where they do not belong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import autotune
from autotune.cli import app
from autotune.errors import AutotuneError, NotTunedError
from autotune.frontends.jax import TunedFunction, capture
from autotune.hlo.modules import entry_computation
from autotune.targets.cpu import CpuTarget
from autotune.tuned import tuned_record
from cost_model.files import replace_file
from tests.conftest import REPO_ROOT
from tests.frontends.functions import loss, mlp, mlp_arguments
from tests.frontends.test_jax import CONSTRAINT, assert_close


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved function whose best config was changed to one that asks for layouts, whatever the search found."""
    place = tmp_path_factory.mktemp("saved")
    weights, x = mlp_arguments()
    tuned = autotune.tune(mlp, weights, x, budget=1, database=place / "evaluations.sqlite", model="none")
    with CpuTarget() as target:
        space = target.space(tuned.result.prepared, "layout")
        program = target.realise(tuned.result.prepared, space.sample(np.random.default_rng(0)))
    other = next(e for e in tuned.result.evaluations if e.config != tuned.result.default.config)
    result = replace(tuned.result, best=other, tuned=program)
    records = [tuned_record(result)]
    changed = TunedFunction(mlp, tuned._captured, {"function": result}, records, database=place / "evaluations.sqlite")
    files = changed.save(place / "mlp.autotune")
    assert {"best.json", "tuned.pb", "tuned.jax"} <= {path.name for path in files}
    return place / "mlp.autotune"


def changed(folder: Path, to: Path, **target: str) -> Path:
    """A copy with other facts of the target."""
    to.mkdir()
    for path in folder.iterdir():
        replace_file(to / path.name, path.read_bytes())
    facts = json.loads((to / "best.json").read_text())
    facts["target"] |= target
    (to / "best.json").write_text(json.dumps(facts))
    return to


def test_with_its_own_pytrees(folder: Path) -> None:
    weights, x = mlp_arguments()
    run: Any = autotune.load(folder).callable()
    assert_close(run(weights, x), jax.jit(mlp)(weights, x))
    assert CONSTRAINT in run.lower(weights, x).as_text()


def test_in_place_of_the_function(folder: Path) -> None:
    weights, x = mlp_arguments()
    run: Any = autotune.load(folder).callable(mlp)
    assert CONSTRAINT in run.lower(weights, x).as_text()
    assert_close(jax.grad(loss(run))(weights, x), jax.grad(loss(mlp))(weights, x))


def test_from_arrays_in_the_order_of_the_parameters(folder: Path, tmp_path: Path) -> None:
    """As after `autotune search FILE`, which knows no function."""
    weights, x = mlp_arguments()
    bare = changed(folder, tmp_path / "bare")
    (bare / "tuned.jax").unlink()
    run: Any = autotune.load(bare).callable()
    mean, output = run(weights["bias"], weights["first"], weights["second"], x)
    assert_close({"mean": mean, "output": output}, jax.jit(mlp)(weights, x))
    assert CONSTRAINT in run.lower(weights["bias"], weights["first"], weights["second"], x).as_text()


def test_another_program_is_refused(folder: Path) -> None:
    weights, x = mlp_arguments()
    run = autotune.load(folder).callable(lambda weights, x: x @ weights["first"])
    with pytest.raises(NotTunedError, match=r"program: tuned was jit_mlp \([0-9a-f]{32}\), this is"):
        run(weights, x)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"device_kind": "TPU v5 lite"}, "device kind: tuned for 'TPU v5 lite', this is '.*1 core'"),
        ({"compiler_version": "jaxlib 0.9.0"}, "compiler version: tuned for 'jaxlib 0.9.0', this is 'jaxlib"),
    ],
)
def test_another_device_or_compiler_is_refused(
    folder: Path, tmp_path: Path, target: dict[str, str], message: str
) -> None:
    weights, x = mlp_arguments()
    other = autotune.load(changed(folder, tmp_path / "other", **target))
    with pytest.raises(NotTunedError, match=message):
        other.callable()
    assert len(other.differences()) == 1
    assert_close(other.callable(force=True)(weights, x), jax.jit(mlp)(weights, x))


def test_what_is_no_result(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match=r"best\.json: cannot be read"):
        autotune.load(tmp_path)
    (tmp_path / "best.json").write_text('{"verdict": "?"}')
    with pytest.raises(AutotuneError, match="improved, program, target, compile_options missing"):
        autotune.load(tmp_path)
    damaged = changed(folder, tmp_path / "damaged")
    (damaged / "tuned.jax").write_bytes(b"nonsense")
    with pytest.raises(AutotuneError, match=r"tuned\.jax: cannot be read"):
        autotune.load(damaged).callable()
    (damaged / "tuned.jax").unlink()
    (damaged / "tuned.pb").unlink()
    with pytest.raises(AutotuneError, match=r"tuned\.pb: cannot be read"):
        autotune.load(damaged).callable()
    (damaged / "tuned.pb").write_bytes(b"nonsense")
    with pytest.raises(AutotuneError, match=r"tuned\.pb: no program"):
        autotune.load(damaged).callable()


# ---- autotune export -------------------------------------------------------------------------------------------------

MODEL = """
import jax
import jax.numpy as jnp

def step(weights, x, upwards):
    y = x @ weights["w"]
    return {name: each - 0.1 for name, each in weights.items()}, y if upwards else -y

ARGUMENTS = ({"w": jax.ShapeDtypeStruct((4, 8), jnp.float32)}, jnp.ones((2, 4)), True)
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"model_{tmp_path.name}".replace("-", "_")
    path = tmp_path / f"{name}.py"
    path.write_text(MODEL)
    return path


def export(*arguments: str) -> tuple[int, str]:
    run = CliRunner().invoke(app, ["export", *arguments])
    return run.exit_code, run.output


def test_export_of_shapes_and_of_arguments_in_the_module(model: Path) -> None:
    fingerprints = set()
    for out, arguments in {
        "a.hlo": '{"w": f32[4,8]}, f32[2,4], True',
        "b.pb": '{"w": float32[4, 8]}, float32[2, 4], True',
        "c.txt": f"{model.stem}:ARGUMENTS",
    }.items():
        code, output = export(f"{model.stem}:step", "--args", arguments, "--static", "2", "-o", out)
        assert code == 0, output
        program = autotune.read(out)
        entry = entry_computation(program.proto)
        assert [i.opcode for i in entry.instructions].count("dot") == 1
        assert [i.opcode for i in entry.instructions].count("negate") == 0
        fingerprints.add(program.fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("step", "f32[2]", "expected MODULE:NAME"),
        ("nowhere:step", "f32[2]", "No module named 'nowhere'"),
        ("MODEL:other", "f32[2]", "has no attribute 'other'"),
        ("MODEL:ARGUMENTS", "f32[2]", "expected a function, found tuple"),
        ("MODEL:step", "f33[2]", "'f33' is no element type"),
        ("MODEL:step", "f32[2", "cannot be read"),
        ("MODEL:step", '{"w": f32[4,8]}, f32[2,5], True', "dot_general requires contracting dimensions"),
        ("MODEL:step", "MODEL:step", "MODEL:step: cannot be called for the arguments: TypeError"),
    ],
)
def test_export_says_what_is_wrong(model: Path, function: str, arguments: str, message: str) -> None:
    named = [each.replace("MODEL", model.stem) for each in (function, arguments)]
    code, output = export(named[0], "--args", named[1], "--static", "2")
    assert code == 1
    assert message.replace("MODEL", model.stem) in output
    assert "Traceback" not in output


def test_a_search_of_the_exported_file_tunes_the_function(tmp_path: Path) -> None:
    """The command line and the function meet in the database."""
    weights, x = mlp_arguments()
    captured = capture(mlp, (weights, x), {})
    (tmp_path / "mlp.pb").write_bytes(captured.program.module)
    result = autotune.search(tmp_path / "mlp.pb", budget=1, database=tmp_path / "db.sqlite", model="none")
    assert result.prepared.program.fingerprint == captured.program.fingerprint
    run = autotune.jit(mlp, database=tmp_path / "db.sqlite", require_cached=True)
    assert_close(run(weights, x), jax.jit(mlp)(weights, x))
    assert_close(run(weights, x)["mean"], jnp.asarray(mlp(weights, x)["mean"]))


@pytest.mark.slow
def test_export_of_a_keras_model_and_of_a_function_of_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")
    (tmp_path / "theirs.py").write_text(
        "import keras, tensorflow as tf\n"
        "model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])\n"
        "@tf.function(jit_compile=True)\n"
        "def product(x, y):\n"
        "    return tf.matmul(x, y)\n"
    )
    for name, arguments, opcode in (("model", "f32[2,8,8,3]", "convolution"), ("product", "f32[2,8], f32[8,3]", "dot")):
        command = [sys.executable, "-m", "autotune.cli", "export", f"theirs:{name}", "--args", arguments]
        environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert run.returncode == 0, run.stderr
        program = autotune.read(tmp_path / f"{name}.hlo")
        assert [i.opcode for i in entry_computation(program.proto).instructions].count(opcode) == 1
