"""Measuring what was compiled elsewhere: the target of a device that its compiler does not need.

A plan knows the compiler: it prepares programs, says what may be changed, and makes executables, in processes that may
abort or hang without harm. A session (`autotune.targets.measuring`) holds the device, runs the executables, and
compares and times them. Nothing here knows which device it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Self

from autotune.errors import SpaceError, UnsupportedProgramError
from autotune.evaluation import Estimated, Evaluation, Failed
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.window_config import ForcedTile
from autotune.spaces.base import Config, Space
from autotune.targets.base import PreparedProgram, TargetDescription, TiledProgram, TunedProgram
from autotune.targets.device_worker import Executable, HeldProgram
from autotune.targets.inputs import InputSpec, input_specs
from autotune.targets.measuring import MeasuringSession
from autotune.targets.requirements import device_count, donation_notes, output_tolerance


class Plan(Protocol):
    """What compiles whole programs for the device. Methods that targets have too do what they do there."""

    def prepare(self, program: Program) -> PreparedProgram: ...  # noqa: D102

    def space(self, prepared: PreparedProgram, kind: str) -> Space: ...  # noqa: D102

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram: ...  # noqa: D102

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        """Compile configs, in the given order, without donating arguments."""
        ...

    def close(self) -> None: ...  # noqa: D102


class KernelPlan(Protocol):
    """What compiles kernels, each in a loop (`autotune.hlo.repeat`)."""

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram: ...  # noqa: D102

    def space(self, prepared: PreparedProgram, kind: str) -> Space: ...  # noqa: D102

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram: ...  # noqa: D102

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        """Compile a loop around the kernel with each tile, in the given order; a tile that does not hold fails."""
        ...

    def loop_inputs(self, prepared: PreparedProgram) -> list[InputSpec]:
        """How to fill the arguments of such a loop."""
        ...


class ProgramPlan(Plan, Protocol):
    """A plan of whole programs that can be taken apart."""

    @property
    def kernel_target(self) -> KernelPlan: ...  # noqa: D102

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]: ...  # noqa: D102

    def apply_tiles(  # noqa: D102
        self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]
    ) -> TiledProgram: ...

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]: ...  # noqa: D102

    def tiled_executable(self, tiled: TiledProgram) -> Executable | Failed:
        """Compile what `apply_tiles` returned."""
        ...


class _Measuring:
    """What measuring programs and measuring kernels have in common."""

    def __init__(self, plan: Plan | KernelPlan, session: MeasuringSession, description: TargetDescription) -> None:
        self._compiles = plan
        self._session = session
        self._description = description
        self._held: dict[str, HeldProgram] = {}  # by fingerprint of the program

    @property
    def description(self) -> TargetDescription:
        """The device."""
        return self._description

    @property
    def parallel(self) -> int:
        """As many as are well compiled at once; they are measured in one rotation, one after the other."""
        return 2

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """What the compiler lets us choose."""
        return self._compiles.space(prepared, kind)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Compile configs, then measure them in one rotation with copies of the default."""
        if not configs:
            return []
        variants = list(zip(configs, self._compiles.executables(prepared, configs), strict=True))
        key = prepared.program.fingerprint
        return self._session.measure(key, self._held[key], prepared.details, variants, purpose=purpose)

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """As the compiler's side does it."""
        return self._compiles.realise(prepared, config)

    def _load(
        self, prepared: PreparedProgram, default: Config, inputs: list[InputSpec], *, repeated: bool
    ) -> PreparedProgram:
        """Compile the default and have the session hold it; the program with what was found out.

        Raises:
            UnsupportedProgramError: it cannot be compiled, or the device cannot run it.
        """
        program = prepared.program
        (executable,) = self._compiles.executables(prepared, [default])
        if isinstance(executable, Failed):
            raise UnsupportedProgramError(
                f"program {program.name!r} cannot be measured: {executable.reason.value}: {executable.message}"
            )
        held = HeldProgram(executable, inputs, output_tolerance(program.proto), repeated)
        details = self._session.load(program.name, program.fingerprint, held)
        self._held[program.fingerprint] = held
        return replace(prepared, details={**prepared.details, **details})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever opened the parts closes them."""


class DeviceTarget(_Measuring):
    """Whole programs on a device.

    Args:
        plan: compiles for it; closed with the target.
        session: measures on it; closed with the target.
        description: of the device and the compiler.
        notes: what a user should know of every measurement.
    """

    def __init__(
        self, plan: Plan, session: MeasuringSession, description: TargetDescription, *, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(plan, session, description)
        self._plan = plan
        self._notes = notes

    def prepare(self, program: Program) -> PreparedProgram:
        """Compile and run the default."""
        devices = device_count(program.proto)
        if devices > 1:
            raise UnsupportedProgramError(
                f"program {program.name!r} runs on {devices} devices, and target {self._description.name!r} is one; "
                "name a topology to compile for, such as tpu:v5e:2x4"
            )
        prepared = self._plan.prepare(program)
        default = self._plan.space(prepared, "layout").default
        notes = (*prepared.notes, *donation_notes(program.proto), *self._notes)
        return replace(self._load(prepared, default, input_specs(program.proto), repeated=False), notes=notes)

    def close(self) -> None:
        """End the compilers and the process that holds the device."""
        self._session.close()
        self._plan.close()


class TiledDeviceTarget(DeviceTarget):
    """Whole programs, and the tiles of their kernels, on a device."""

    def __init__(
        self,
        plan: ProgramPlan,
        session: MeasuringSession,
        description: TargetDescription,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(plan, session, description, notes=notes)
        self._programs = plan
        self._kernels = DeviceKernelTarget(plan.kernel_target, session, description)

    @property
    def kernel_target(self) -> DeviceKernelTarget:
        """The same device, for single kernels."""
        return self._kernels

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]:
        """As the compiler takes the program apart."""
        return self._programs.kernels(prepared, config)

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]:
        """As the compiler leaves them."""
        return self._programs.optimised(prepared, configs)

    def apply_tiles(self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]) -> TiledProgram:
        """Force tiles within the whole program, and measure it; its cycles are the compiler's estimate all the same."""
        tiled = self._programs.apply_tiles(prepared, config, tiles)
        variants = [(config, self._programs.tiled_executable(tiled))]
        key = prepared.program.fingerprint
        (evaluation,) = self._session.measure(key, self._held[key], prepared.details, variants, purpose="confirm")
        assert not isinstance(evaluation.outcome, Estimated)
        return replace(tiled, measured=evaluation.outcome)


class DeviceKernelTarget(_Measuring):
    """Single kernels on a device, many executions in a launch.

    Args:
        plan: compiles them; not closed here.
        session: measures them; not closed here.
        description: of the device and the compiler.
    """

    def __init__(self, plan: KernelPlan, session: MeasuringSession, description: TargetDescription) -> None:
        super().__init__(plan, session, description)
        self._plan = plan

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        """Find out which tiles there are, and run the kernel with its own."""
        prepared = self._plan.prepare_kernel(kernel)
        default = self._plan.space(prepared, "tile").default
        return self._load(prepared, default, self._plan.loop_inputs(prepared), repeated=True)

    def prepare(self, program: Program) -> PreparedProgram:
        """Kernels come from `autotune.hlo.kernels`."""
        raise SpaceError(f"program {program.name!r}: kernels are prepared with prepare_kernel")
