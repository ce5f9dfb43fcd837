"""What a target is: a compiler and maybe a device. A new one is a new module plus a line in `autotune.targets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from autotune.evaluation import Evaluation, Failed, LabelKind, Measured
from autotune.hlo.graph import program_graph
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.window_config import ForcedTile
from autotune.spaces.base import Config, Space
from cost_model import ProgramGraph
from protos import hlo_pb2


@dataclass(frozen=True)
class TargetDescription:
    """What the database needs to know of a target: evaluations are only ever reused for equal descriptions.

    Attributes:
        name: as given by the user, such as "cpu".
        device_kind: hardware (and how much of it), such as "Intel(R) Xeon(R) Processor (6/143), 1 core".
        compiler_version: such as "jaxlib 0.10.2".
        label: whether its numbers are measured or estimated.
        cost_model_device: name of the device description that the analytical cost model should use.
    """

    name: str
    device_kind: str
    compiler_version: str
    label: LabelKind
    cost_model_device: str


@dataclass(frozen=True)
class PreparedProgram:
    """A program that a target has compiled once and is ready to vary.

    Attributes:
        program: as it was read.
        module: just before layout assignment: what the node ids of layout configs refer to.
        notes: what a user should know (entry layouts ignored, aliasing removed, ...).
        details: facts of the default: compile seconds, run seconds, bytes, ...
        caveat: what every number of this program must be read with, "" for most (it does not fit the device, ...).
        assigned: `module` with the layouts that the compiler gives it by default; None where there is no such choice.
    """

    program: Program
    module: Program
    notes: tuple[str, ...] = ()
    details: Mapping[str, float | str] = field(default_factory=dict)
    caveat: str = ""
    assigned: hlo_pb2.HloModuleProto | None = None

    @property
    def described(self) -> hlo_pb2.HloModuleProto:
        """`module`, every array in its default layout: what cost models see."""
        return self.module.proto if self.assigned is None else self.assigned

    @cached_property
    def graph(self) -> ProgramGraph:
        """`described` as a graph."""
        return program_graph(self.described)


@dataclass(frozen=True)
class TunedProgram:
    """A config applied: what to compile, and with which options.

    Attributes:
        module: serialized HloModuleProto, before the target's optimisation; empty where there is no program to give
            (a replay of evaluations without one).
        options: XLA flags by name, without dashes.
        extra_options: entries of the XLA flag `xla_backend_extra_options`.
        backend_only: the module is optimised up to memory space assignment; only the backend is to compile it.
    """

    module: bytes
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    extra_options: Mapping[str, str] = field(default_factory=dict)
    backend_only: bool = False


@dataclass(frozen=True)
class TiledProgram:
    """A whole program with tiles forced on some of its kernels, recompiled from there on.

    Attributes:
        module: serialized HloModuleProto just before memory space assignment, for a backend-only compilation.
        asked: names of the kernels that a tile was asked for.
        held: those of them that have it.
        cycles: the compiler's estimate of the whole program. Cycles of forced tiles are those that were asked for.
        measured: what it took on the device, in one rotation with the default; None where nothing is measured.
    """

    module: bytes
    asked: tuple[str, ...]
    held: tuple[str, ...]
    cycles: float
    measured: Measured | Failed | None = None


class Target(Protocol):
    """Compiles a program with a config and says what it costs. Knows nothing of strategies or cost models."""

    @property
    def description(self) -> TargetDescription:
        """Which compiler and device this is."""
        ...

    @property
    def parallel(self) -> int:
        """How many configs are best given to `evaluate` at once; 1 where they would disturb each other."""
        ...

    def prepare(self, program: Program) -> PreparedProgram:
        """Compile the default once.

        Raises:
            UnsupportedProgramError: this target cannot compile or run the program; says exactly why.
        """
        ...

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """What can be changed about the program here.

        Args:
            prepared: from `prepare`.
            kind: "layout", "tile" or "auto".

        Raises:
            SpaceError: there is no such choice for this program on this target.
        """
        ...

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Evaluate configs; those of one call are compared under the same conditions.

        Whatever happens to a config (crash, hang, wrong result) is a `Failed` outcome, not an exception.

        Args:
            prepared: from `prepare`.
            configs: of the space of this program.
            purpose: "search", or "confirm" for a longer, fairer comparison of a few.
        """
        ...

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """Apply a config without compiling it."""
        ...

    def close(self) -> None:
        """End child processes and free the device."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


@runtime_checkable
class ProgramReader(Protocol):
    """A target that knows programs in forms of its own."""

    def read(self, path: Path, module_name: str | None) -> Program:
        """Read a program.

        Args:
            path: of the file.
            module_name: which program, for files that hold several.

        Raises:
            ProgramReadError: the file holds none.
        """
        ...


@runtime_checkable
class KernelProvider(Protocol):
    """A target whose programs can be taken apart into kernels with tiles of their own."""

    @property
    def kernel_target(self) -> KernelTarget:
        """The target that tries tiles of single kernels, closed with this one."""
        ...

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]:
        """The program with a config, taken apart.

        Raises:
            WorkerError: the program did not compile this time.
        """
        ...

    def apply_tiles(self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]) -> TiledProgram:
        """Force tiles within the whole program and compile it on from there.

        Raises:
            WorkerError: the program did not compile.
        """
        ...


@runtime_checkable
class OptimisedProvider(Protocol):
    """A target that shows what its compiler makes of a program."""

    def optimised(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[bytes]:
        """The program with each config as the compiler leaves it: serialized HloModuleProtos, in the given order.

        Raises:
            WorkerError: one did not compile this time, or has no optimised form (it does not fit the memory).
        """
        ...


class KernelTarget(Target, Protocol):
    """A target of single kernels."""

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        """Find out which tiles there are.

        Raises:
            SpaceError: there is no choice, or the kernel cannot be compiled alone.
        """
        ...
