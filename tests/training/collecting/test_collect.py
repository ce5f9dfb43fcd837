"""Collections of a target that is a table: what is drawn, written and read back, and how an interrupted one goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from autotune.cli import app
from autotune.database import Database
from autotune.evaluation import Failed, FailureReason, LabelKind
from autotune.hlo.tuning_data import layout_configs_from_tuning
from autotune.spaces.base import Config, config_id
from autotune.spaces.layout import LayoutConfig
from cost_model import LayoutConfigs
from cost_model.npz import read_npz
from protos import tuning_pb2
from tests import hlo_texts
from tests.tables import KnownTarget
from training.collecting.collect import collect
from training.collecting.programs import find_sources
from training.collecting.request import Request
from training.data.store import open_split
from training.errors import TrainingError

FOLDER = "layout-known"
LOOSE = Request("layout", configs=10, least_spread=1.0)


def _number_of_orders(config: Config) -> float:
    assert isinstance(config, LayoutConfig)
    return 1.0 + len(config.orders)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "dots__two.hlo"
    path.write_text(hlo_texts.TWO_DOTS)
    return path


def _collect(program: Path, out: Path, target: KnownTarget, database: Database, request: Request = LOOSE) -> Any:
    return collect(find_sources([program]), target, request, out, database)


def _record(out: Path) -> Any:
    return json.loads((out / FOLDER / "records/dots__two.json").read_text())


def test_what_is_written_is_what_the_target_said(program: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    target = KnownTarget(cost=_number_of_orders)
    with Database.in_memory() as database:
        statistics = _collect(program, out, target, database)
    assert statistics["stopped"] == "all programs"
    record = _record(out)
    assert record["ways"] == ["default"] + ["near"] * 5 + ["random"] * 5
    assert record["label"] == statistics["collection"]["label"] == "measured"
    assert record["config_ids"] == target.searched(), "in the order in which they were drawn, none twice"
    arrays = read_npz(out / FOLDER / record["file"])
    assert isinstance(arrays.configs, LayoutConfigs)
    assert arrays.runtimes is not None
    # an order of two dimensions is two entries that are not -1
    orders = (arrays.configs.node_config_feat >= 0).sum(axis=(1, 2)) // 2
    assert arrays.runtimes.tolist() == ((1 + orders) * 1_000_000_000).tolist()
    assert record["spread"] == arrays.runtimes.max() / arrays.runtimes.min()
    proto = tuning_pb2.ModuleTuningData.FromString((out / FOLDER / "protos/dots__two.pb").read_bytes())
    runs = layout_configs_from_tuning(proto)
    assert np.array_equal(runs.configs.node_config_feat, arrays.configs.node_config_feat)
    assert runs.runtimes.tolist() == arrays.runtimes.tolist()
    assert [run.is_default for run in proto.runs] == [True] + [False] * 10


def test_the_store_opens_it(program: Path, tmp_path: Path) -> None:
    with Database.in_memory() as database:
        _collect(program, tmp_path / "out", KnownTarget(cost=_number_of_orders), database)
    split = _record(tmp_path / "out")["file"].partition("/")[0]
    (graph,) = open_split(tmp_path / "out", FOLDER, split, store=tmp_path / "store")
    assert (graph.name, graph.raw_count) == ("dots__two", 11)


def test_an_interrupted_collection_goes_on_to_the_same_end(program: Path, tmp_path: Path) -> None:
    whole = KnownTarget(cost=_number_of_orders)
    with Database.in_memory() as database:
        _collect(program, tmp_path / "whole", whole, database)
    with Database.in_memory() as database:
        first = KnownTarget(cost=_number_of_orders, interrupt_after=4)
        with pytest.raises(KeyboardInterrupt):
            _collect(program, tmp_path / "parts", first, database)
        second = KnownTarget(cost=_number_of_orders)
        _collect(program, tmp_path / "parts", second, database)
        third = KnownTarget(cost=_number_of_orders)
        _collect(program, tmp_path / "parts", third, database)
    assert first.searched() + second.searched() == whole.searched()
    assert third.log == [], "what is finished is not even prepared"
    record = _record(tmp_path / "parts")
    assert record["reused"] == 4
    assert record["config_ids"] == _record(tmp_path / "whole")["config_ids"]


@pytest.mark.parametrize(
    ("draw", "ways"), [("random", {"random"}), ("genetic", {"near"}), ("both", {"near", "random"})]
)
def test_ways_of_drawing(program: Path, tmp_path: Path, draw: str, ways: set[str]) -> None:
    with Database.in_memory() as database:
        request = Request("layout", configs=8, draw=draw, least_spread=1.0)
        _collect(program, tmp_path, KnownTarget(cost=_number_of_orders), database, request)
    assert set(_record(tmp_path)["ways"]) == ways | {"default"}


def test_the_genetic_search_starts_at_the_default(program: Path, tmp_path: Path) -> None:
    """A first generation is one mutation away: at most the three tensors of a node."""
    with Database.in_memory() as database:
        request = Request("layout", configs=6, draw="genetic", least_spread=1.0)
        _collect(program, tmp_path, KnownTarget(cost=_number_of_orders), database, request)
    arrays = read_npz(tmp_path / FOLDER / _record(tmp_path)["file"])
    assert arrays.runtimes is not None
    assert arrays.runtimes.max() <= 4_000_000_000


def test_programs_of_the_same_choices_get_different_draws(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "dots__sine.hlo"
    other.write_text(hlo_texts.TWO_DOTS.replace("tanh", "sine"))
    with Database.in_memory() as database:
        collect(find_sources([program, other]), KnownTarget(), LOOSE, tmp_path / "out", database)
    records = [json.loads(path.read_text()) for path in (tmp_path / "out" / FOLDER / "records").glob("*.json")]
    drawn, drawn_too = (set(record["config_ids"]) for record in records)
    assert len(drawn & drawn_too) < len(drawn) / 2


def test_failures_are_counted_and_left_out(program: Path, tmp_path: Path) -> None:
    def cost(config: Config) -> float | Failed:
        many = _number_of_orders(config)
        return Failed(FailureReason.COMPILE_ERROR, "too many") if many > 2 else many

    with Database.in_memory() as database:
        statistics = _collect(program, tmp_path, KnownTarget(cost=cost), database)
    record = _record(tmp_path)
    failed = record["failed"]["compile error"]
    assert statistics["failed"] == {"compile error": failed}
    assert failed > 0
    assert record["rows"] == record["configs"] - failed == len(record["ways"])


def test_a_program_without_spread_stands_in_no_split(program: Path, tmp_path: Path) -> None:
    with Database.in_memory() as database:
        _collect(program, tmp_path, KnownTarget(cost=lambda config: 1.0), database, Request("layout", configs=4))
    assert _record(tmp_path)["file"] == "low_spread/dots__two.npz"


def test_time_limits(program: Path, tmp_path: Path) -> None:
    with Database.in_memory() as database:
        target = KnownTarget(cost=_number_of_orders)
        short = Request("layout", configs=10, seconds_per_program=1e-9)
        _collect(program, tmp_path, target, database, short)
        assert _record(tmp_path)["stopped"] == "seconds per program used up"
        assert len(target.searched()) == 1, "the default is always evaluated"
        statistics = _collect(program, tmp_path, target, database, Request("layout", time_limit=1e-9))
    assert statistics["stopped"] == "time limit reached"
    assert statistics["programs"] == {}


def test_all_configs_can_be_measured_twice(program: Path, tmp_path: Path) -> None:
    twice = replace(LOOSE, measure_twice=True)
    target = KnownTarget(cost=_number_of_orders)
    with Database.in_memory() as database:
        _collect(program, tmp_path, target, database, twice)
        record, log = _record(tmp_path), list(target.log)
        confirmed = [config for purpose, config in log if purpose == "confirm"]
        assert confirmed == record["config_ids"], "every distinct config once, after all were drawn"
        assert len(target.searched()) == len(log) - len(confirmed)
        assert record["costs"] == [[cost, cost] for cost, _ in record["costs"]]
        assert record["noise"]["measured_twice_configs"] == len(confirmed)
        assert record["stopped"] == "all configs evaluated"

        shorter = replace(twice, seconds_per_program=1e-9, seed=1)
        _collect(program, tmp_path / "short", target, database, shorter)
    record = _record(tmp_path / "short")
    assert record["stopped"] == "seconds per program used up"
    assert len(record["costs"]) == record["rows"] == 1, "the time is for drawing: what was drawn is measured twice"


def test_estimates_are_not_measured_twice(program: Path, tmp_path: Path) -> None:
    target = KnownTarget(label=LabelKind.ESTIMATED)
    with Database.in_memory() as database, pytest.raises(TrainingError, match="--measure-twice: known estimates"):
        _collect(program, tmp_path, target, database, replace(LOOSE, measure_twice=True))


def test_requests_keep_their_digest_when_there_is_a_new_choice() -> None:
    assert LOOSE.digest(b"program") == "d535a4123745698852bd4ff884e2b029"
    assert replace(LOOSE, measure_twice=True).digest(b"program") != LOOSE.digest(b"program")


def test_a_refused_program_is_listed_and_the_others_go_on(program: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.hlo").write_text("no program")
    with Database.in_memory() as database:
        sources = find_sources([tmp_path])
        statistics = collect(sources, KnownTarget(cost=_number_of_orders), LOOSE, tmp_path / "out", database)
    assert list(statistics["refused"]) == ["bad"]
    assert list(statistics["programs"]) == ["dots__two"]


def test_numbers_of_two_compilers_do_not_go_into_one_folder(program: Path, tmp_path: Path) -> None:
    with Database.in_memory() as database:
        _collect(program, tmp_path, KnownTarget(), database)
        path = tmp_path / FOLDER / "manifest.json"
        path.write_text(path.read_text().replace('"compiler_version": "1"', '"compiler_version": "2"'))
        with pytest.raises(TrainingError, match=r"found known \(a table, 2\).*choose another --out"):
            _collect(program, tmp_path, KnownTarget(), database)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "auto"}, "--space 'auto': expected one of layout, tile"),
        ({"draw": "best"}, "--draw 'best'"),
        ({"configs": 0}, "--configs 0: expected at least 1"),
        ({"time_limit": float("nan")}, "--time-limit nan"),
        ({"least_spread": 0.5}, "--least-spread 0.5"),
    ],
)
def test_requests_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Request(**({"space": "layout"} | arguments))


def test_config_ids_name_the_rows(program: Path, tmp_path: Path) -> None:
    with Database.in_memory() as database:
        _collect(program, tmp_path, KnownTarget(), database)
    assert _record(tmp_path)["config_ids"][0] == config_id(LayoutConfig())


def test_the_command_lists_what_it_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.hlo").write_text("no program")
    arguments = ["collect", str(tmp_path / "bad.hlo"), "--space", "layout", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--database", str(tmp_path / "evaluations.sqlite")])
    assert result.exit_code == 1
    assert list(json.loads(result.stdout)["refused"]) == ["bad"]
    result = CliRunner().invoke(app, ["collect", str(tmp_path), "--space", "all", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "--space 'all': expected one of layout, tile" in result.stderr
