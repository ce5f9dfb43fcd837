"""Real child processes that crash, hang, eat memory and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from autotune.targets.isolation import PACKAGE_ROOT, Worker, WorkerFailure, WorkerFailureReason, run_in_child

FAULTS = "tests.targets.faults"


@pytest.fixture
def worker():  # type: ignore[no-untyped-def]
    with Worker(FAULTS) as worker:
        yield worker


def test_call_returns_the_value(worker: Worker) -> None:
    assert worker.call("add", 2, 3, time_limit=60) == 5
    assert worker.call("add", 2, second=5, time_limit=60) == 7
    assert worker.generation == 1, "one child serves many calls"


def test_exception_is_an_error_and_the_child_lives_on(worker: Worker) -> None:
    with pytest.raises(WorkerFailure, match="no such layout") as caught:
        worker.call("fail", "no such layout", time_limit=60)
    assert caught.value.reason is WorkerFailureReason.ERROR
    assert caught.value.error_type == "ValueError"
    assert worker.call("add", 1, 1, time_limit=60) == 2
    assert worker.generation == 1


def test_abort_is_a_crash_with_last_words_and_phase(worker: Worker) -> None:
    with pytest.raises(WorkerFailure, match=r"SIGABRT.*check failed: shape\.rank") as caught:
        worker.call("abort_while", "compiling", time_limit=60)
    assert caught.value.reason is WorkerFailureReason.CRASHED
    assert caught.value.phase == "compiling"
    assert worker.call("add", 1, 1, time_limit=60) == 2, "the next call has a fresh child"
    assert worker.generation == 2


def test_hang_costs_its_time_limit_and_no_more(worker: Worker) -> None:
    worker.call("add", 1, 1, time_limit=60)  # the start of the child is not what is timed here
    process = worker.process_id
    assert process is not None
    start = time.monotonic()
    with pytest.raises(WorkerFailure, match=r"no answer within 0\.5 s") as caught:
        worker.call("hang_while", "running", 0.5, time_limit=300)
    assert time.monotonic() - start < 60
    assert caught.value.reason is WorkerFailureReason.TIMED_OUT
    assert caught.value.phase == "running"
    assert not _exists(process)


def test_kill_from_outside_is_told_apart_from_a_crash(worker: Worker) -> None:
    with pytest.raises(WorkerFailure) as caught:
        worker.call("killed_from_outside", time_limit=60)
    assert caught.value.reason is WorkerFailureReason.KILLED


def test_memory_limit() -> None:
    with Worker(FAULTS, memory_limit=1 << 30) as worker:
        with pytest.raises(WorkerFailure) as caught:
            worker.call("eat_memory", time_limit=60)
        assert caught.value.reason is WorkerFailureReason.OUT_OF_MEMORY
        assert worker.call("add", 1, 1, time_limit=60) == 2


def test_pinned_before_anything_is_imported() -> None:
    core = max(os.sched_getaffinity(0))
    with Worker(FAULTS, cores=[core]) as worker:
        assert worker.call("affinity", time_limit=60) == {core}


def test_handler_that_cannot_be_imported() -> None:
    with pytest.raises(WorkerFailure, match="no_such_module"):
        run_in_child("no_such_module", "add", time_limit=60)


def test_handler_that_cannot_be_imported_says_so_every_time() -> None:
    with Worker("tests.targets.no_such_module") as worker:
        for _ in range(4):
            with pytest.raises(WorkerFailure, match="no_such_module") as caught:
                worker.call("add", 1, 1, time_limit=60)
            assert caught.value.reason is WorkerFailureReason.ERROR
            assert not worker.alive


def test_child_dies_with_a_killed_parent_even_while_it_hangs() -> None:
    code = (
        "from autotune.targets.isolation import Worker\n"
        f"worker = Worker({FAULTS!r})\n"
        "print(worker.call('process_id', time_limit=60), flush=True)\n"
        "worker.call('hang_while', 'compiling', 600.0, time_limit=600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=PACKAGE_ROOT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _exists(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while _exists(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _exists(child)


def _exists(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
