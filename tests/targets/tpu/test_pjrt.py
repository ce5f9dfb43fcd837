"""The interface is refused before anything of it is called, if it is not the one that we know: made-up tables."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from autotune.errors import ToolchainError
from autotune.targets.isolation import WorkerFailure, run_in_child
from autotune.targets.tpu import pjrt_api
from autotune.targets.tpu.pjrt import PjrtCompiler
from autotune.targets.tpu.toolchain import libtpu_version


def _table(
    *, major: int = 0, minor: int = 117, functions: int = 138, version_size: int = 24
) -> ctypes.Array[ctypes.c_char]:
    """A PJRT_Api: size, extensions, {size, extensions, major, minor}, then functions (all null)."""
    size = 8 + 8 + 24 + 8 * functions
    table = ctypes.create_string_buffer(size)
    ctypes.c_size_t.from_buffer(table, 0).value = size
    ctypes.c_size_t.from_buffer(table, 16).value = version_size
    ctypes.c_int.from_buffer(table, 32).value = major
    ctypes.c_int.from_buffer(table, 36).value = minor
    return table


def test_known_interface() -> None:
    for minor in (90, 117, 199):
        table = _table(minor=minor)
        assert pjrt_api.check_api(ctypes.addressof(table)) == (0, minor)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_table(major=1), r"speaks PJRT C API 1\.117, this tool 0\.90 to 0\.199"),
        (_table(minor=89), r"speaks PJRT C API 0\.89"),
        (_table(version_size=32), "speaks PJRT C API"),
        (_table(functions=89), "table has 752 bytes, expected 760 or more"),
    ],
)
def test_unknown_interface(table: ctypes.Array[ctypes.c_char], message: str) -> None:
    with pytest.raises(ToolchainError, match=message) as caught:
        PjrtCompiler("v5e:1x1", api=ctypes.addressof(table))
    assert "pip install 'xla-autotune[tpu]'" in str(caught.value)


def test_library_without_an_interface() -> None:
    with pytest.raises(ToolchainError, match="gives no PJRT interface"):
        PjrtCompiler("v5e:1x1", api=0)


def test_structures_have_the_sizes_of_the_header() -> None:
    # sizeof by the rules of C on a 64-bit host: pointers and size_t are 8 bytes, an int or an enum fills up to 8.
    assert ctypes.sizeof(pjrt_api.Version) == 24
    assert ctypes.sizeof(pjrt_api.ErrorGetCode) == 32
    assert ctypes.sizeof(pjrt_api.TopologyCreate) == 56
    assert ctypes.sizeof(pjrt_api.Program) == 48
    assert ctypes.sizeof(pjrt_api.Compile) == 64


def test_places_in_the_table_are_those_of_the_header() -> None:
    """Against the header that tensorflow brings, where it is installed."""
    for folder in map(Path, sys.path):
        header = folder / "tensorflow/include/xla/pjrt/c/pjrt_c_api.h"
        if header.is_file():
            break
    else:
        pytest.skip("needs tensorflow's headers (extra `tensorflow`)")
    table = header.read_text().partition("typedef struct PJRT_Api {")[2].partition("} PJRT_Api;")[0]
    names = [line.partition("(")[2].partition(")")[0] for line in table.splitlines() if "_STRUCT_FIELD(" in line]
    assert {name: names.index(name) for name in pjrt_api.FUNCTIONS} == pjrt_api.FUNCTIONS


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r"libtpu, the TPU compiler, is not installed; run: pip install 'xla-auto"):
        libtpu_version()
    with pytest.raises(ToolchainError, match="is not installed"):
        PjrtCompiler("v5e:1x1")


def test_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.3")
    with pytest.raises(
        ToolchainError, match=r"libtpu 0\.1\.3 is installed, but this tool knows only 0\.0\.52; run: pip"
    ):
        libtpu_version()


def test_unknown_interface_in_a_child_is_told_by_its_type() -> None:
    with pytest.raises(WorkerFailure, match="gives no PJRT interface") as caught:
        run_in_child("tests.targets.tpu.test_pjrt:_WithoutInterface", "compile", time_limit=60)
    assert caught.value.error_type == "ToolchainError"


class _WithoutInterface(PjrtCompiler):
    def __init__(self) -> None:
        super().__init__("v5e:1x1", api=0)
