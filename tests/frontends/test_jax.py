"""Tuned functions of jax: they compute, differentiate and vectorise as the functions they came from, or say why not."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import autotune
from autotune.errors import AutotuneError, NotTunedError, UnsupportedProgramError
from autotune.frontends.jax import TunableFunction, TunedFunction, capture
from tests.conftest import REPO_ROOT
from tests.frontends.forced import force
from tests.frontends.functions import FUNCTIONS, loss, mlp, mlp_arguments

CONSTRAINT = "LayoutConstraint"
RESULTS: Any = {"function": None}
"""What is kept of searches where there was none."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.sqlite"


def assert_close(found: Any, expected: Any) -> None:
    structures: list[Any] = [jax.tree.structure(each) for each in (found, expected)]
    assert structures[0] == structures[1]
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), rtol=2e-4, atol=2e-5)


def runs_tuned(function: TunableFunction, *args: Any, **kwargs: Any) -> bool:
    return CONSTRAINT in function.lower(*args, **kwargs).as_text()


# ---- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outputs_and_gradients_are_those_of_the_function(name: str, database: Path) -> None:
    function, arguments = FUNCTIONS[name]
    force(database, function, *arguments, gradients=True)
    tuned = autotune.jit(function, database=database)
    assert runs_tuned(tuned, *arguments)
    assert_close(tuned(*arguments), jax.jit(function)(*arguments))

    gradient = jax.jit(jax.grad(loss(tuned), argnums=(0, 1)))
    assert CONSTRAINT in gradient.lower(*arguments).as_text()
    assert_close(gradient(*arguments), jax.jit(jax.grad(loss(function), argnums=(0, 1)))(*arguments))


@pytest.mark.parametrize("missing", [0, 1, 2], ids=["function", "forward", "backward"])
def test_any_part_of_a_derivative_may_be_untuned(missing: int, database: Path) -> None:
    function, arguments = mlp, mlp_arguments()
    records = force(database, function, *arguments, gradients=True)
    known = {record.program: record for number, record in enumerate(records) if number != missing}
    tuned = TunableFunction(function, database=database.with_name("none"), known=known)
    assert_close(jax.grad(loss(tuned))(*arguments), jax.grad(loss(function))(*arguments))


def test_vmap_runs_the_function_itself_vectorised(database: Path) -> None:
    weights, x = mlp_arguments()
    force(database, mlp, weights, x)
    tuned = autotune.jit(mlp, database=database)
    many = jnp.stack([x, 2 * x, 3 * x])
    assert_close(jax.vmap(tuned, (None, 0))(weights, many), jax.vmap(mlp, (None, 0))(weights, many))
    batched = jax.vmap(jax.grad(loss(tuned)), (None, 0))(weights, many)
    assert_close(batched, jax.vmap(jax.grad(loss(mlp)), (None, 0))(weights, many))


def test_static_keyword_and_scalar_arguments(database: Path) -> None:
    def scaled(x: jax.Array, factor: float, *, mode: str, shift: jax.Array) -> jax.Array:
        return (x @ x.T) * factor + shift if mode == "up" else x @ x

    x, shift = jnp.ones((16, 16)), jnp.arange(16.0)
    tuned = autotune.tune(
        scaled, x, 2.0, kwargs={"mode": "up", "shift": shift}, budget=1, database=database, static_argnames="mode"
    )
    for factor in (2.0, 3.5):  # a scalar is no constant of the program
        assert_close(tuned(x, factor, mode="up", shift=shift), scaled(x, factor, mode="up", shift=shift))
    assert_close(tuned(x, 2.0, mode="down", shift=shift), scaled(x, 2.0, mode="down", shift=shift))
    assert tuned.result.counts["measured"] >= 2


def test_integers_bfloat16_keys_and_empty_trees(database: Path) -> None:
    def mixed(table: jax.Array, rows: jax.Array, key: jax.Array, nothing: None) -> dict[str, Any]:
        chosen = table[rows] @ table.T
        noise = jax.random.normal(key, chosen.shape, chosen.dtype)
        return {"sum": chosen + noise, "rows": rows + 1, "nothing": nothing}

    arguments = (jnp.ones((8, 4), jnp.bfloat16), jnp.array([1, 3, 5]), jax.random.key(7), None)
    force(database, mixed, *arguments)
    tuned = autotune.jit(mixed, database=database)
    assert runs_tuned(tuned, *arguments)
    assert_close(tuned(*arguments), jax.jit(mixed)(*arguments))

    def total(function: Callable[..., Any]) -> Callable[..., jax.Array]:
        return lambda table: function(table, *arguments[1:])["sum"].astype(jnp.float32).sum()

    assert_close(jax.grad(total(tuned))(arguments[0]), jax.grad(total(mixed))(arguments[0]))


def test_donated_arguments_are_given_up(database: Path) -> None:
    def step(state: jax.Array, x: jax.Array) -> jax.Array:
        return state + x @ x

    state, x = jnp.ones((32, 32)), jnp.ones((32, 32))
    force(database, step, state, x)
    tuned = autotune.jit(step, database=database, donate_argnums=0)
    assert runs_tuned(tuned, state, x)
    assert_close(tuned(state, x), jnp.full((32, 32), 33.0))
    assert state.is_deleted()
    assert not x.is_deleted()


def test_methods(database: Path) -> None:
    class Layer:
        @autotune.jit(static_argnums=0, database=database)  # type: ignore[untyped-decorator]
        def apply(self, x: jax.Array) -> jax.Array:
            return x @ x

    assert_close(Layer().apply(jnp.ones((4, 4))), jnp.full((4, 4), 4.0))


# ---- when the tuned version runs ---------------------------------------------------------------------------------


def test_what_came_of_the_lookup_is_said_once(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "autotune")
    weights, x = mlp_arguments()
    force(database, mlp, weights, x)
    tuned = autotune.jit(mlp, database=database)
    for _ in range(3):
        tuned(weights, x)
    assert [each.message for each in caplog.records] == [
        "mlp(float32[64], float32[32,64], float32[64,16], float32[128,32]): "
        "the tuned version runs: 1.50x faster (forced by a test)"
    ]
    caplog.clear()
    other = jnp.concatenate([x, x])[:128].astype(jnp.bfloat16)
    tuned(weights, other)
    (record,) = caplog.records
    assert "never tuned for this device" in record.message
    assert "bfloat16[128,32]" in record.message


def test_another_process_finds_it(database: Path) -> None:
    weights, x = mlp_arguments()
    force(database, mlp, weights, x)
    code = (
        "import autotune; from tests.frontends.functions import *; "
        f"tuned = autotune.jit(mlp, database={str(database)!r}, require_cached=True); "
        "print('LayoutConstraint' in tuned.lower(*mlp_arguments()).as_text(), tuned(*mlp_arguments())['mean'])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found, mean = run.stdout.split()
    assert found == "True"
    assert float(mean) == pytest.approx(float(mlp(weights, x)["mean"]), rel=1e-4)


def test_the_off_switches(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x = mlp_arguments()
    force(database, mlp, weights, x)
    tuned = autotune.jit(mlp, database=database)
    with autotune.disabled():
        assert not runs_tuned(tuned, weights, x)
        assert_close(tuned(weights, x), jax.jit(mlp)(weights, x))
    assert runs_tuned(tuned, weights, x)
    monkeypatch.setenv("AUTOTUNE_DISABLE", "1")
    assert not runs_tuned(tuned, weights, x)
    monkeypatch.setenv("AUTOTUNE_DISABLE", "0")
    assert runs_tuned(tuned, weights, x)


def test_required_and_not_there(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x = mlp_arguments()
    with pytest.raises(NotTunedError, match="does not exist"):
        autotune.jit(mlp, database=database, require_cached=True)(weights, x)
    force(database, mlp, weights, x, device_kind="another CPU, 1 core")
    with pytest.raises(NotTunedError, match=r"The database .* has it for: another CPU, 1 core with jaxlib"):
        autotune.jit(mlp, database=database, require_cached=True)(weights, x)
    assert not runs_tuned(autotune.jit(mlp, database=database), weights, x)
    monkeypatch.setenv("AUTOTUNE_REQUIRE_CACHED", "1")
    with pytest.raises(NotTunedError):
        autotune.jit(mlp, database=database)(weights, x)


def test_a_database_that_cannot_be_read_costs_the_tuning_only(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    database.write_text("no database")
    weights, x = mlp_arguments()
    assert_close(autotune.jit(mlp, database=database)(weights, x), jax.jit(mlp)(weights, x))
    assert "this file is not an SQLite database" in caplog.text
    with pytest.raises(AutotuneError, match="not an SQLite database"):
        autotune.jit(mlp, database=database, require_cached=True)(weights, x)


# ---- tune ------------------------------------------------------------------------------------------------------------


def test_tune_searches_and_returns_the_function(database: Path) -> None:
    weights, x = mlp_arguments()
    tuned = autotune.tune(mlp, weights, x, budget=2, gradients=True, database=database, model="none")
    assert list(tuned.results) == ["function", "forward", "backward"]
    assert all(each.counts["measured"] >= 2 for each in tuned.results.values())
    assert_close(tuned(weights, x), jax.jit(mlp)(weights, x))
    assert_close(jax.grad(loss(tuned))(weights, x), jax.grad(loss(mlp))(weights, x))
    again = autotune.tune(mlp, weights, x, budget=2, database=database, model="none")
    assert again.result.reused >= 2


def test_what_was_tuned_for_another_device_does_not_run_here(
    database: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, x = mlp_arguments()
    (record,) = force(database, mlp, weights, x)
    here = TunedFunction(mlp, capture(mlp, (weights, x), {}), RESULTS, [record], database=database)
    assert runs_tuned(here, weights, x)
    flags = {"xla_flag_of_another_compiler": True}
    foreign = replace(record, device_kind="TPU v5e:1x1, compiler only", compiler_version="libtpu 0", options=flags)
    there = TunedFunction(mlp, capture(mlp, (weights, x), {}), RESULTS, [foreign], database=database)
    assert runs_tuned(there, weights, x), "the database has it for this device"
    database.unlink()
    there = TunedFunction(mlp, capture(mlp, (weights, x), {}), RESULTS, [foreign], database=database)
    caplog.clear()
    assert not runs_tuned(there, weights, x)
    (message,) = (each.message for each in caplog.records)
    assert "was tuned for TPU v5e:1x1, compiler only with libtpu 0, which is not what jax uses here" in message
    assert_close(there(weights, x), jax.jit(mlp)(weights, x))
    monkeypatch.setenv("AUTOTUNE_REQUIRE_CACHED", "1")
    strict = TunedFunction(mlp, capture(mlp, (weights, x), {}), RESULTS, [foreign], database=database)
    with pytest.raises(NotTunedError, match="was tuned for TPU v5e:1x1, compiler only with libtpu 0, which is not"):
        strict(weights, x)


def test_shapes_will_do_in_place_of_arrays(database: Path) -> None:
    shape = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    tuned = autotune.tune(lambda a, b: a @ b, shape, shape, budget=1, database=database)
    assert_close(tuned(jnp.eye(16), jnp.eye(16)), jnp.eye(16))


def test_what_cannot_be_exported_is_refused_before_the_search(database: Path) -> None:
    def calls_back(x: jax.Array) -> jax.Array:
        called: jax.Array = jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        return called @ x

    x = jnp.ones((4, 4))
    with pytest.raises(UnsupportedProgramError, match="calls_back"):
        autotune.tune(calls_back, x, budget=1, database=database)
    assert_close(autotune.jit(calls_back, database=database)(x), x @ x)


def test_errors_of_the_function_are_the_users_own(database: Path) -> None:
    def wrong(x: jax.Array) -> jax.Array:
        raise RuntimeError("of the user")

    with pytest.raises(RuntimeError, match="of the user"):
        autotune.jit(wrong, database=database)(jnp.ones(2))
    with pytest.raises(RuntimeError, match="of the user"):
        autotune.tune(wrong, jnp.ones(2), database=database)


def test_a_program_has_one_fingerprint_however_it_is_captured() -> None:
    weights, x = mlp_arguments()
    shapes = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), (weights, x))
    assert capture(mlp, (weights, x), {}).program.fingerprint == capture(mlp, shapes, {}).program.fingerprint
