"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # with libtpu installed jax would try to start a TPU

REPO_ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started with "&" by a shell without job control: this and child processes ignore Ctrl-C, and tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of pyproject.toml."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real programs and data sets beside the repository; a test that needs it is skipped without it."""
    path = REPO_ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("needs the folder `shared` beside the repository (real programs and data, not part of it)")
    return path


@pytest.fixture(scope="session", autouse=True)
def _no_data_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests, and the processes they start, away from the evaluation database of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("user_data")))
        yield
