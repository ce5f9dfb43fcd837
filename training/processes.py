"""The processes of one training: which of them this is, and what they wait for.

torchrun starts all processes of all hosts and tells each its number in the environment. Without it, Lightning starts
those of a host, and the user says which host it is (NODE_RANK, with MASTER_ADDR and MASTER_PORT); Slurm does both.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from training.errors import TrainingError

_WAIT_SECONDS: Final = 60.0
_RANKS: Final = ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")


def is_first_process() -> bool:
    """Whether this process is the one of a training that writes and prints."""
    rank = os.environ.get("RANK")
    numbers = [rank] if rank is not None else [os.environ.get(name, "0") for name in _RANKS]
    return all(int(number) == 0 for number in numbers)


def check_processes(devices: int, nodes: int) -> None:
    """Find out whether torchrun has started as many processes as were asked for; fine without torchrun.

    Args:
        devices: per host.
        nodes: hosts.

    Raises:
        TrainingError: it has not.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if (here, everywhere) != (devices, devices * nodes):
        raise TrainingError(
            f"expected {nodes} x {devices} processes (--nodes x --devices), found that torchrun has started "
            f"{everywhere}, {here} of them on this host: start it with --nnodes {nodes} --nproc-per-node {devices}, or "
            f"use --nodes {max(1, everywhere // here)} --devices {here}"
        )


def wait_for_first_process(path: Path) -> None:
    """Wait for a file that the first process writes.

    Raises:
        TrainingError: there is none; the hosts do not share the folder, or the first process has failed.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while not path.exists():
        if time.monotonic() >= deadline:
            raise TrainingError(
                f"{path}: expected the first process to have written it, found no such file after "
                f"{_WAIT_SECONDS:.0f} seconds: choose an --out that all hosts share"
            )
        time.sleep(0.1)
