"""Tiles of the kernels of a TPU program, each compiled alone: what the search of `autotune.tiles` evaluates with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Self

from autotune.errors import SpaceError, WorkerError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Outcome
from autotune.hlo.kernels import Kernel
from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from autotune.hlo.window_config import NO_ESTIMATE, force_tile, read_window_config
from autotune.spaces.base import Config, Space
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.targets.device_worker import Executable
from autotune.targets.failures import failed_outcome
from autotune.targets.inputs import InputSpec
from autotune.targets.isolation import WorkerFailure
from autotune.targets.tpu.candidates import candidates_of
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.executable import for_jax
from autotune.targets.tpu.loops import bytes_beside_hbm, loop_inputs, loop_request, scalar_shapes
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2
from protos.xla_data_pb2 import ShapeProto

_TIME_LIMIT: Final = 120.0
"""Seconds for one kernel; the slowest of 246 took a few."""


class TpuKernelTarget:
    """Compiles single kernels with a tile forced on them.

    The compiler echoes the cycles of a forced tile and does not work them out, so they are taken from its own list of
    candidates. What is found out here is whether the tile holds.

    Args:
        compiler: shared with whoever opened it, and not closed here.
        description: of the target that the kernels were compiled for.
    """

    def __init__(self, compiler: TpuCompiler, description: TargetDescription) -> None:
        self._compiler = compiler
        self._description = description
        self._spaces: dict[str, TpuTileSpace] = {}
        self._scalars: dict[int, ShapeProto] | None = None

    @property
    def description(self) -> TargetDescription:
        """That of the target of the whole program."""
        return self._description

    @property
    def parallel(self) -> int:
        """Kernels that are compiled at once."""
        return 2

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        """Have the compiler list its tiles.

        Raises:
            SpaceError: it lists none, or cannot compile the kernel alone.
            ToolchainError: the list is in a form that is not known.
        """
        program = Program(kernel.name, _as_in_program(kernel), f"kernel {kernel.name}")
        try:
            space = TpuTileSpace(kernel, candidates_of(self._compiler, kernel.module))
        except WorkerFailure as failure:
            advice = "; was it compiled for another generation?" if "layout" in failure.message else ""
            raise SpaceError(f"kernel {kernel.name!r} cannot be compiled alone: {failure}{advice}") from None
        self._spaces[program.fingerprint] = space
        return PreparedProgram(program, program)

    def prepare(self, program: Program) -> PreparedProgram:
        """Kernels come from `autotune.hlo.kernels.split_kernels`, not from files."""
        raise SpaceError(f"program {program.name!r}: kernels are prepared with prepare_kernel")

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """The compiler's candidates."""
        return self._spaces[prepared.program.fingerprint]

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Compile the kernel with each tile, and compare what came out with what was asked for."""
        space = self._spaces[prepared.program.fingerprint]
        requests = []
        for config in configs:
            module = self.realise(prepared, config).module
            options = compile_options(hlo_pb2.HloModuleProto.FromString(module), backend_only=True)
            requests.append(CompileRequest(module, options))
        started = time.perf_counter()
        results = self._compiler.compile_many(requests, time_limit=_TIME_LIMIT)
        seconds = (time.perf_counter() - started) / max(1, len(configs))
        return [
            Evaluation(config, _outcome(space, config, result), seconds, purpose)
            for config, result in zip(configs, results, strict=True)
        ]

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """The kernel with a tile forced on its root; the default is the kernel as it is."""
        return apply_kernel_tile(self._spaces[prepared.program.fingerprint], config)

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        """Compile a loop around the kernel with each tile, for a device; a tile that does not hold fails.

        The default has the tile that the kernel has in its program.
        """
        requests = [self._loop(prepared, config) for config in configs]
        started = time.perf_counter()
        results = self._compiler.executables(requests, time_limit=_TIME_LIMIT)
        seconds = (time.perf_counter() - started) / max(1, len(configs))
        space = self._spaces[prepared.program.fingerprint]
        return [_executable(space, config, each, seconds) for config, each in zip(configs, results, strict=True)]

    def loop_inputs(self, prepared: PreparedProgram) -> list[InputSpec]:
        """How to fill the arguments of the loops."""
        space = self._spaces[prepared.program.fingerprint]
        return loop_inputs(space.kernel.module, self._loop(prepared, space.default).module)

    def _loop(self, prepared: PreparedProgram, config: Config) -> CompileRequest:
        if self._scalars is None:
            try:
                self._scalars = scalar_shapes(self._compiler)
            except WorkerFailure as failure:
                raise WorkerError(f"kernel {prepared.program.name!r}: {failure}") from None
        default = isinstance(config, TpuTileConfig) and not config.output_bounds
        module = prepared.program.module if default else self.realise(prepared, config).module
        return loop_request(hlo_pb2.HloModuleProto.FromString(module), self._scalars)

    def close(self) -> None:
        """The compiler belongs to somebody else."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...


def apply_kernel_tile(space: TpuTileSpace, config: Config) -> TunedProgram:
    """The kernel with a tile forced on its root; the default is the kernel as it is."""
    candidate = space.candidate(config)
    if not isinstance(config, TpuTileConfig) or not config.output_bounds or candidate is None:
        return TunedProgram(space.kernel.module.SerializeToString(deterministic=True), backend_only=True)
    forced = force_tile(
        space.kernel.module, space.kernel.name, config.output_bounds, config.kernel_bounds, candidate.cycles
    )
    return TunedProgram(forced.SerializeToString(deterministic=True), backend_only=True)


def default_cycles(space: TpuTileSpace) -> int | None:
    """The compiler's cycles for the tile that it has chosen: for the kernel alone, or else within the program."""
    candidate = space.candidate(space.default)
    if candidate is not None:
        return candidate.cycles
    return space.kernel.window.estimated_cycles if space.kernel.window is not None else None


def _as_in_program(kernel: Kernel) -> bytes:
    """The kernel with the tile that it has in the program: what costs are relative to.

    Equal kernels may have different tiles, since their operands lie in different memories. In the database they must
    not be one.
    """
    module, window = kernel.module, kernel.window
    if window is not None:
        cycles = NO_ESTIMATE if window.estimated_cycles is None else window.estimated_cycles
        module = force_tile(module, kernel.name, window.output_bounds, window.kernel_bounds, cycles)
    return module.SerializeToString(deterministic=True)


def _outcome(space: TpuTileSpace, config: Config, result: bytes | WorkerFailure) -> Outcome:
    if isinstance(result, WorkerFailure):
        return failed_outcome(result)
    assert isinstance(config, TpuTileConfig)
    compared_with = default_cycles(space)
    if compared_with is None:
        return Failed(FailureReason.NOT_COMPARABLE, "the compiler gives no estimate for its own tile")
    candidate = space.candidate(config)
    if not config.output_bounds or candidate is None:
        return Estimated(float(compared_with), float(compared_with))
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(result).hlo_module
    return _not_applied(config, compiled) or Estimated(float(candidate.cycles), float(compared_with))


def _executable(
    space: TpuTileSpace, config: Config, result: tuple[bytes, bytes] | WorkerFailure, seconds: float
) -> Executable | Failed:
    if isinstance(result, WorkerFailure):
        return failed_outcome(result)
    assert isinstance(config, TpuTileConfig)
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(result[0]).hlo_module
    asked, window = config, space.kernel.window
    if not asked.output_bounds and window is not None:
        asked = TpuTileConfig(window.output_bounds, window.kernel_bounds)
    failed = _not_applied(asked, compiled, space.kernel.name) if asked.output_bounds else None
    facts: dict[str, float | str] = {"bytes_beside_hbm": float(bytes_beside_hbm(compiled))}
    candidate = space.candidate(config)
    if candidate is not None:
        facts["estimated_cycles"] = float(candidate.cycles)
    return failed or Executable(for_jax(result[1], compiled), seconds, facts)


def _not_applied(config: TpuTileConfig, compiled: hlo_pb2.HloModuleProto, name: str | None = None) -> Failed | None:
    """Compare the tile that came out with the one that was asked for.

    Args:
        config: what was asked for.
        compiled: the kernel alone, or a loop around it.
        name: of the kernel, where other instructions have tiles, too.
    """
    windows = [(each.name, read_window_config(each)) for each in instructions(compiled)]
    found = [window for each, window in windows if window is not None and name in (None, each)]
    if any((w.output_bounds, w.kernel_bounds) == (config.output_bounds, config.kernel_bounds) for w in found):
        return None
    taken = ", ".join(f"output {list(w.output_bounds)} kernel {list(w.kernel_bounds)}" for w in found) or "none"
    return Failed(FailureReason.NOT_APPLIED, f"asked for {config.to_json()['tile']}, the compiler took {taken}")
