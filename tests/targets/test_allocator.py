"""A process that measures keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np

def page_faults():
    for _ in range(3):
        np.ones(5_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def page_faults(prologue: str) -> int:
    """Of ten arrays of 40 MB, made and freed one after the other, in a process of their own."""
    code = f"{prologue}\n{FAULTS}\nprint(page_faults())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment).stdout)


@pytest.mark.parametrize(
    "prologue",
    [
        "from autotune.targets.allocator import keep_freed_memory\nassert keep_freed_memory()",
        "from autotune.targets.device_worker import DeviceWorker\nDeviceWorker()",
    ],
)
def test_what_is_freed_is_not_given_back(prologue: str) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library is not glibc")
    assert page_faults("") >= 100, "else there is nothing to keep"
    assert page_faults(prologue) <= 10
