"""The target `cpu`: XLA:CPU of this host on one pinned core, measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from autotune.errors import SpaceError
from autotune.evaluation import Evaluation, LabelKind
from autotune.hlo.assigned import with_assigned_layouts
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import GemmTileSpace, TileConfig, find_dot_kernel
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.targets.cores import ReservedCore
from autotune.targets.device_worker import HeldProgram
from autotune.targets.host import available_memory, jaxlib_version, processor
from autotune.targets.inputs import input_specs
from autotune.targets.isolation import Worker, WorkerFailure, run_in_child
from autotune.targets.measuring import MeasuringSession, unchanging
from autotune.targets.realise import apply_dot_tile, apply_layouts
from autotune.targets.requirements import check_supported, measurement_notes, output_tolerance
from protos import hlo_pb2

_WORKER = "autotune.targets.device_worker:DeviceWorker"


def cpu_description() -> TargetDescription:
    """This host's processor, one core of it, whether or not it is open as a target."""
    return TargetDescription(
        name="cpu",
        device_kind=f"{processor()}, 1 core",
        compiler_version=f"jaxlib {jaxlib_version()}",
        label=LabelKind.MEASURED,
        cost_model_device="cpu",
    )


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
        self._memory_limit = memory_limit or int(0.9 * available_memory())
        self._core = ReservedCore()
        self._session = MeasuringSession(
            Worker(worker, arguments=worker_arguments, memory_limit=self._memory_limit, cores=[self._core.number]),
            place="this host",
            time_limit=time_limit,
            memory_limit=self._memory_limit,
        )

    @property
    def description(self) -> TargetDescription:
        """This host's processor, one core of it."""
        return cpu_description()

    @property
    def shares_core(self) -> bool:
        """Whether another search measures on the same core, since it found every core taken."""
        return self._core.shared

    @property
    def parallel(self) -> int:
        """One: measurements at the same time would disturb each other."""
        return 1

    def prepare(self, program: Program) -> PreparedProgram:
        """Check that this host can run the program, and take the module just before layout assignment."""
        check_supported(program.proto, program.name, self._memory_limit)
        with tempfile.TemporaryDirectory(prefix="autotune-dump-") as directory:
            try:
                before, after = self._session.worker.call(
                    "prepare", unchanging(program.module), directory, time_limit=self._session.default_time_limit
                )
            except WorkerFailure as failure:
                raise self._session.refusal(program.name, failure) from None
        before_layouts, after_layouts = (hlo_pb2.HloProto.FromString(each).hlo_module for each in (before, after))
        module = replace(
            program,
            module=before_layouts.SerializeToString(deterministic=True),
            source=f"{program.source}, just before layout assignment",
        )
        notes = (*program.notes, *measurement_notes(program.proto))
        assigned = with_assigned_layouts(before_layouts, after_layouts)
        prepared = PreparedProgram(program, module, notes, assigned=assigned)
        details = self._session.load(program.name, program.fingerprint, _held(prepared))
        return replace(prepared, details=details)

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
        return LayoutSpace(prepared.described)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Measure configs in one rotation with copies of the default; to confirm, in a fresh process."""
        variants = [(config, _runnable(self.realise(prepared, config))) for config in configs]
        return self._session.measure(
            prepared.program.fingerprint, _held(prepared), prepared.details, variants, purpose=purpose
        )

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """Layouts become custom calls in the module before layout assignment; tiles become compile options.

        The default config is the program as it was given.
        """
        match config:
            case LayoutConfig():
                return apply_layouts(prepared, config)
            case TileConfig():
                return apply_dot_tile(prepared, config)
            case _:
                raise SpaceError(f"the cpu target cannot apply {config.to_json()!r}")

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]:
        """Compile configs once more, in a child of their own: what was measured is gone, and so may its child be."""
        variants = [_runnable(self.realise(prepared, config)) for config in configs]
        modules: list[bytes] = run_in_child(
            "autotune.hlo.jaxlib",
            "optimised_modules",
            [(each.module, dict(each.options), dict(each.extra_options)) for each in variants],
            time_limit=self._session.default_time_limit,
            memory_limit=self._memory_limit,
        )
        return modules

    def close(self) -> None:
        """End the child process and let others have the core."""
        self._session.close()
        self._core.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _held(prepared: PreparedProgram) -> HeldProgram:
    """What the child is to hold: the program as it was given."""
    program = prepared.program
    default = _runnable(TunedProgram(program.module))
    return HeldProgram(default, input_specs(program.proto), output_tolerance(program.proto))


def _runnable(variant: TunedProgram) -> TunedProgram:
    return replace(variant, module=unchanging(variant.module))
