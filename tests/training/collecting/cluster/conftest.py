"""A real cluster of Ray on this host: two nodes, processes of their own, with a core each."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORE_BYTES = 80_000_000
"""Of a node's object store, Ray's smallest or nearly so."""


@pytest.fixture(scope="session", autouse=True)
def _token_of_its_own() -> Iterator[None]:
    """Ray would make one in the user's home, and then ask every later cluster of the user for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes; whoever changes that changes it back."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'xla-autotune[cluster]'")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # names of sockets are short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        # Cores that other tests and searches of this host have reserved are none of this cluster's business.
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("reserved_cores")))
        head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    try:
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The folder of `targets.begun`."""
    folder = tmp_path / "log"
    folder.mkdir()
    return folder
