"""Fixtures of the tests that need the TPU compiler."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from autotune.targets.tpu.compiler import TpuCompiler


@pytest.fixture(scope="session")
def libtpu() -> None:
    """A test that needs the compiler is skipped without it. It is loaded in children only, so not imported here."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, the TPU compiler (pip install 'xla-autotune[tpu]')")


@pytest.fixture(scope="session")
def compiler(libtpu: None) -> Iterator[TpuCompiler]:
    """The compiler of a v5e; every test leaves it usable."""
    with TpuCompiler("v5e", time_limit=120, workers=2) as compiler:
        yield compiler
