"""Handlers for child processes that misbehave in every way that compilers do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from autotune.targets.child import enter_phase
from autotune.targets.device_worker import DeviceWorker


def add(first: int, second: int) -> int:
    return first + second


def fail(message: str) -> None:
    raise ValueError(message)


def abort_while(phase: str) -> None:
    enter_phase(phase)
    sys.stderr.write("F0000 check failed: shape.rank() == 2\n")
    sys.stderr.flush()
    os.abort()


def hang_while(phase: str, time_limit: float) -> None:
    enter_phase(phase, time_limit)
    while True:
        time.sleep(60)


def killed_from_outside() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def eat_memory() -> int:
    return len(bytearray(8 << 30))


def affinity() -> set[int]:
    return os.sched_getaffinity(0)


def process_id() -> int:
    return os.getpid()


class FaultyDeviceWorker(DeviceWorker):
    """The real worker, but chosen variants hang, abort or are killed: every n-th evaluation, by kind.

    Args:
        plan: what happens at the evaluation of that number (1 = the first): "hang", "abort", "kill", "exit".
        counter: a file that counts evaluations over all children.
    """

    def __init__(self, plan: dict[int, str], counter: str) -> None:
        super().__init__()
        self._plan = plan
        self._counter = counter

    def evaluate(self, variants: Any, effort: Any, limits: Any, seed: int) -> Any:
        with open(self._counter, "a+") as file:  # noqa: PTH123
            file.write("x")
            file.flush()
            number = file.tell()
        match self._plan.get(number):
            case "hang":
                hang_while("compiling", 1.0)
            case "abort":
                abort_while("compiling")
            case "kill":
                killed_from_outside()
            case "crash while running":
                abort_while("running")
        return super().evaluate(variants, effort, limits, seed)


def faulty(plan: dict[int, str], folder: Path) -> dict[str, Any]:
    """Arguments of a `CpuTarget` whose evaluations of these numbers (1 = the first) go wrong in these ways."""
    return {
        "worker": "tests.targets.faults:FaultyDeviceWorker",
        "worker_arguments": {"plan": plan, "counter": str(folder / "counter")},
    }
