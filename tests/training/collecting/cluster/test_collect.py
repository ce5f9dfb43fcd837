"""Collections on a real cluster of two nodes: the same as on one host, whoever is lost meanwhile."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autotune.database import Database
from autotune.targets.base import Target
from cost_model.npz import read_npz
from tests import hlo_texts
from tests.rows import committed
from tests.tables import KnownTarget
from tests.training.collecting.cluster import conftest
from training.collecting.collect import collect
from training.collecting.programs import Source, find_sources
from training.collecting.request import Request
from training.errors import ClusterError

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs Ray: pip install 'xla-autotune[cluster]'", allow_module_level=True)

from tests.training.collecting.cluster import targets
from training.collecting.cluster.collect import collect_on_cluster
from training.collecting.cluster.evaluator import ClusterEvaluator
from training.collecting.cluster.pool import PoolOptions
from training.collecting.cluster.session import RaySession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOLDER = "layout-known"
REQUEST = Request("layout", configs=12, least_spread=1.0)
SECONDS = 0.1


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    for number in (1, 2, 3):
        text = hlo_texts.TWO_DOTS.replace("two_dots", f"two_dots_{number}").replace("16]", f"{16 * number}]")
        (tmp_path / f"dots{number}__two.hlo").write_text(text.replace("[16,", f"[{16 * number},"))
    return find_sources(sorted(tmp_path.glob("*.hlo")))


@contextmanager
def _evaluator(
    cluster: Any, opener: Callable[[], Target], *, target: str = "cpu", options: PoolOptions | None = None
) -> Iterator[ClusterEvaluator]:
    with (
        RaySession(cluster.address) as session,
        ClusterEvaluator(session, target, opener, options=options) as evaluator,
    ):
        yield evaluator


def _on_cluster(cluster: Any, sources: list[Source], folder: Path, opener: Callable[[], Target]) -> Any:
    with _evaluator(cluster, opener) as evaluator, Database.open(folder / "cluster.sqlite") as database:
        return collect_on_cluster(sources, evaluator, REQUEST, folder / "cluster", database)


def _same_as_on_one_host(sources: list[Source], folder: Path) -> None:
    """The same configs were drawn, in the same order, with the same labels, and each was committed once."""
    with Database.in_memory() as database:
        collect(sources, KnownTarget(cost=targets.number_of_orders), REQUEST, folder / "here", database)
    drawn = []
    for source in sources:
        here, there = (
            json.loads((folder / which / FOLDER / f"records/{source.name}.json").read_text())
            for which in ("here", "cluster")
        )
        for different in ("seconds", "noise"):
            del here[different], there[different]
        assert there == here
        found = read_npz(folder / "cluster" / FOLDER / there["file"]).runtimes
        expected = read_npz(folder / "here" / FOLDER / here["file"]).runtimes
        assert found is not None
        assert expected is not None
        assert found.tolist() == expected.tolist()
        drawn += here["config_ids"]
    assert sorted(committed(folder / "cluster.sqlite")) == sorted(drawn)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_programs_are_shared_among_the_nodes(cluster: Any, sources: list[Source], log: Path, tmp_path: Path) -> None:
    statistics = _on_cluster(cluster, sources, tmp_path, partial(targets.open_logged, log, SECONDS))
    assert (statistics["stopped"], statistics["refused"]) == ("all programs", {})
    assert list(statistics["programs"]) == [source.name for source in sources]
    begun = targets.begun(log)
    assert len({each.process for each in begun}) == len({each.node for each in begun}) == 2
    _same_as_on_one_host(sources, tmp_path)


def test_configs_of_one_program_are_shared(cluster: Any, sources: list[Source], log: Path, tmp_path: Path) -> None:
    _on_cluster(cluster, sources[:1], tmp_path, partial(targets.open_logged, log, SECONDS))
    assert len({each.node for each in targets.begun(log)}) == 2
    _same_as_on_one_host(sources[:1], tmp_path)


def test_killed_workers_cost_what_they_were_evaluating(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    killed = []

    def kill() -> None:
        for moment in (5, 15, 25):
            _wait_for(lambda moment=moment: len(targets.begun(log)) >= moment)  # type: ignore[misc]
            time.sleep(SECONDS / 2)  # in the middle of the evaluation
            killed.append(targets.begun(log)[-1].process)
            os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    statistics = _on_cluster(cluster, sources, tmp_path, partial(targets.open_logged, log, SECONDS))
    killer.join()
    assert (statistics["stopped"], statistics["refused"], statistics["failed"]) == ("all programs", {}, {})
    processes = {each.process for each in targets.begun(log)}
    assert len(set(killed)) == 3
    assert len(processes - set(killed)) >= 2, "others were hired"
    _same_as_on_one_host(sources, tmp_path)


def test_a_node_that_goes_costs_what_it_was_evaluating(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    third = cluster.add_node(num_cpus=1, object_store_memory=conftest.STORE_BYTES)
    gone = []

    def remove() -> None:
        _wait_for(lambda: any(each.node == third.node_id for each in targets.begun(log)))
        gone.append(len([each for each in targets.begun(log) if each.node == third.node_id]))
        conftest.remove_node(cluster, third, graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    statistics = _on_cluster(cluster, sources, tmp_path, partial(targets.open_logged, log, SECONDS))
    remover.join()
    assert gone
    assert gone[0] > 0
    assert (statistics["stopped"], statistics["refused"], statistics["failed"]) == ("all programs", {}, {})
    _same_as_on_one_host(sources, tmp_path)


def test_a_config_that_kills_its_worker_is_tried_three_times(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    with Database.in_memory() as database:
        collect(sources, KnownTarget(cost=targets.number_of_orders), REQUEST, tmp_path / "here", database)
    record = json.loads((tmp_path / "here" / FOLDER / f"records/{sources[0].name}.json").read_text())
    deadly = record["config_ids"][-1]
    statistics = _on_cluster(cluster, sources[:1], tmp_path, partial(targets.open_logged, log, deadly=deadly))
    assert statistics["failed"] == {"killed from outside": 1}
    assert statistics["configs"] == REQUEST.configs + 1
    assert len([each for each in targets.begun(log) if each.config == deadly]) == 3


def test_interrupted_it_ends_with_all_that_was_returned(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    returned = []

    def interrupt(done: int, total: int, name: str) -> None:
        returned.append(done)
        if len(returned) == 10:
            raise KeyboardInterrupt

    opener = partial(targets.open_logged, log, SECONDS)
    began = time.monotonic()
    with (
        Database.open(tmp_path / "cluster.sqlite") as database,
        _evaluator(cluster, opener) as evaluator,
        pytest.raises(KeyboardInterrupt),
    ):
        collect_on_cluster(sources, evaluator, REQUEST, tmp_path / "cluster", database, interrupt)
    assert time.monotonic() - began < 60
    before = committed(tmp_path / "cluster.sqlite")
    assert len(targets.begun(log)) - 2 <= len(before) <= len(targets.begun(log)), "two workers, an evaluation each"
    statistics = _on_cluster(cluster, sources, tmp_path, opener)
    assert sum(each["reused"] for each in statistics["programs"].values()) == len(before)
    assert len(committed(tmp_path / "cluster.sqlite")) == 3 * (REQUEST.configs + 1)


def test_no_evaluation_starts_after_the_time_limit(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    opener, request = partial(targets.open_logged, log, SECONDS), Request("layout", configs=500, time_limit=2.0)
    with Database.open(tmp_path / "cluster.sqlite") as database, _evaluator(cluster, opener) as evaluator:
        statistics = collect_on_cluster(sources, evaluator, request, tmp_path / "cluster", database)
    assert statistics["stopped"] == "time limit reached"
    assert 0 < len(committed(tmp_path / "cluster.sqlite")) == len(targets.begun(log)) < 60


def test_workers_of_two_kinds_are_refused(cluster: Any) -> None:
    with (
        pytest.raises(ClusterError, match=r"found 2 kinds, whose numbers cannot be compared: a table of \w+, 1, .*"),
        _evaluator(cluster, targets.open_of_node),
    ):
        pass


def test_a_target_that_no_worker_can_open(cluster: Any) -> None:
    with (
        pytest.raises(ClusterError, match=r"no worker is left: ValueError\('this target cannot be opened'\)"),
        _evaluator(cluster, targets.open_none),
    ):
        pass


def test_no_room(cluster: Any) -> None:
    """Another job has the whole cluster."""
    options = PoolOptions(starting=1.0, patience=2.0)
    with (
        RaySession(cluster.address) as session,
        ClusterEvaluator(session, "cpu", KnownTarget),
        pytest.raises(ClusterError, match=r"for 2 seconds no worker has started .* free: CPU 0, TPU 0; wait for"),
    ):
        ClusterEvaluator(session, "cpu", KnownTarget, options=options)


def test_a_tpu_is_looked_for_on_the_nodes_that_have_one(
    cluster: Any, sources: list[Source], log: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=2, resources={"TPU": 4}, object_store_memory=conftest.STORE_BYTES)
    try:
        with (
            _evaluator(cluster, partial(targets.open_logged, log), target="tpu") as evaluator,
            Database.open(tmp_path / "cluster.sqlite") as database,
        ):
            assert evaluator.size == 1
            collect_on_cluster(sources[:1], evaluator, REQUEST, tmp_path / "cluster", database)
    finally:
        conftest.remove_node(cluster, node)
    assert {each.node for each in targets.begun(log)} == {node.node_id}
    _same_as_on_one_host(sources[:1], tmp_path)
