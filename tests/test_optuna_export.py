"""Evaluations as a study of Optuna, read back by Optuna: numbers, kinds, and each evaluation once."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from autotune import save_study
from autotune.database import Database
from autotune.errors import AutotuneError, ToolchainError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Measured
from autotune.hlo.reader import read_bytes
from autotune.optuna_parameters import Parameters
from autotune.optuna_storage import check_study_storage, described
from autotune.result import Comparison
from autotune.spaces.base import config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import EMITTER_DEFAULT, TILED, GemmTileSpace, TileConfig, find_dot_kernel
from tests import programs
from tests.tables import ListedTarget
from tests.test_cli import autotune
from tests.test_tiles import kernel
from tests.test_tiles import search as search_kernels
from tests.test_tuning_export import CPU, FIRST, SECOND, TPU, layouts, measured, searched

UNCHANGED = {
    "h output [8,32]": "compiler",
    "h first input [8,16]": "compiler",
    "h second input [16,32]": "compiler",
    "y output [8,8]": "compiler",
    "y first input [8,32]": "compiler",
    "y second input [32,8]": "compiler",
}
"""The parameters of the default of `programs.two_dots`: h = x[8,16] w[16,32] is node 2, y = tanh(h) v[32,8] node 5."""


def storage_of(path: Path) -> Any:
    if path.suffix == ".log":
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    return f"sqlite:///{path}"


def study_in(path: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage_of(path))


def trials_in(path: Path, name: str) -> list[FrozenTrial]:
    return study_in(path, name).trials


@pytest.fixture(params=["study.db", "study.log"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_one_trial_per_evaluation(path: Path) -> None:
    outcomes = [Measured(s, 0.03, 2e-3, 0.01, 0.02, 4, 24) for s in (2e-3, 1.5e-3, 2.5e-3)]
    result = replace(layouts(CPU, *outcomes), scores={config_id(FIRST): 0.75, config_id(SECOND): float("nan")})
    (name,) = save_study(result, path)
    default, first, failing, second = trials_in(path, name)
    assert [trial.value for trial in (default, first, second)] == [1.0, 0.75, 1.25]
    assert default.params == UNCHANGED
    assert first.params == UNCHANGED | {"h output [8,32]": "{0,1}", "y second input [32,8]": "{1,0}"}
    assert first.distributions["h output [8,32]"] == CategoricalDistribution(["compiler", "{1,0}", "{0,1}", "other"])
    facts = first.user_attrs
    assert {facts[key] for key in ("kind", "purpose", "config id")} == {"measured", "search", config_id(FIRST)}
    assert [facts[key] for key in ("seconds", "default seconds", "spread", "runs")] == [1.5e-3, 2e-3, 0.03, 24]
    assert facts["score"] == 0.75
    assert "score" not in second.user_attrs
    assert [trial.user_attrs["decisions"] for trial in (default, first, failing, second)] == [0, 2, 1, 1]
    assert default.user_attrs["what"] == "the default"
    assert failing.state is TrialState.FAIL
    assert failing.params == UNCHANGED | {"h first input [8,16]": "{0,1}"}
    assert [failing.user_attrs[key] for key in ("reason", "message")] == ["compile error", "no"]
    study = study_in(path, name)
    assert study.best_trial.number == 1
    assert study.direction is optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == ["time / default's time (measured)"]
    said = {key: study.user_attrs[key] for key in ("kind", "unit", "target", "device", "compiler", "fingerprint")}
    assert said == {
        "kind": "measured",
        "unit": "seconds",
        "target": "cpu",
        "device": "a CPU",
        "compiler": "jaxlib 1",
        "fingerprint": programs.two_dots().fingerprint,
    }


def test_a_second_export_adds_only_what_is_new(path: Path) -> None:
    result = layouts()
    (name,) = save_study(result, path)
    assert save_study(result, path) == [name]
    assert len(trials_in(path, name)) == 4
    again = Evaluation(FIRST, measured(1.6e-6), purpose="confirm")
    third = Evaluation(LayoutConfig.of({(5, 0): (0, 1)}), measured(np.float64(1.2e-6)))
    more = replace(result, evaluations=(*result.evaluations, third), comparison=Comparison((again,)))
    save_study(more, path)
    save_study(replace(more, evaluations=(*result.evaluations, replace(third, outcome=measured(1.2e-6)))), path)
    trials = trials_in(path, name)
    assert [trial.user_attrs["purpose"] for trial in trials] == ["search"] * 5 + ["confirm"]
    assert trials[4].params == UNCHANGED | {"y output [8,8]": "{0,1}"}
    assert trials[5].params == trials[1].params
    # The same config, measured once more, is another evaluation.
    save_study(replace(result, evaluations=(Evaluation(FIRST, measured(1.7e-6)),)), path)
    assert len(trials_in(path, name)) == 7


def test_measured_and_estimated_stay_apart(path: Path) -> None:
    (measurements,) = save_study(layouts(), path)
    estimates = [Estimated(cycles, 9000.0) for cycles in (9000.0, 8000.0, 4500.0)]
    (cycles,) = save_study(layouts(TPU, *estimates), path)
    assert measurements != cycles
    assert {trial.user_attrs["kind"] for trial in trials_in(path, measurements)} == {"measured", "failed"}
    study = study_in(path, cycles)
    assert [trial.value for trial in study.trials if trial.value is not None] == [1.0, 8000 / 9000, 0.5]
    assert [trial.user_attrs.get("cycles") for trial in study.trials] == [9000.0, 8000.0, None, 4500.0]
    assert "seconds" not in study.trials[1].user_attrs
    assert study.metric_names == ["cycles / default's cycles (estimated)"]
    mixed = layouts(TPU, Estimated(9.0, 9.0), measured(1.0), Estimated(8.0, 9.0))
    with pytest.raises(AutotuneError, match="expected an evaluation that is estimated, found one that is measured"):
        save_study(mixed, path)
    assert len(trials_in(path, cycles)) == 4


def test_another_compiler_is_another_study(path: Path) -> None:
    names = [save_study(layouts(replace(CPU, compiler_version=f"jaxlib {n}")), path)[0] for n in (1, 2)]
    assert len(set(names)) == 2
    assert all(name.startswith("two_dots, layout, cpu (") for name in names)


def test_tiles_have_their_sizes(path: Path) -> None:
    program = programs.product(256, 256, 256)
    dot = find_dot_kernel(program.proto)
    assert not isinstance(dot, str)
    tried = [(TileConfig("ynn"), measured(1.0)), (EMITTER_DEFAULT, measured(2.0))]
    tried.append((TileConfig(TILED, 8, 4, 4, 512), measured(0.5)))
    (name,) = save_study(searched(program, GemmTileSpace(dot), CPU, tried), path)
    library, own, best = trials_in(path, name)
    assert library.params == {"implementation": "ynn"}
    assert own.params == {"implementation": "tiled", "m": 11, "k": 9, "n": 1, "vector bits": 256}
    assert best.params == {"implementation": "tiled", "m": 8, "k": 4, "n": 4, "vector bits": 512}
    assert best.distributions["m"] == IntDistribution(1, 16)
    assert own.user_attrs["what"] in GemmTileSpace(dot).references


def test_kernels_of_a_program_are_studies_of_their_own(path: Path) -> None:
    found = [kernel("fusion.1", 1000), kernel("copy.2", 900, size=16)]
    refused = Failed(FailureReason.NOT_APPLIED, "16 is no good")
    target = ListedTarget(outcome=lambda config: refused if config.output_bounds == (16,) else None)
    with Database.in_memory() as database:
        kernels = search_kernels(target, found, database, budget=20)
    whole = layouts(TPU, *(Estimated(cycles, 9000.0) for cycles in (9000.0, 8000.0, 7000.0)))
    names = save_study(replace(whole, tiles=tuple(kernels)), path)
    assert [name.rpartition(" (")[0] for name in names] == [
        "two_dots, layout, tpu:v5e",
        "two_dots / fusion.1, tile, listed",
        "two_dots / copy.2, tile, listed",
    ]
    trials = trials_in(path, names[1])
    costs = {trial.params["output bounds 0"]: trial.value for trial in trials if trial.value is not None}
    # The compiler's choice is the tile of 64 with 100 cycles; every halving costs 100 more, and 16 fails.
    assert costs == {64: 1.0, 32: 2.0, 8: 4.0, 4: 5.0, 2: 6.0, 1: 7.0}
    assert [t.params["output bounds 0"] for t in trials if t.state is TrialState.FAIL] == [16]
    chosen = {trial.params["chosen by"] for trial in trials if trial.params["output bounds 0"] == 64}
    assert chosen == {"compiler"}


@pytest.mark.parametrize(("rank", "choices"), [(4, 26), (5, 122), (6, 2)])
def test_a_tensor_of_six_dimensions_has_no_choices(rank: int, choices: int, tmp_path: Path) -> None:
    """4! = 24 orders and 5! = 120 are choices, beside "compiler" and "other"; 6! = 720 are too many."""
    sizes = ",".join(["2"] * rank)
    text = f"HloModule m\nENTRY e {{\n  x = f32[{2**rank}] parameter(0)\n  ROOT r = f32[{sizes}] reshape(x)\n}}\n"
    program = read_bytes(text.encode(), "m")
    space = LayoutSpace(program.proto)
    parameters = Parameters(space)
    name = f"r output [{sizes}]"
    distribution = parameters.distributions[name]
    assert isinstance(distribution, CategoricalDistribution)
    assert len(distribution.choices) == choices
    order = (0, *reversed(range(1, rank)))
    config = LayoutConfig.of({(space.tensors[0].node, space.tensors[0].tensor): order})
    expected = "other" if rank == 6 else "{" + ",".join(map(str, order)) + "}"
    assert parameters.of(config)[name] == expected
    assert parameters.of(space.default)[name] == "compiler"
    (study,) = save_study(searched(program, space, CPU, [(config, measured(1.0))]), tmp_path / "study.log")
    (trial,) = trials_in(tmp_path / "study.log", study)
    assert ("config" in trial.user_attrs) is (rank == 6), "what the parameters cannot say is an attribute"


def test_optunas_verbosity_is_left_as_it_was(path: Path) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        save_study(layouts(), path)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


# ---- Storages --------------------------------------------------------------------------------------------------------


def test_urls_and_files_are_the_same_storage(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "study.sqlite3"
    check_study_storage(path)
    assert list(tmp_path.iterdir()) == [], "a check makes nothing"
    (name,) = save_study(layouts(), str(path))
    save_study(layouts(), f"sqlite:///{path}")
    assert len(trials_in(path, name)) == 4
    renamed = tmp_path / "whatever.log"
    path.rename(renamed)
    save_study(layouts(), renamed)  # its content counts, not its name
    assert len(optuna.load_study(study_name=name, storage=f"sqlite:///{renamed}").trials) == 4


def test_two_searches_do_not_write_one_file_at_once(path: Path) -> None:
    names: list[str] = []
    exports = [threading.Thread(target=lambda: names.extend(save_study(layouts(), path))) for _ in range(2)]
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for export in exports:
            export.start()
        exports[0].join(timeout=2)
        assert exports[0].is_alive()
        assert not path.exists()
    finally:
        os.close(descriptor)
    for export in exports:
        export.join()
    assert len(set(names)) == 1
    assert len(trials_in(path, names[0])) == 4


def _evaluations(path: Path) -> None:
    with Database.open(path):
        pass


def _text(path: Path) -> None:
    path.write_text("{}\n")


@pytest.mark.parametrize("make", [_evaluations, _text])
def test_what_is_something_else_is_left_alone(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    make(path)
    before = path.read_bytes()
    for attempt in (check_study_storage, lambda storage: save_study(layouts(), storage)):
        with pytest.raises(AutotuneError, match=r"file\.db: it holds something else than studies of Optuna"):
            attempt(path)
    assert path.read_bytes() == before


def test_a_study_of_somebody_else_is_left_alone(path: Path) -> None:
    (name,) = save_study(layouts(), path.with_stem("ours"))
    theirs = optuna.create_study(storage=storage_of(path), study_name=name)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(AutotuneError, match="it is not one that autotune has written"):
        save_study(layouts(), path)
    (trial,) = trials_in(path, name)
    assert list(trial.params) == ["x"]
    assert study_in(path, name).user_attrs == {}


@pytest.mark.parametrize(
    ("storage", "error", "message"),
    [
        ("study", AutotuneError, r"expected a URL such as sqlite:///study\.db, or a file with one of the endings"),
        ("nosuch://host/x", AutotuneError, r"nosuch://host/x: cannot be opened \(Can't load plugin"),
        ("postgresql://me:secret@localhost/x", ToolchainError, r"postgresql://me:\*\*\*@localhost/x"),
    ],
)
def test_storages_that_cannot_be(storage: str, error: type[AutotuneError], message: str) -> None:
    for attempt in (check_study_storage, lambda where: save_study(layouts(), where)):
        with pytest.raises(error, match=message) as raised:
            attempt(storage)
        assert "secret" not in str(raised.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for attempt in (check_study_storage, lambda where: save_study(layouts(), where)):
        with pytest.raises(AutotuneError, match=r"file( |/study\.db: cannot be)"):
            attempt(tmp_path / "file" / "study.db")


def test_passwords_are_not_shown() -> None:
    assert described("mysql://me:a:b/c@host/x") == "mysql://me:***@host/x"
    assert described("sqlite:///a@b.db") == "sqlite:///a@b.db"


def test_without_optuna_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for attempt in (check_study_storage, lambda where: save_study(layouts(), where)):
        with pytest.raises(ToolchainError, match=r"pip install 'xla-autotune\[optuna\]'"):
            attempt(tmp_path / "study.db")


# ---- The command -----------------------------------------------------------------------------------------------------


def test_the_command_refuses_a_storage_before_it_reads_the_program(tmp_path: Path) -> None:
    done = autotune("search", tmp_path / "nothing.hlo", "--save-study", tmp_path / "study.txt")
    assert done.returncode == 1
    assert "study.txt: expected a URL such as" in done.stderr


@pytest.mark.slow
def test_the_command_saves_what_it_measured(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(programs.two_dots().module)
    arguments: Sequence[object] = (
        "--database",
        tmp_path / "db.sqlite",
        "--save-study",
        tmp_path / "study.db",
        "--json",
    )
    found = []
    for budget in (3, 5, 5):
        done = autotune("search", tmp_path / "model.pb", "--budget", budget, *arguments)
        assert done.returncode == 0, done.stderr
        (name,) = json.loads(done.stdout)["studies"]
        found.append(trials_in(tmp_path / "study.db", name))
    lines = (tmp_path / "model.autotune" / "evaluations.jsonl").read_text().splitlines()
    costs = {line["config_id"]: line.get("relative_to_default") for line in map(json.loads, lines)}
    trials = [trial for trial in found[-1] if trial.user_attrs["purpose"] == "search"]
    assert {trial.user_attrs["config id"]: trial.value for trial in trials} == costs
    assert [len({t.user_attrs["config id"] for t in each}) for each in found] == [4, 6, 6]
    assert len(trials) == 6, "the second and third search found the evaluations of the first in the database"
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("SELECT count(*) FROM studies").fetchone() == (1,)
