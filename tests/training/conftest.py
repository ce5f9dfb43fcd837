"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a data set, which is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store, which is not there yet."""
    return tmp_path / "store"
