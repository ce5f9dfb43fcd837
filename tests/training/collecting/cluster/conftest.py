"""A real cluster of Ray on this host: two nodes, processes of their own, with a core each."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORE_BYTES = 80_000_000
"""Of a node's object store, Ray's smallest or nearly so."""


# Nobody else gets into the tests' cluster. Ray reads the mode when it is imported, so this must come before the tests.
if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & set(os.environ):
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes; whoever changes that changes it back."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'xla-autotune[cluster]'")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # names of sockets are short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Cores that other tests and searches of this host have reserved are none of this cluster's business.
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("reserved_cores")))
        head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    try:
        yield made
    finally:
        processes = [each for node in made.list_all_nodes() for each in _processes(node)]
        made.shutdown()
        _wait(processes)
        shutil.rmtree(folder, ignore_errors=True)


def remove_node(cluster: Any, node: Any, *, graceful: bool = True) -> None:
    """End a node, and wait until the others know."""
    processes = _processes(node)
    cluster.remove_node(node, allow_graceful=graceful)
    _wait(processes)
    cluster.wait_for_nodes()


def _processes(node: Any) -> list[subprocess.Popen[bytes]]:
    return [info.process for infos in node.all_processes.values() for info in infos]


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ray does not, and Python warns of processes that nobody has waited for."""
    for process in processes:
        process.wait(timeout=60)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The folder of `targets.begun`."""
    folder = tmp_path / "log"
    folder.mkdir()
    return folder
