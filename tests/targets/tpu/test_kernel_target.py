"""Tiles forced on single kernels: with the real compiler, and with one that does as it likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from autotune.errors import SpaceError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, LabelKind
from autotune.hlo.kernels import Kernel
from autotune.hlo.modules import entry_computation
from autotune.hlo.reader import read_bytes
from autotune.hlo.window_config import WindowConfig, force_tile, read_window_config
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace
from autotune.targets.base import PreparedProgram, TargetDescription
from autotune.targets.isolation import WorkerFailure, WorkerFailureReason
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.kernel_target import TpuKernelTarget
from autotune.targets.tpu.target import TpuTarget
from protos import hlo_pb2, xla_pb2
from tests.targets.tpu import programs
from tests.targets.tpu.test_candidates import KERNEL
from tests.targets.tpu.test_tile_log import END, LOOP, LOOP_SEARCH

TABLE = TargetDescription("tpu:v5e", "a table", "1", LabelKind.ESTIMATED, "tpu-v5e")
CHOSEN, *OTHERS = LOOP_SEARCH.candidates
"""The tiles that the log `LOOP` lists for fusion.205, the kernel of the text `KERNEL`."""

Answer = Callable[[bytes], bytes | WorkerFailure]


def _compiled(module: bytes) -> bytes:
    proto = hlo_pb2.HloModuleProto.FromString(module)
    return xla_pb2.HloModuleProtoWithConfig(hlo_module=proto).SerializeToString()


@dataclass
class ObstinateCompiler:
    """Lists the tiles of `LOOP`, and compiles to whatever it is told; keeps what it was asked."""

    answer: Answer = _compiled
    asked: list[CompileRequest] = field(default_factory=list)

    def verbose_compile(self, module: bytes, options: bytes, *, time_limit: float | None) -> tuple[bytes, str]:
        return _compiled(module), LOOP + END

    def compile_many(
        self, requests: Sequence[CompileRequest], *, time_limit: float | None = None
    ) -> list[bytes | WorkerFailure]:
        self.asked += requests
        return [self.answer(request.module) for request in requests]


def _loop(window: WindowConfig | None = None) -> Kernel:
    return Kernel("fusion.205", "fusion", read_bytes(KERNEL.encode(), "kernel", keep_optimised=True).proto, window, 1)


def _with_its_own_tile(module: bytes) -> bytes:
    """What the compiler makes of the kernel when nothing is forced."""
    forced = force_tile(_loop().module, "fusion.205", CHOSEN.output_bounds, (), CHOSEN.cycles)
    return _compiled(forced.SerializeToString())


def _tile(output_bounds: tuple[int, ...]) -> TpuTileConfig:
    return TpuTileConfig(output_bounds, ())


def _evaluated(compiler: ObstinateCompiler, kernel: Kernel, *configs: TpuTileConfig) -> list[Evaluation]:
    target = TpuKernelTarget(cast(TpuCompiler, compiler), TABLE)
    return target.evaluate(target.prepare_kernel(kernel), configs)


def test_tiles_that_hold_have_the_cycles_of_the_list() -> None:
    compiler = ObstinateCompiler()
    default, *others = _evaluated(compiler, _loop(), TpuTileConfig(), *(_tile(each.output_bounds) for each in OTHERS))
    assert default.outcome == Estimated(CHOSEN.cycles, CHOSEN.cycles)
    assert [each.outcome for each in others] == [Estimated(each.cycles, CHOSEN.cycles) for each in OTHERS]
    assert [each.purpose for each in others] == ["search"] * len(OTHERS)
    assert compiler.asked[0].module == _loop().module.SerializeToString(deterministic=True), "nothing is forced on it"
    for request in compiler.asked:
        options = xla_pb2.CompileOptionsProto.FromString(request.options)
        assert options.executable_build_options.run_backend_only


def test_a_tile_that_the_compiler_replaces_is_not_applied() -> None:
    default, other = _evaluated(
        ObstinateCompiler(_with_its_own_tile), _loop(), TpuTileConfig(), _tile(OTHERS[0].output_bounds)
    )
    assert default.cost == 1.0
    assert isinstance(other.outcome, Failed)
    assert other.outcome.reason is FailureReason.NOT_APPLIED
    assert f"asked for {{'output_bounds': {list(OTHERS[0].output_bounds)}" in other.outcome.message
    assert f"the compiler took output {list(CHOSEN.output_bounds)} kernel []" in other.outcome.message


def test_a_tile_that_the_compiler_drops_is_not_applied() -> None:
    dropped = _compiled(_loop().module.SerializeToString())
    (evaluation,) = _evaluated(ObstinateCompiler(lambda module: dropped), _loop(), _tile(OTHERS[0].output_bounds))
    assert isinstance(evaluation.outcome, Failed)
    assert evaluation.outcome.reason is FailureReason.NOT_APPLIED
    assert evaluation.outcome.message.endswith("the compiler took none")


def test_a_failure_is_of_one_tile() -> None:
    hang = WorkerFailure(WorkerFailureReason.TIMED_OUT, "120 s", phase="compiling")
    answers = iter([hang, None])
    compiler = ObstinateCompiler(lambda module: next(answers) or _compiled(module))
    first, second = _evaluated(compiler, _loop(), *(_tile(each.output_bounds) for each in OTHERS[:2]))
    assert isinstance(first.outcome, Failed)
    assert first.outcome.reason is FailureReason.COMPILE_TIMED_OUT
    assert second.outcome == Estimated(OTHERS[1].cycles, CHOSEN.cycles)


def test_a_default_that_the_compiler_does_not_list() -> None:
    # In the program the kernel has a tile that the compiler does not consider for the kernel alone.
    elsewhere, unknown = (WindowConfig((), (3,), estimated_cycles=cycles) for cycles in (400, None))
    default, other = _evaluated(ObstinateCompiler(), _loop(elsewhere), TpuTileConfig(), _tile(CHOSEN.output_bounds))
    assert default.outcome == Estimated(400.0, 400.0)
    assert other.outcome == Estimated(CHOSEN.cycles, 400.0)
    for evaluation in _evaluated(ObstinateCompiler(), _loop(unknown), TpuTileConfig(), _tile(CHOSEN.output_bounds)):
        assert isinstance(evaluation.outcome, Failed)
        assert evaluation.outcome.reason is FailureReason.NOT_COMPARABLE


def test_a_tile_that_is_not_listed_never_reaches_the_compiler() -> None:
    compiler = ObstinateCompiler()
    target = TpuKernelTarget(cast(TpuCompiler, compiler), TABLE)
    prepared = target.prepare_kernel(_loop())
    invented = _tile((4096,))
    for call in (target.realise, lambda prepared, config: target.evaluate(prepared, [config])):
        with pytest.raises(SpaceError, match=r"4096.* is not a tile config of kernel 'fusion.205'"):
            call(prepared, invented)
    assert compiler.asked == []


def test_equal_kernels_with_different_tiles_are_different_programs() -> None:
    # Costs are relative to the tile that the kernel has in its program, so those of one do not hold for the other.
    target = TpuKernelTarget(cast(TpuCompiler, ObstinateCompiler()), TABLE)
    windows = [None, *(WindowConfig((), bounds, estimated_cycles=400) for bounds in ((4,), (2,)))]
    prepared = [target.prepare_kernel(_loop(window)) for window in windows]
    assert len({each.program.fingerprint for each in prepared}) == 3
    assert [target.space(each, "tile").contains(_tile((4,))) for each in prepared] == [False, False, True]
    assert [target.evaluate(each, [TpuTileConfig()])[0].outcome for each in prepared] == [
        Estimated(365.0, 365.0),
        Estimated(365.0, 365.0),
        Estimated(598.0, 598.0),
    ]
    again = target.prepare_kernel(_loop(windows[1]))
    assert again.program.fingerprint == prepared[1].program.fingerprint


def test_kernels_alone() -> None:
    target = TpuKernelTarget(cast(TpuCompiler, ObstinateCompiler()), TABLE)
    with pytest.raises(SpaceError, match="prepared with prepare_kernel"):
        target.prepare(read_bytes(KERNEL.encode(), "kernel", keep_optimised=True))


# ---- The real compiler ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """The kernels of `programs.CONVOLUTION` (a convolution and two dots) on a v5e."""

    target: TpuKernelTarget
    kernels: list[tuple[Kernel, PreparedProgram, TpuTileSpace]]


@pytest.fixture(scope="module")
def real(compiler: TpuCompiler) -> Prepared:
    whole = TpuTarget("v5e", compiler=compiler)
    prepared = whole.prepare(read_bytes(programs.CONVOLUTION.encode(), "convolution"))
    target, kernels = whole.kernel_target, whole.kernels(prepared, LayoutConfig())
    products = [kernel for kernel in kernels if "convolution" in _opcodes(kernel)]  # what the compiler makes of dots
    found = []
    for kernel in products:
        alone = target.prepare_kernel(kernel)
        found.append((kernel, alone, cast(TpuTileSpace, target.space(alone, "tile"))))
    return Prepared(target, found)


def test_every_product_has_tiles(real: Prepared) -> None:
    assert len(real.kernels) == 3
    for kernel, prepared, space in real.kernels:
        assert prepared.program.name == kernel.name
        assert space.size >= 10
        assert all(config.kernel_bounds for config in space.enumerate() if config != space.default)


def test_the_default_costs_one(real: Prepared) -> None:
    for _, prepared, space in real.kernels:
        (evaluation,) = real.target.evaluate(prepared, [space.default])
        assert evaluation.kind == "estimated"
        assert evaluation.cost == 1.0


def test_listed_tiles_hold(real: Prepared) -> None:
    for kernel, prepared, space in real.kernels:
        configs = [*space.enumerate()]
        tried = [configs[1], configs[len(configs) // 2]]
        own = space.candidate(space.default)
        assert own is not None
        for config, evaluation in zip(tried, real.target.evaluate(prepared, tried), strict=True):
            listed = space.candidate(config)
            assert listed is not None
            assert evaluation.outcome == Estimated(float(listed.cycles), float(own.cycles)), kernel.name


def test_a_tile_that_is_applied_is_in_the_program(real: Prepared) -> None:
    kernel, prepared, space = real.kernels[0]
    config = [*space.enumerate()][1]
    entry = entry_computation(hlo_pb2.HloModuleProto.FromString(real.target.realise(prepared, config).module))
    (window,) = (found for each in entry.instructions if (found := read_window_config(each)) is not None)
    candidate = space.candidate(config)
    assert candidate is not None
    assert window == WindowConfig(config.kernel_bounds, config.output_bounds, estimated_cycles=candidate.cycles)
    assert real.target.realise(prepared, space.default).module == kernel.module.SerializeToString(deterministic=True)


def test_a_tile_of_our_own_is_refused(real: Prepared) -> None:
    kernel, _, space = real.kernels[0]
    listed = [*space.enumerate()][1]
    huge = TpuTileConfig(tuple(64 * bound for bound in listed.output_bounds), listed.kernel_bounds)  # hangs libtpu
    assert space.contains(listed)
    assert not space.contains(huge)
    with pytest.raises(SpaceError, match=f"none of the {space.size} that the TPU compiler considers"):
        space.from_json(huge.to_json())
    assert space.from_json(listed.to_json()) == listed
    assert kernel.window is not None
    chosen = TpuTileConfig(kernel.window.output_bounds, kernel.window.kernel_bounds)
    assert not space.contains(chosen), "the default stands for it"


def test_a_kernel_that_cannot_be_compiled_alone(compiler: TpuCompiler) -> None:
    impossible = read_bytes(KERNEL.replace("T(1024)", "T(256)").encode(), "kernel", keep_optimised=True).proto
    target = TpuKernelTarget(compiler, TABLE)
    with pytest.raises(SpaceError, match=r"'fusion.205' cannot be compiled alone: .*layout"):
        target.prepare_kernel(Kernel("fusion.205", "fusion", impossible, None, 1))


def _opcodes(kernel: Kernel) -> set[str]:
    return {each.opcode for computation in kernel.module.computations for each in computation.instructions}
