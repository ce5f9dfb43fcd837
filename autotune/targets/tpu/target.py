"""The targets `tpu:<generation>`: the TPU compiler without a TPU. It estimates cycles; nothing here is a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Self

from autotune.errors import SpaceError, UnsupportedProgramError, WorkerError
from autotune.evaluation import Evaluation, Failed, FailureReason, LabelKind, Outcome
from autotune.hlo.assigned import with_assigned_layouts
from autotune.hlo.kernels import Kernel, split_kernels
from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from autotune.hlo.window_config import ForcedTile, apply_tiles, read_window_config
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TiledProgram, TunedProgram
from autotune.targets.device_worker import Executable
from autotune.targets.failures import failed_outcome
from autotune.targets.host import available_memory
from autotune.targets.isolation import WorkerFailure, WorkerFailureReason
from autotune.targets.measuring import unchanging
from autotune.targets.realise import apply_layouts
from autotune.targets.tpu import outcomes
from autotune.targets.tpu.beyond_memory import KernelSums, describe
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.estimate import CompilerEstimate, estimate
from autotune.targets.tpu.executable import for_jax
from autotune.targets.tpu.generations import parse_topology
from autotune.targets.tpu.kernel_target import TpuKernelTarget
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.worker import Stages
from protos import hlo_pb2, xla_pb2

DEFAULT_TIME_LIMIT: Final = 1800.0
"""Seconds that the default may take to compile; a large train step takes some minutes on a slow host."""

_TILED_DIMENSIONS: Final = 2
"""A TPU stores the two minor-most dimensions in tiles; only which these are is decided (see `layout_decisions.py`)."""

_WORKER_MEMORY: Final = 8 << 30
"""Bytes of private memory for each compiler when several run at once; large train steps were seen to take 1.6 GB."""


class TpuTarget:
    """Compiles for one generation of TPU, on any Linux host.

    Args:
        topology: such as "v5e" or "v5e:2x2".
        time_limit: seconds that one config may take to compile; None: ten times what the default took, at least 60.
        compiler: for tests; None opens one.
        keep_arguments: compile programs without donating arguments, as they are measured.
    """

    def __init__(
        self,
        topology: str,
        *,
        time_limit: float | None = None,
        compiler: TpuCompiler | None = None,
        keep_arguments: bool = False,
    ) -> None:
        self._topology = parse_topology(topology)
        self._name = f"tpu:{topology}"
        self._time_limit = time_limit
        self._compiler = compiler or TpuCompiler(
            self._topology, memory_limit=min(_WORKER_MEMORY, int(0.9 * available_memory())), workers=2
        )
        self._keep_arguments = keep_arguments
        self._defaults: dict[str, CompilerEstimate] = {}  # by fingerprint of the program
        self._kernel_target: TpuKernelTarget | None = None
        self._sums = KernelSums(self._compiler)
        self._last_stages: tuple[tuple[str, str], Stages] | None = None  # by program and config

    @property
    def description(self) -> TargetDescription:
        """The generation, and the compiler that speaks for it."""
        return TargetDescription(
            name=self._name,
            device_kind=f"TPU {self._topology.name}, compiler only",
            compiler_version=self._compiler.compiler_version,
            label=LabelKind.ESTIMATED,
            cost_model_device=self._topology.cost_model_device,
        )

    @property
    def parallel(self) -> int:
        """Configs that are compiled at once."""
        return 2

    def prepare(self, program: Program) -> PreparedProgram:
        """Compile the default, and take the module just before layout assignment from the compiler's own dump."""
        devices = _devices(program.proto)
        if devices > self._topology.devices:
            raise UnsupportedProgramError(
                f"program {program.name!r} runs on {devices} devices, {self._name} has {self._topology.devices}: "
                "choose a larger topology, such as tpu:v5e:2x4"
            )
        started = time.perf_counter()
        try:
            stages = self._compiler.stages(
                self._runnable(program.module),
                _options(program.proto),
                time_limit=max(DEFAULT_TIME_LIMIT, self._time_limit or 0.0),
            )
        except WorkerFailure as failure:
            raise _refusal(program, self._name, failure) from None
        seconds = time.perf_counter() - started
        self._last_stages = ((program.fingerprint, config_id(LayoutConfig())), stages)
        module = replace(
            program,
            module=stages.before_layout_assignment,
            source=f"{program.source}, just before layout assignment",
        )
        default = self._figures(program, stages)
        if default.cycles == 0:
            raise UnsupportedProgramError(
                f"program {program.name!r}: the compiler for {self._name} gives none of its kernels an estimate "
                f"({default.unknown} of some size), so there is nothing to compare configs by"
            )
        self._defaults[program.fingerprint] = default
        details: dict[str, float | str] = {"compile_seconds": seconds, "default_cycles": float(default.cycles)}
        caveat = describe(stages.refusal) if stages.refusal else ""
        return PreparedProgram(
            program,
            module,
            program.notes,
            details | dict(default.to_details()),
            caveat,
            with_assigned_layouts(module.proto, hlo_pb2.HloModuleProto.FromString(stages.after_layout_assignment)),
        )

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """The layouts of the program."""
        if kind == "tile":
            raise SpaceError(
                f"no tile choice for the whole of {prepared.program.name!r} on {self._name}: a tile is of one kernel. "
                "With --space auto the dearest kernels are searched after the layouts, and a file that is one "
                "optimised kernel (as those of TpuGraphs are) by itself"
            )
        if kind not in ("layout", "auto"):
            raise SpaceError(f"space {kind!r}: expected layout, tile or auto")
        return LayoutSpace(prepared.described, places=_TILED_DIMENSIONS)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Compile configs, several at once, and add up the compiler's cycles.

        Where the default does not fit the TPU's memory, every config is estimated kernel by kernel, also one that fits.
        """
        if prepared.caveat:
            return self._evaluate_by_kernels(prepared, configs, purpose)
        requests = [self._request(prepared, config) for config in configs]
        started = time.perf_counter()
        default = self._defaults[prepared.program.fingerprint]
        results = self._compiler.compile_many(requests, time_limit=self._limit(prepared))
        seconds = (time.perf_counter() - started) / max(1, len(configs))
        return [
            outcomes.evaluation(config, result, prepared, default, seconds, purpose)
            for config, result in zip(configs, results, strict=True)
        ]

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        """Compile configs for a device, several at once; the estimate and the layouts taken are in the facts."""
        requests = [self._request(prepared, config) for config in configs]
        started = time.perf_counter()
        results = self._compiler.executables(requests, time_limit=self._limit(prepared))
        seconds = (time.perf_counter() - started) / max(1, len(configs))
        return [
            outcomes.executable(config, result, prepared, seconds)
            for config, result in zip(configs, results, strict=True)
        ]

    def tiled_executable(self, tiled: TiledProgram) -> Executable | Failed:
        """Compile the program with tiles for a device."""
        module = hlo_pb2.HloModuleProto.FromString(tiled.module)
        request = CompileRequest(tiled.module, _options(module, partitioned=True, backend_only=True))
        (result,) = self._compiler.executables([request])
        if isinstance(result, WorkerFailure):
            return failed_outcome(result)
        return Executable(for_jax(result[1], xla_pb2.HloModuleProtoWithConfig.FromString(result[0]).hlo_module))

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """Layouts become custom calls in the module before layout assignment; the default is the program as given."""
        match config:
            case LayoutConfig():
                return apply_layouts(prepared, config)
            case _:
                raise SpaceError(f"target {self._name} cannot apply {config.to_json()!r}")

    @property
    def kernel_target(self) -> TpuKernelTarget:
        """The same compiler, for single kernels."""
        if self._kernel_target is None:
            self._kernel_target = TpuKernelTarget(self._compiler, self.description)
        return self._kernel_target

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]:
        """The program with a config, taken apart.

        Raises:
            WorkerError: the program did not compile this time.
        """
        try:
            stages = self._stages(prepared, config)
        except WorkerFailure as failure:
            raise WorkerError(f"program {prepared.program.name!r} with the best layouts: {failure}") from None
        if prepared.caveat:
            return self._sums.kernels(hlo_pb2.HloModuleProto.FromString(stages.before_memory_space_assignment))
        return split_kernels(xla_pb2.HloModuleProtoWithConfig.FromString(stages.optimised).hlo_module)

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]:
        """Compile configs once more, several at once.

        Raises:
            WorkerError: one did not compile this time, or the program does not fit the memory.
        """
        if prepared.caveat:
            raise WorkerError(f"there is no optimised program: {prepared.caveat}")
        requests = [self._request(prepared, config) for config in configs]
        results = self._compiler.compile_many(requests, time_limit=self._limit(prepared))
        modules = []
        for result in results:
            if isinstance(result, WorkerFailure):
                raise result
            compiled = xla_pb2.HloModuleProtoWithConfig.FromString(result)
            modules.append(compiled.hlo_module.SerializeToString(deterministic=True))
        return modules

    def apply_tiles(self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]) -> TiledProgram:
        """Force tiles within the whole program and compile it on from there.

        Args:
            prepared: from `prepare`.
            config: the layouts.
            tiles: by the name of the kernel.

        Returns:
            The program just before memory space assignment with the tiles, and what the compiler says of it. Cycles of
            forced tiles are an echo of those asked for.

        Raises:
            WorkerError: the program did not compile.
        """
        try:
            stages = self._stages(prepared, config)
            before = hlo_pb2.HloModuleProto.FromString(stages.before_memory_space_assignment)
            tiled = apply_tiles(before, tiles)
            module = tiled.SerializeToString(deterministic=True)
            code = self._compiler.compile(module, _options(tiled, partitioned=True, backend_only=True))
        except WorkerFailure as failure:
            raise WorkerError(f"program {prepared.program.name!r} with tiles: {failure}") from None
        compiled = xla_pb2.HloModuleProtoWithConfig.FromString(code)
        windows = {each.name: read_window_config(each) for each in instructions(compiled.hlo_module)}
        held = [
            name
            for name, tile in tiles.items()
            if (window := windows.get(name)) is not None
            and (window.output_bounds, window.kernel_bounds) == (tile.output_bounds, tile.kernel_bounds)
        ]
        return TiledProgram(module, tuple(tiles), tuple(held), float(estimate(compiled).cycles))

    def _figures(self, program: Program, stages: Stages) -> CompilerEstimate:
        """Of the default; kernel by kernel if the program does not fit the TPU.

        Raises:
            UnsupportedProgramError: nor does one of its kernels, or it is to be run.
        """
        if not stages.refusal:
            return estimate(xla_pb2.HloModuleProtoWithConfig.FromString(stages.optimised))
        failure = WorkerFailure(WorkerFailureReason.ERROR, stages.refusal, phase="compiling")
        if self._keep_arguments:
            raise _refusal(program, self._name, failure)
        try:
            return self._sums.estimate(hlo_pb2.HloModuleProto.FromString(stages.before_memory_space_assignment))
        except UnsupportedProgramError:
            raise _refusal(program, self._name, failure) from None

    def _evaluate_by_kernels(
        self, prepared: PreparedProgram, configs: Sequence[Config], purpose: str
    ) -> list[Evaluation]:
        requests = [self._request(prepared, config) for config in configs]
        started = time.perf_counter()
        default = self._defaults[prepared.program.fingerprint]
        results = self._compiler.stages_many(requests, time_limit=self._limit(prepared))
        summed = [self._summed(result, default) for result in results]
        seconds = (time.perf_counter() - started) / max(1, len(configs))
        return [
            Evaluation(config, outcome, seconds, purpose, details)
            for config, (outcome, details) in zip(configs, summed, strict=True)
        ]

    def _summed(
        self, result: Stages | WorkerFailure, default: CompilerEstimate
    ) -> tuple[Outcome, dict[str, float | str]]:
        if isinstance(result, WorkerFailure):
            return failed_outcome(result), {}
        try:
            found = self._sums.estimate(hlo_pb2.HloModuleProto.FromString(result.before_memory_space_assignment))
        except UnsupportedProgramError as error:
            return Failed(FailureReason.COMPILE_ERROR, str(error)), {}
        return outcomes.compared(found, default), found.to_details() | {"fits_memory": float(not result.refusal)}

    def _request(self, prepared: PreparedProgram, config: Config) -> CompileRequest:
        module = self.realise(prepared, config).module
        # The module just before layout assignment is what one partition computes; the program as given is all of them.
        divided = module != prepared.program.module
        options = _options(hlo_pb2.HloModuleProto.FromString(module), partitioned=divided)
        return CompileRequest(self._runnable(module), options)

    def _runnable(self, module: bytes) -> bytes:
        return unchanging(module) if self._keep_arguments else module

    def _limit(self, prepared: PreparedProgram) -> float:
        return self._time_limit or max(60.0, 10.0 * float(prepared.details["compile_seconds"]))

    def _stages(self, prepared: PreparedProgram, config: Config) -> Stages:
        """The program on its way; the last one is kept, for it is taken apart and then given tiles.

        Raises:
            WorkerFailure: it did not compile.
        """
        key = (prepared.program.fingerprint, config_id(config))
        if self._last_stages is None or self._last_stages[0] != key:
            request = self._request(prepared, config)
            stages = self._compiler.stages(request.module, request.options)
            if stages.refusal and not prepared.caveat:  # the default fits, this does not
                raise WorkerFailure(WorkerFailureReason.ERROR, stages.refusal, phase="compiling")
            self._last_stages = (key, stages)
        return self._last_stages[1]

    def close(self) -> None:
        """End the compilers."""
        self._compiler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _devices(module: hlo_pb2.HloModuleProto) -> int:
    """Replicas times partitions that the program was made for."""
    assignment = module.device_assignment
    return max(1, assignment.replica_count) * max(1, assignment.computation_count)


def _options(module: hlo_pb2.HloModuleProto, *, partitioned: bool = False, backend_only: bool = False) -> bytes:
    assignment = module.device_assignment
    return compile_options(
        module,
        replicas=max(1, assignment.replica_count),
        partitions=max(1, assignment.computation_count),
        backend_only=backend_only,
        partitioned=partitioned,
    )


def _refusal(program: Program, target: str, failure: WorkerFailure) -> Exception:
    """Why the default cannot be compiled, in the compiler's words."""
    if failure.reason is WorkerFailureReason.KILLED:
        return WorkerError(f"the compiler was killed from outside while {failure.phase}; try again")
    advice = "; a generation with more memory, such as tpu:v5p, may hold it" if "HBM" in failure.message else ""
    return UnsupportedProgramError(f"program {program.name!r} cannot be compiled for {target}: {failure}{advice}")
