"""Aborts, hangs, kills, lack of memory in real processes: a failure with a reason each, and the next call works."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import ToolchainError
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.options import compile_options
from protos.hlo_pb2 import HloModuleProto
from tests.targets.tpu import programs

pytestmark = pytest.mark.usefixtures("libtpu")


def _abort() -> tuple[bytes, bytes]:
    # Skips the passes that turn dots into convolutions, which later ones rely on (xla_tpu.md, section 1).
    return programs.request(programs.CONVOLUTION, xla_run_hlo_passes_starting_from="tpu_fusion")


@pytest.mark.parametrize("verbose", [False, True])
def test_abort_is_a_crash_with_its_reason(compiler: TpuCompiler, verbose: bool) -> None:
    with pytest.raises(WorkerFailure) as caught:
        (compiler.verbose_compile if verbose else compiler.compile)(*_abort())
    assert caught.value.reason is WorkerFailureReason.CRASHED
    assert caught.value.message.startswith("SIGABRT: tpu_instruction_fusion.cc")
    assert caught.value.message.endswith("Dots should have been replaced by convolutions.")
    assert compiler.compile(*programs.request(programs.DOT))


def _endless(compiler: TpuCompiler) -> tuple[bytes, bytes]:
    """A tile larger than its tensor: libtpu searches for ever (xla_tpu.md, section 4)."""
    module = HloModuleProto.FromString(compiler.before_memory_space_assignment(*programs.request(programs.CONVOLUTION)))
    (fusion,) = (
        each
        for computation in module.computations
        for each in computation.instructions
        if each.opcode == "fusion" and list(each.shape.dimensions) == [32, 16, 16, 128]
    )
    tile = {"kernel_window_bounds": ["3", "3", "8", "1"], "output_window_bounds": ["64"] * 4, "estimated_cycles": "1"}
    fusion.backend_config = json.dumps({"window_config": tile}).encode()
    return module.SerializeToString(), compile_options(module, backend_only=True)


def test_hang_ends_at_the_time_limit(compiler: TpuCompiler) -> None:
    endless = _endless(compiler)
    with pytest.raises(WorkerFailure, match="no answer within 3 s") as caught:
        compiler.compile(*endless, time_limit=3)
    assert caught.value.reason is WorkerFailureReason.TIMED_OUT
    assert compiler.compile(*programs.request(programs.DOT))


def test_kill_from_outside(compiler: TpuCompiler) -> None:
    endless = _endless(compiler)
    with _killed_soon(compiler), pytest.raises(WorkerFailure) as caught:
        compiler.compile(*endless)
    assert caught.value.reason is WorkerFailureReason.KILLED
    assert compiler.compile(*programs.request(programs.DOT))


@contextlib.contextmanager
def _killed_soon(compiler: TpuCompiler) -> Iterator[None]:
    """Sends SIGKILL to a child in the middle of a compilation."""

    def kill() -> None:
        while not (process_ids := compiler.process_ids(busy=True)):
            time.sleep(0.01)
        os.kill(process_ids[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_many_at_once_and_each_failure_a_value(compiler: TpuCompiler) -> None:
    requests = [
        programs.request(programs.DOT),
        (b"no module", programs.request(programs.DOT)[1]),
        _abort(),
        programs.request(programs.CONVOLUTION),
        programs.request(programs.DOT),
    ]
    told: dict[int, bytes | WorkerFailure] = {}
    alone = programs.cycles(compiler.compile(*programs.request(programs.DOT)))
    results = compiler.compile_many([CompileRequest(*each) for each in requests], on_result=told.__setitem__)
    assert [each.reason if isinstance(each, WorkerFailure) else programs.cycles(each) for each in results] == [
        alone,
        WorkerFailureReason.ERROR,
        WorkerFailureReason.CRASHED,
        61242,
        alone,
    ]
    assert told == dict(enumerate(results))


def test_error_of_the_listener_ends_all(libtpu: None) -> None:
    def refuse(index: int, result: object) -> None:
        raise KeyboardInterrupt

    with TpuCompiler("v5e", workers=2) as compiler:
        requests = [CompileRequest(*programs.request(programs.CONVOLUTION))] * 40
        with pytest.raises(KeyboardInterrupt):
            compiler.compile_many(requests, on_result=refuse)
        assert not compiler.process_ids(busy=True)
        assert compiler.compile(*programs.request(programs.DOT)), "a new child starts"


def test_memory_limit_of_the_host(libtpu: None) -> None:
    with TpuCompiler("v5e", memory_limit=32 << 20) as compiler:
        with pytest.raises(WorkerFailure, match="its limit is 32 MB") as caught:
            compiler.compile(*programs.request(programs.CONVOLUTION))
        assert caught.value.reason is WorkerFailureReason.OUT_OF_MEMORY


def test_nothing_stays_behind(libtpu: None) -> None:
    compiler = TpuCompiler("v5e")
    compiler.stages(*programs.request(programs.DOT))
    (process_id,) = compiler.process_ids()
    folder = Path(compiler.folder)
    assert list(folder.iterdir()) == [], "dumps are gone after the call"
    compiler.close()
    assert not Path(f"/proc/{process_id}").exists()
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="closed"):
        compiler.compile(*programs.request(programs.DOT))


def test_error_of_the_toolchain_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "autotune.targets.tpu.compiler._HANDLER", "tests.targets.tpu.test_compiler_faults:OtherInterface"
    )
    with TpuCompiler("v5e") as compiler, pytest.raises(ToolchainError, match="speaks another interface"):
        compiler.compile(*programs.request(programs.DOT))


class OtherInterface:
    """A handler that cannot be made."""

    def __init__(self, **arguments: object) -> None:
        raise ToolchainError("libtpu speaks another interface")


def test_library_that_the_child_does_not_find(tmp_path: Path) -> None:
    """A folder before all others on the import path, in which libtpu is an empty package."""
    (tmp_path / "libtpu").mkdir()
    (tmp_path / "libtpu/__init__.py").touch()
    environment = {"PYTHONPATH": str(tmp_path)}
    handler = "autotune.targets.tpu.worker:TpuWorker"
    with Worker(handler, arguments={"topology": "v5e:1x1"}, environment=environment) as worker:
        with pytest.raises(WorkerFailure, match=r"libtpu\.so") as caught:
            worker.call("api_version", time_limit=60)
        assert caught.value.error_type == "ToolchainError"
