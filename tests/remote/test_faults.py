"""Servers that are killed, stopped and started again, and lines that are cut: no committed evaluation is lost."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.errors import ServerError
from autotune.evaluation import Failed, FailureReason
from autotune.remote.address import parse_addresses
from autotune.remote.pool import PoolOptions
from autotune.result import SearchResult
from autotune.targets.remote import open_remote
from tests import programs
from tests.remote.proxy import proxy
from tests.remote.server_process import server
from tests.remote.test_search import BUDGET, after, journal_of, opened, search
from tests.rows import committed

SLOW = {"target": {"seconds": 0.05}}


def during(database: Path, count: int, what: Callable[[], object]) -> threading.Thread:
    """Does something in another thread, in the middle of an evaluation, when so many have been committed."""

    def wait() -> None:
        while len(committed(database)) < count:
            time.sleep(0.01)
        time.sleep(0.02)
        what()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def check_complete(result: SearchResult, database: Path) -> None:
    """All were measured, each once, and none that was there is gone."""
    assert result.counts == {"measured": BUDGET + 1, "estimated": 0, "failed": 0}
    recorded = committed(database)
    assert len(recorded) == len(set(recorded)) == BUDGET + 1
    assert result.speedup == pytest.approx(1 / 0.8)


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite"
    with server(**SLOW) as there, opened(there) as target:

        def replace() -> None:
            there.kill()
            there.start()

        fault = during(database, 5, replace)
        result = search(target, database)
        fault.join()
    check_complete(result, database)


def test_two_others_go_on_when_one_is_killed(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite"
    with (
        server(**SLOW) as first,
        server(**SLOW) as second,
        server(**SLOW) as third,
        opened(first, second, third) as target,
    ):
        fault = during(database, 6, second.kill)
        result = search(target, database)
        fault.join()
        assert target.parallel == 2
    check_complete(result, database)


def test_a_server_that_hangs_is_lost_and_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = tmp_path / "db.sqlite"
    with server(**SLOW) as there, opened(there) as target:

        def stop_for_a_while() -> None:
            there.signal(signal.SIGSTOP)
            deadline = time.monotonic() + 60
            while "no sign of life" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.05)
            there.signal(signal.SIGCONT)

        fault = during(database, 5, stop_for_a_while)
        result = search(target, database)
        fault.join()
    check_complete(result, database)
    assert "lost (no sign of life for 6 s)" in caplog.text
    assert "back" in caplog.text


@pytest.mark.parametrize("count", [0, 3, 40, 200], ids=lambda count: f"after {count} bytes")
def test_a_line_that_is_cut_in_the_middle_of_a_message(count: int, tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite"
    with server(**SLOW) as there, proxy(there.port) as line, opened(line) as target:
        fault = during(database, 5, lambda: line.cut_after(count))
        result = search(target, database)
        fault.join()
        assert line.cuts == 1
    check_complete(result, database)


def test_what_a_cut_off_server_finished_is_not_measured_again(tmp_path: Path) -> None:
    database, journal = tmp_path / "db.sqlite", tmp_path / "journal"
    target_settings = {"seconds": 0.2, "journal": str(journal)}
    with server(target=target_settings) as there, proxy(there.port) as line, opened(line) as target:
        fault = during(database, 3, line.cut)
        result = search(target, database)
        fault.join()
    check_complete(result, database)
    evaluated = journal_of(journal)
    assert len(evaluated) == len(set(evaluated)) == BUDGET + 1


def test_when_no_server_is_left_what_was_measured_is_kept(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite"
    impatient = PoolOptions(silence=6.0, patience=1.0)
    with server(**SLOW) as first, server(**SLOW) as second:
        addresses = parse_addresses(f"{first.url},{second.url}", option="test")
        with open_remote(addresses, options=impatient) as target:

            def kill_both() -> None:
                first.kill()
                second.kill()

            with pytest.raises(ServerError, match=r"no measurement server is left.*localhost.*localhost"):
                search(target, database, on_progress=after(6, kill_both))
        kept = committed(database)
        assert len(kept) >= 7
        first.start()
        second.start()
        with opened(first, second) as target:
            result = search(target, database)
        assert committed(database)[: len(kept)] == kept
    assert result.reused >= 6
    check_complete(result, database)


def test_a_config_that_costs_server_after_server_has_failed() -> None:
    with server(target={"fatal": True}) as there:
        stop = threading.Event()

        def start_again() -> None:
            while not stop.wait(0.01):
                assert there.process is not None
                if there.process.poll() is not None:
                    there.kill()
                    there.start()

        options = PoolOptions(silence=6.0, attempts=3)
        with open_remote(parse_addresses(there.url, option="test"), options=options) as target:
            prepared = target.prepare(programs.two_dots())
            default, deadly = itertools.islice(target.space(prepared, "layout").enumerate(), 2)
            keeper = threading.Thread(target=start_again)
            keeper.start()
            try:
                (evaluation,) = target.evaluate(prepared, [deadly])
                (harmless,) = target.evaluate(prepared, [default])
            finally:
                stop.set()
                keeper.join()
    assert isinstance(evaluation.outcome, Failed)
    assert evaluation.outcome.reason is FailureReason.KILLED, "transient: it says nothing about the config"
    assert "3 times the server was lost meanwhile" in evaluation.outcome.message
    assert harmless.cost == 1.0


def test_a_server_that_comes_back_as_another_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = tmp_path / "db.sqlite"
    with server(**SLOW) as first, server(**SLOW) as second, opened(first, second) as target:

        def replace() -> None:
            second.kill()
            second.settings = {"target": {"device_kind": "another table"}}
            second.start()

        result = search(target, database, on_progress=after(4, replace))
        deadline = time.monotonic() + 60
        while "it came back as another" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "expected the device kind 'a table', found 'another table'" in caplog.text
    check_complete(result, database)


def test_a_server_is_stopped_in_good_order() -> None:
    with server(**SLOW) as there:
        there.signal(signal.SIGTERM)
        assert there.process is not None
        assert there.process.wait(timeout=60) == 0


def test_a_client_that_is_gone_does_not_block_the_others() -> None:
    impatient = PoolOptions(silence=6.0, patience=0.1)
    with server(target={"seconds": 0.3}) as there, proxy(there.port) as line, opened(there) as other:
        with open_remote(parse_addresses(line.url, option="test"), options=impatient) as gone:
            prepared = gone.prepare(programs.two_dots())
            space = gone.space(prepared, "layout")
            cutter = threading.Timer(0.1, line.close)
            cutter.start()
            with pytest.raises(ServerError, match="no measurement server is left"):
                gone.evaluate(prepared, list(itertools.islice(space.enumerate(), 30)))
            cutter.join()
        (evaluation,) = other.evaluate(other.prepare(programs.two_dots()), [space.default])
        assert evaluation.cost == 1.0
        assert there.said("the client is gone")
