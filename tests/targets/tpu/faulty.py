"""The TPU compiler in a real child process, where chosen compilations go wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from autotune.targets.tpu import compiler
from autotune.targets.tpu.worker import TpuWorker
from tests.targets.faults import abort_while, hang_while, killed_from_outside

_PLAN, _COUNTER = "TEST_FAULT_PLAN", "TEST_FAULT_COUNTER"


class FaultyTpuWorker(TpuWorker):
    """The real worker, but compilations of certain numbers (1 = the first) hang, abort or are killed."""

    def compile(self, module: bytes, options: bytes) -> bytes:
        with Path(os.environ[_COUNTER]).open("a+") as file:  # counts over all children
            file.write("x")
            file.flush()
            number = file.tell()
        match json.loads(os.environ[_PLAN]).get(str(number)):
            case "hang":
                hang_while("compiling", 1.0)
            case "abort":
                abort_while("compiling")
            case "kill":
                killed_from_outside()
        return super().compile(module, options)


def plan_faults(plan: dict[int, str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes compilers that are opened from now on go wrong: what happens, by the number of the compilation."""
    patch.setattr(compiler, "_HANDLER", "tests.targets.tpu.faulty:FaultyTpuWorker")
    patch.setenv(_PLAN, json.dumps(plan))
    patch.setenv(_COUNTER, str(folder / "counter"))
