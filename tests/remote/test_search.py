"""Searches through server processes, over real sockets: the same result as in this process, and nothing twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune import api
from autotune.errors import AutotuneError, ServerError, SpaceError, UnsupportedProgramError
from autotune.evaluation import Failed, Measured
from autotune.remote.address import parse_addresses
from autotune.remote.pool import PoolOptions
from autotune.result import SearchResult
from autotune.spaces.base import config_id
from autotune.spaces.layout import LayoutConfig
from autotune.targets import open_target
from autotune.targets.remote import RemoteTarget, open_remote
from autotune.tuner import Progress
from tests import programs
from tests.remote.server_process import ServerProcess, server
from tests.rows import committed
from tests.tables import KnownTarget

BUDGET = 20

PATIENT = PoolOptions(silence=6.0, patience=120.0, attempts=1000)
"""A slow machine must not fail a test: whatever takes long is tried again."""


def search(target: Any, database: Path, **options: Any) -> SearchResult:
    return api.search(programs.two_dots(), target=target, database=database, **{"budget": BUDGET, **options})


def opened(*servers: Any, **options: Any) -> RemoteTarget:
    addresses = parse_addresses(",".join(each.url for each in servers), option="test")
    return open_remote(addresses, options=PATIENT, **options)


def journal_of(path: Path, purpose: str = "search") -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(purpose)]


def after(count: int, what: Callable[[], object]) -> Callable[[Progress], None]:
    """Does something once, when so many evaluations are there."""
    done = threading.Event()

    def on_progress(progress: Progress) -> None:
        if progress.done >= count and not done.is_set():
            done.set()
            what()

    return on_progress


def test_one_server_gives_the_result_of_this_process(tmp_path: Path) -> None:
    here = search(KnownTarget(), tmp_path / "here.sqlite")
    with server(target={"journal": str(tmp_path / "journal")}) as there:
        far = search(there.url, tmp_path / "far.sqlite")
    assert [config_id(e.config) for e in far.evaluations] == [config_id(e.config) for e in here.evaluations]
    assert [e.outcome for e in far.evaluations] == [e.outcome for e in here.evaluations]
    assert far.speedup == here.speedup == pytest.approx(1 / 0.8)
    assert far.target == here.target
    assert far.prepared.notes == (f"evaluated by {there.url}",)
    assert len(journal_of(tmp_path / "journal")) == BUDGET + 1
    assert committed(tmp_path / "far.sqlite") == committed(tmp_path / "here.sqlite")


def test_three_servers_share_a_search(tmp_path: Path) -> None:
    journals = [tmp_path / f"journal{number}" for number in range(3)]
    with (
        server(target={"journal": str(journals[0]), "seconds": 0.02}) as first,
        server(target={"journal": str(journals[1]), "seconds": 0.02}) as second,
        server(target={"journal": str(journals[2]), "seconds": 0.02}) as third,
        opened(first, second, third) as target,
    ):
        assert target.parallel == 3
        result = search(target, tmp_path / "db.sqlite", budget=30)
    assert result.speedup == pytest.approx(1 / 0.8)
    assert result.counts == {"measured": 31, "estimated": 0, "failed": 0}
    shares = [journal_of(path) for path in journals]
    assert all(shares), "every server had a part"
    everything = [config for share in shares for config in share]
    assert len(everything) == len(set(everything)) == 31, "no config was evaluated twice"
    confirmed = [journal_of(path, "confirm") for path in journals]
    assert sorted(map(bool, confirmed)) == [False, False, True], "the comparison is made by one server alone"


def test_a_search_through_servers_of_the_real_cpu(tmp_path: Path) -> None:
    with server(name="cpu") as there:
        result = search(there.url, tmp_path / "db.sqlite", budget=3)
        assert result.counts == {"measured": 4, "estimated": 0, "failed": 0}
        assert result.target.name == "cpu"
        result.save(tmp_path / "result")
    best = json.loads((tmp_path / "result" / "best.json").read_text())
    assert best["target"]["device_kind"].endswith("1 core")
    here = search("cpu", tmp_path / "db.sqlite", budget=3)
    assert here.reused == 3, "what a server of this host has measured need not be measured here again"


def test_tiles_of_a_dot_through_a_server(tmp_path: Path) -> None:
    with server(name="cpu") as there, open_target(there.url) as target:
        prepared = target.prepare(programs.product(64, 64, 64))
        space = target.space(prepared, "auto")
        assert space.kind == "tile"
        config = space.sample(np.random.default_rng(0))
        (evaluation,) = target.evaluate(prepared, [config])
        assert isinstance(evaluation.outcome, Measured), evaluation.outcome
        tuned = target.realise(prepared, config)
        assert tuned.options["xla_cpu_multi_thread_eigen"] is False
        assert tuned.extra_options["xla_llvm_ir_gemm_tile_size"].endswith("vectwidth")


@pytest.mark.slow
def test_tiles_of_a_tpu_program_through_a_server(tmp_path: Path) -> None:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    program = programs.product(1024, 512, 256, True)
    with server(name="tpu:v5e") as there:
        far = api.search(program, target=there.url, database=tmp_path / "far.sqlite", budget=9, model="analytical")
    here = api.search(program, target="tpu:v5e", database=tmp_path / "here.sqlite", budget=9, model="analytical")
    assert [e.outcome for e in far.evaluations] == [e.outcome for e in here.evaluations]
    (tiles,) = [each for each in far.tiles if each.result is not None]
    (tiles_here,) = [each for each in here.tiles if each.result is not None]
    assert [e.outcome for e in tiles.accepted] == [e.outcome for e in tiles_here.accepted]
    assert tiles.kernel == tiles_here.kernel
    assert far.tiled == here.tiled


def test_nothing_is_evaluated_twice_unless_asked(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    settings = {"target": {"journal": str(journal)}, "options": {"database": str(tmp_path / "server.sqlite")}}
    with server(**settings) as there:
        first = search(there.url, tmp_path / "first.sqlite")
        search(there.url, tmp_path / "second.sqlite")  # another client, who has recorded nothing yet
        assert len(journal_of(journal)) == BUDGET + 1
        there.kill()
        there.start()
        third = search(there.url, tmp_path / "third.sqlite")
        assert len(journal_of(journal)) == BUDGET + 1, "a server that was started again remembers, too"
        assert third.counts == first.counts
        search(there.url, tmp_path / "third.sqlite", reuse=False)
        assert len(journal_of(journal)) == 2 * (BUDGET + 1)


def test_two_searches_at_once_share_what_they_record(tmp_path: Path) -> None:
    database, second = tmp_path / "db.sqlite", KnownTarget()

    def other() -> None:
        search(second, database, budget=BUDGET)

    first = KnownTarget()
    result = search(first, database, on_progress=after(5, other))
    evaluated = [*first.searched(), *second.searched()]
    assert len(evaluated) == len(set(evaluated)), "what the other has recorded meanwhile is not evaluated again"
    assert result.reused == BUDGET - len(first.searched()) + 1
    assert len(result.evaluations) == BUDGET + 1


def test_servers_of_different_devices_are_refused() -> None:
    with (
        server() as first,
        server(target={"device_kind": "another table"}) as second,
        pytest.raises(ServerError, match="cannot share a search: expected the device kind 'a table', found 'another"),
    ):
        opened(first, second)


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with server() as first, server() as late:
        late.kill()
        with opened(first, late) as target:
            assert target.parallel == 1
            result = search(target, tmp_path / "db.sqlite", on_progress=after(3, late.start), budget=60)
            assert result.counts["measured"] == 61


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(ServerError, match=r"grpc://localhost:1: .*Connection refused"):
        open_target("grpc://localhost:1")
    with pytest.raises(AutotuneError, match="expected grpc://HOST:PORT"):
        open_target("grpc:localhost")
    with pytest.raises(AutotuneError, match="autotune serve --evaluation-time-limit"):
        open_target("grpc://localhost:1", time_limit=3.0)


def test_refusals_of_the_target_are_those_of_the_target() -> None:
    with server() as there, opened(there) as target:
        prepared = target.prepare(programs.two_dots())
        with pytest.raises(SpaceError, match=r"^no tile choice$"):
            target.space(prepared, "tile")


def test_a_program_larger_than_the_limit_is_refused_before_it_is_sent() -> None:
    with (
        server(options={"largest_program": 100}) as there,
        opened(there) as target,
        pytest.raises(UnsupportedProgramError, match=r"takes 100: start that server with a larger --largest-program"),
    ):
        target.prepare(programs.two_dots())


def test_a_server_that_forgot_a_program_gets_it_again(tmp_path: Path) -> None:
    with server() as there, opened(there) as target:
        prepared = target.prepare(programs.two_dots())
        for number in range(33):  # one more than a server holds
            target.prepare(programs.product(8, 8, 8 + number))
        (evaluation,) = target.evaluate(prepared, [LayoutConfig()])
        assert isinstance(evaluation.outcome, Measured)


def test_failures_of_a_config_are_evaluations(tmp_path: Path) -> None:
    with server(target={"failing": True}) as there, opened(there) as target:
        prepared = target.prepare(programs.two_dots())
        space = target.space(prepared, "layout")
        config = next(config for config in space.enumerate() if config != space.default)
        (evaluation,) = target.evaluate(prepared, [config])
        assert isinstance(evaluation.outcome, Failed)
        assert evaluation.outcome.message == "the table says no"


@pytest.fixture
def running() -> Any:
    with server() as there:
        yield there


def test_ctrl_c_ends_the_search_and_not_the_server(running: ServerProcess, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with opened(running) as target:
        result = search(target, tmp_path / "db.sqlite", on_progress=after(5, interrupt))
    assert result.interrupted
    assert search(running.url, tmp_path / "db.sqlite").reused == 5
