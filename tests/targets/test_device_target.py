"""The code of `--target tpu` with XLA:CPU in the TPU's place: executables from elsewhere, kernels in loops, faults."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from autotune import api
from autotune.errors import UnsupportedProgramError, WorkerError
from autotune.evaluation import Failed, FailureReason, Measured
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from autotune.hlo.repeat import repeat
from autotune.hlo.window_config import ForcedTile, WindowConfig
from autotune.rendering.search import render_result
from autotune.spaces.base import Config, Space
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace
from autotune.targets.base import PreparedProgram, TiledProgram, TunedProgram
from autotune.targets.device_target import DeviceTarget, TiledDeviceTarget
from autotune.targets.device_worker import LAUNCH_SECONDS, Executable, HeldProgram, Variant
from autotune.targets.inputs import InputSpec, input_specs
from autotune.targets.isolation import Worker
from autotune.targets.measuring import MeasuringSession
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2
from tests import programs
from tests.tables import TILES
from tests.targets.cpu_device import DESCRIPTION, CpuPlan, cpu_device_target, session

pytestmark = pytest.mark.slow

KERNELS = """HloModule kernel
once { x = f32[256,256] parameter(0) w = f32[256,256] parameter(1)
  ROOT a = f32[256,256] dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0} }
four_times { x = f32[256,256] parameter(0) w = f32[256,256] parameter(1)
  a = f32[256,256] dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  b = f32[256,256] dot(a, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  c = f32[256,256] dot(b, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  d = f32[256,256] dot(c, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  zero = f32[] constant(0) zeros = f32[256,256] broadcast(zero), dimensions={}
  nothing = f32[256,256] multiply(d, zeros) ROOT e = f32[256,256] add(a, nothing) }
ENTRY main { x = f32[256,256] parameter(0) w = f32[256,256] parameter(1)
  ROOT k = f32[256,256] call(x, w), to_apply=HERE }
"""
"""The same values, from one product or from four (0 * d is not 0 for a compiler: d might be infinite)."""


def kernel(which: str) -> hlo_pb2.HloModuleProto:
    return read_bytes(KERNELS.replace("HERE", which).encode(), "kernel").proto


def loop(which: str) -> TunedProgram:
    return TunedProgram(repeat(kernel(which)).SerializeToString(deterministic=True))


@pytest.fixture
def device() -> Iterator[MeasuringSession]:
    opened = session()
    yield opened
    opened.close()


def test_a_search_on_a_device(tmp_path: Path) -> None:
    with cpu_device_target() as target:
        result = api.search(programs.two_dots(), target=target, database=tmp_path / "db.sqlite", budget=4)
    assert result.counts == {"measured": 5, "estimated": 0, "failed": 0}
    assert result.comparison is not None
    assert "as on a TPU" in result.prepared.notes
    assert all("copies" in evaluation.details for evaluation in result.evaluations), "facts of the compiler's side"


class _KernelPlan:
    """Tiles of which the compiler's own takes four products, and every other one."""

    def __init__(self, compiler: Worker) -> None:
        self._compiler = compiler
        self._space: TpuTileSpace | None = None

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        self._space = TpuTileSpace(kernel, TILES)
        program = Program(kernel.name, kernel.module.SerializeToString(deterministic=True), "a table")
        return PreparedProgram(program, program)

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        assert self._space is not None
        return self._space

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        return TunedProgram(prepared.program.module, backend_only=True)

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        which = ["four_times" if config == TpuTileConfig() else "once" for config in configs]
        modules = [repeat(kernel(each)).SerializeToString() for each in which]
        facts = {"estimated_cycles": 200.0}
        return [Executable(self._compiler.call("compiled", each, time_limit=120)[0], 0.1, facts) for each in modules]

    def loop_inputs(self, prepared: PreparedProgram) -> list[InputSpec]:
        return input_specs(repeat(kernel("once")))


class _TiledPlan(CpuPlan):
    """A program in which such a kernel is found."""

    @property
    def kernel_target(self) -> _KernelPlan:
        return _KernelPlan(self._compiler)

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]:
        return [Kernel("k", "call", kernel("four_times"), WindowConfig((), (64,), estimated_cycles=100), 1)]

    def apply_tiles(self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]) -> TiledProgram:
        assert [(name, tile.cycles) for name, tile in tiles.items()] == [("k", 200)]
        return TiledProgram(prepared.program.module, tuple(tiles), tuple(tiles), 1000.0)

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]:
        raise WorkerError("this compiler does not show what it compiles")

    def tiled_executable(self, tiled: TiledProgram) -> Executable | Failed:
        return Executable(self._compiler.call("compiled", tiled.module, time_limit=120)[0])


def test_layouts_then_tiles_on_a_device(tmp_path: Path) -> None:
    with TiledDeviceTarget(_TiledPlan(), session(), DESCRIPTION) as target:
        result = api.search(programs.two_dots(), target=target, database=tmp_path / "db.sqlite", budget=9)
    assert result.counts["measured"] == 7, "two thirds of the budget, and the default"
    (tiles,) = result.tiles
    assert tiles.measured
    assert tiles.result is not None
    assert tiles.result.counts["measured"] == 4
    assert tiles.better is not None
    assert tiles.better.cost == pytest.approx(0.25, abs=0.15)
    assert result.tiled is not None
    assert isinstance(result.tiled.measured, Measured)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_result(result, []))
    text = console.export_text()
    assert "the fastest, timed with the kernel alone and many executions in one launch" in text
    assert "of the default (measured)" in text
    assert "To measure first" not in text
    facts = result.to_json()
    assert facts["tiles"][0]["fastest"][0]["seconds"] > 0
    assert facts["whole_program_with_tiles"]["seconds"] > 0


def test_what_the_device_says_of_itself(device: MeasuringSession) -> None:
    assert device.worker.call("device", time_limit=60) == ("cpu", None)


def test_many_executions_in_a_launch(device: MeasuringSession) -> None:
    default = loop("once")
    held = HeldProgram(default, input_specs(hlo_pb2.HloModuleProto.FromString(default.module)), 1e-4, repeated=True)
    details = device.load("kernel", "once", held)
    executions = float(details["executions_per_launch"])
    assert executions >= 2
    assert float(details["run_seconds"]) >= LAUNCH_SECONDS
    configs = [LayoutConfig(), LayoutConfig.of({(0, 0): (0, 1)})]
    variants: list[tuple[Config, Variant | Failed]] = [(configs[0], loop("once")), (configs[1], loop("four_times"))]
    one, four = (each.outcome for each in device.measure("once", held, details, variants, purpose="search"))
    assert isinstance(one, Measured), one
    assert isinstance(four, Measured), four
    assert one.runs % executions == 0
    # Times are of one execution, of which a launch makes many: only a host that is that much slower now could hide it.
    assert executions >= 8
    assert max(one.seconds, four.seconds / 4) < float(details["run_seconds"]) / 2


def test_executables_and_programs_compiled_here_are_told_apart_by_nothing(device: MeasuringSession) -> None:
    program = programs.two_dots()
    with Worker("tests.targets.cpu_compiler") as compiler:
        serialized, _ = compiler.call("compiled", program.module, time_limit=120)
    default = Executable(serialized, 1.5, {"copies": 3.0})
    held = HeldProgram(default, input_specs(program.proto), 1e-4)
    details = device.load("two_dots", "two_dots", held)
    assert (details["compile_seconds"], details["copies"], details["executions_per_launch"]) == (1.5, 3.0, 1.0)
    config = LayoutConfig()
    variants: list[tuple[Config, Variant | Failed]] = [(config, default), (config, TunedProgram(program.module))]
    loaded, compiled = device.measure("two_dots", held, details, variants, purpose="confirm")
    for each in (loaded, compiled):
        assert isinstance(each.outcome, Measured), each.outcome
        assert each.details["largest_error"] == 0.0
    assert (loaded.compile_seconds, loaded.details["copies"]) == (1.5, 3.0)


MINUS = "HloModule minus\nENTRY main { x = f32[4,8]{ORDER} parameter(0) ROOT y = f32[4,8]{ORDER} negate(x) }\n"


def test_arguments_are_laid_out_as_each_executable_wants_them(device: MeasuringSession) -> None:
    """XLA:CPU takes the bytes as they come: with arguments in another order the outputs would be wrong."""
    executables = []
    with Worker("tests.targets.cpu_compiler") as compiler:
        for order in ("{1,0}", "{0,1}"):
            proto = read_bytes(MINUS.replace("{ORDER}", order).encode(), "minus").proto
            code, options = proto.SerializeToString(), compile_options(proto)
            executables.append(Executable(compiler.call("compiled_with_layouts", code, options, time_limit=120)))
    specs = input_specs(proto)
    for default in executables:
        held = HeldProgram(default, specs, 1e-4)
        details = device.load("minus", default.serialized.hex(), held)
        variants: list[tuple[Config, Variant | Failed]] = [(LayoutConfig(), each) for each in executables]
        for evaluation in device.measure(default.serialized.hex(), held, details, variants, purpose="search"):
            assert isinstance(evaluation.outcome, Measured), evaluation.outcome
            assert evaluation.details["largest_error"] == 0.0


def test_what_failed_to_compile_is_passed_on(device: MeasuringSession) -> None:
    program = programs.two_dots()
    held = HeldProgram(TunedProgram(program.module), input_specs(program.proto), 1e-4)
    details = device.load("two_dots", "two_dots", held)
    refused = Failed(FailureReason.NOT_APPLIED, "another tile")
    damaged = Executable(b"no executable")
    config = LayoutConfig()
    variants: list[tuple[Config, Variant | Failed]] = [(config, refused), (config, damaged), (config, held.default)]
    first, second, third = device.measure("two_dots", held, details, variants, purpose="search")
    assert first.outcome == refused
    assert isinstance(second.outcome, Failed)
    assert second.outcome.reason is FailureReason.COMPILE_ERROR
    assert isinstance(third.outcome, Measured)
    assert [e.purpose for e in device.measure("x", held, details, variants[:1], purpose="search")] == ["search"]


class _NoDefault(CpuPlan):
    def executables(self, *_: object) -> list[Executable | Failed]:
        return [Failed(FailureReason.COMPILER_CRASHED, "SIGABRT")]


def test_a_default_that_does_not_compile_is_a_refusal() -> None:
    with (
        DeviceTarget(_NoDefault(), session(), DESCRIPTION) as target,
        pytest.raises(UnsupportedProgramError, match="'two_dots' cannot be measured: compiler crashed: SIGABRT"),
    ):
        target.prepare(programs.two_dots())


def test_a_program_that_the_device_cannot_hold(device: MeasuringSession) -> None:
    text = "HloModule big\nENTRY main { x = f32[300000000] parameter(0) ROOT y = f32[300000000] negate(x) }\n"
    big: Program = read_bytes(text.encode(), "big")
    held = HeldProgram(TunedProgram(big.module), input_specs(big.proto), 1e-4)
    with pytest.raises(
        UnsupportedProgramError, match=r"'big' cannot run on this device: .* needs 2\.4 GB .*limit is 1\.1 GB"
    ):
        device.load("big", "big", held)
