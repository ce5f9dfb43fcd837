"""The target `cpu`: XLA:CPU of this host on one pinned core, measured."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from autotune.errors import SpaceError, ToolchainError, UnsupportedProgramError, WorkerError
from autotune.evaluation import Evaluation, Failed, FailureReason, LabelKind, Measured
from autotune.hlo.program import Program
from autotune.hlo.rewrite import constrain_layouts
from autotune.spaces.base import Config, Space
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import TILED, GemmTileSpace, TileConfig, find_dot_kernel
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.targets.cores import ReservedCore
from autotune.targets.cpu_worker import Limits, VariantReport
from autotune.targets.failures import failed_outcome
from autotune.targets.host import available_memory, jaxlib_version, processor
from autotune.targets.inputs import input_specs
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.requirements import check_supported, measurement_notes, output_tolerance
from autotune.targets.timing import CONFIRM, SEARCH
from protos import hlo_pb2

DEFAULT_TIME_LIMIT = 600.0
"""Seconds that the default may take to compile, and to run once."""

_WORKER = "autotune.targets.cpu_worker:CpuWorker"
_INPUT_SEED = 0


class CpuTarget:
    """Compiles with XLA:CPU and measures on one core of this host.

    Args:
        time_limit: seconds that one variant may take to compile, and to run for the first time; None: ten times what
            the default took, at least 30.
        memory_limit: bytes that the child process may have; None: nine tenths of what is available now.
        worker: handler of the child process, for tests that inject faults.
        worker_arguments: its arguments.
    """

    def __init__(
        self,
        *,
        time_limit: float | None = None,
        memory_limit: int | None = None,
        worker: str = _WORKER,
        worker_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._time_limit = time_limit
        self._memory_limit = memory_limit or int(0.9 * available_memory())
        self._core = ReservedCore()
        self._worker = Worker(
            worker, arguments=worker_arguments, memory_limit=self._memory_limit, cores=[self._core.number]
        )
        self._loaded: tuple[str, int] | None = None  # what the current child holds: fingerprint, generation
        self._rotations = 0

    @property
    def description(self) -> TargetDescription:
        """This host's processor, one core of it."""
        return TargetDescription(
            name="cpu",
            device_kind=f"{processor()}, 1 core",
            compiler_version=f"jaxlib {jaxlib_version()}",
            label=LabelKind.MEASURED,
            cost_model_device="cpu",
        )

    @property
    def parallel(self) -> int:
        """One: measurements at the same time would disturb each other."""
        return 1

    def prepare(self, program: Program) -> PreparedProgram:
        """Check that this host can run the program, and take the module just before layout assignment."""
        check_supported(program.proto, program.name, self._memory_limit)
        with tempfile.TemporaryDirectory(prefix="autotune-dump-") as directory:
            try:
                dump = self._worker.call(
                    "prepare", _runnable(program.module), directory, time_limit=self._default_time_limit
                )
            except WorkerFailure as failure:
                raise _refusal(program, failure) from None
        before_layouts = hlo_pb2.HloProto.FromString(dump).hlo_module
        module = replace(
            program,
            module=before_layouts.SerializeToString(deterministic=True),
            source=f"{program.source}, just before layout assignment",
        )
        prepared = PreparedProgram(program, module, (*program.notes, *measurement_notes(program.proto)))
        return replace(prepared, details=self._load(prepared))

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """Layouts for any program; tiles for one kernel around one canonical dot. "auto" takes tiles where it can."""
        if kind not in ("layout", "tile", "auto"):
            raise SpaceError(f"space {kind!r}: expected layout, tile or auto")
        if kind != "layout":
            kernel = find_dot_kernel(prepared.module.proto)
            if not isinstance(kernel, str):
                return GemmTileSpace(kernel)
            if kind == "tile":
                raise SpaceError(f"no tile choice on this target for {prepared.program.name!r}: {kernel}")
        return LayoutSpace(prepared.module.proto)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Measure configs in one rotation with copies of the default; to confirm, in a fresh process.

        Where code and data happen to lie in memory changes a program's time by a few percent, so a second look in
        the process that found a config would find the same luck again.
        """
        if purpose == "confirm":
            self._worker.stop()
        effort = CONFIRM if purpose == "confirm" else SEARCH
        started = time.perf_counter()
        try:
            details = self._load(prepared)
            reports: list[VariantReport] = self._worker.call(
                "evaluate",
                [_runnable_variant(self.realise(prepared, config)) for config in configs],
                effort,
                self._limits(details),
                self._next_seed(),
                time_limit=DEFAULT_TIME_LIMIT,
            )
        except WorkerFailure as failure:
            outcome = failed_outcome(failure)
            seconds = time.perf_counter() - started
            return [Evaluation(config, outcome, seconds, purpose) for config in configs]
        return [
            _evaluation(config, report, purpose, len(configs)) for config, report in zip(configs, reports, strict=True)
        ]

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """Layouts become custom calls in the module before layout assignment; tiles become compile options.

        The default config is the program as it was given.
        """
        match config:
            case LayoutConfig(orders=()):
                return TunedProgram(prepared.program.module)
            case LayoutConfig():
                module = constrain_layouts(prepared.module.proto, config.as_mapping())
                return TunedProgram(module.SerializeToString(deterministic=True))
            case TileConfig(implementation="ynn"):
                return TunedProgram(prepared.program.module)
            case TileConfig():
                # Both are needed for the tiled product; without the first it would be left to YNNPACK.
                options: dict[str, str | int | bool] = {
                    "xla_cpu_experimental_ynn_fusion_type": "",
                    "xla_cpu_multi_thread_eigen": False,
                }
                if config.implementation != TILED:
                    return TunedProgram(prepared.program.module, options)
                options["xla_cpu_prefer_vector_width"] = config.vector_bits
                tile = f"{config.rows}:{config.steps}:{config.vectors}*vectwidth"
                extra = {"xla_force_enable_experimental_llvm_ir_gemm": "1", "xla_llvm_ir_gemm_tile_size": tile}
                return TunedProgram(prepared.program.module, options, extra)
            case _:
                raise SpaceError(f"the cpu target cannot apply {config.to_json()!r}")

    def close(self) -> None:
        """End the child process and let others have the core."""
        self._worker.stop()
        self._core.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _default_time_limit(self) -> float:
        return max(DEFAULT_TIME_LIMIT, self._time_limit or 0.0)

    def _next_seed(self) -> int:
        self._rotations += 1
        return self._rotations

    def _limits(self, details: Any) -> Limits:
        compile_seconds = self._time_limit or max(30.0, 10.0 * float(details["compile_seconds"]))
        run_seconds = self._time_limit or max(10.0, 20.0 * float(details["run_seconds"]))
        return Limits(compile_seconds, run_seconds, self._memory_limit)

    def _load(self, prepared: PreparedProgram) -> dict[str, float | str]:
        """Have the child hold this program; a child that already does is left alone."""
        if self._worker.alive and self._loaded == (prepared.program.fingerprint, self._worker.generation):
            return dict(prepared.details)
        limits = Limits(self._default_time_limit, self._default_time_limit, self._memory_limit)
        try:
            details: dict[str, float | str] = self._worker.call(
                "load",
                _runnable(prepared.program.module),
                input_specs(prepared.program.proto),
                output_tolerance(prepared.program.proto),
                limits,
                _INPUT_SEED,
                time_limit=self._default_time_limit,
            )
        except WorkerFailure as failure:
            if prepared.details:  # it could be loaded before: this is no property of the program
                raise
            raise _refusal(prepared.program, failure) from None
        self._loaded = (prepared.program.fingerprint, self._worker.generation)
        return details


def _evaluation(config: Config, report: VariantReport, purpose: str, together: int) -> Evaluation:
    outcome: Measured | Failed
    if report.times is None:
        reason = {
            "compiling": FailureReason.COMPILE_ERROR,
            "running": FailureReason.RUN_ERROR,
            "checking": FailureReason.WRONG_RESULT,
        }[report.phase]
        outcome = Failed(reason, report.message)
    else:
        defaults = [times.seconds for times in report.default_times]
        outcome = Measured(
            seconds=report.times.seconds,
            spread=report.times.spread,
            default_seconds=float(np.median(defaults)),
            default_spread=max(defaults) / min(defaults) - 1.0,
            repeat_spread=max(
                report.times.half_spread, float(np.median([times.half_spread for times in report.default_times]))
            ),
            passes=len(report.times.minima),
            runs=report.times.runs,
        )
    return Evaluation(config, outcome, report.compile_seconds, purpose, {**report.details, "rotation": float(together)})


def _refusal(program: Program, failure: WorkerFailure) -> Exception:
    """Why the default cannot be compiled or run here, in the words of whoever said so."""
    if failure.error_type == "ToolchainError":
        return ToolchainError(failure.message)
    if failure.reason is WorkerFailureReason.KILLED:
        return WorkerError(f"the child process was killed from outside while {failure.phase}; try again")
    message = failure.message
    missing = re.search(r"No registered implementation for (?:untyped )?custom call to (\S+)", message)
    if missing:
        message = f"XLA:CPU has no custom call {missing.group(1)}"
    return UnsupportedProgramError(
        f"program {program.name!r} cannot run on this host: {failure.reason.value}"
        f"{f' while {failure.phase}' if failure.phase else ''}: {message}"
    )


def _runnable(module: bytes) -> bytes:
    """The module without donated arguments, so that its inputs survive a run and it can be run again."""
    copy = hlo_pb2.HloModuleProto.FromString(module)
    copy.ClearField("input_output_alias")
    copy.ClearField("buffer_donor")
    return copy.SerializeToString(deterministic=True)


def _runnable_variant(variant: TunedProgram) -> TunedProgram:
    return replace(variant, module=_runnable(variant.module))
