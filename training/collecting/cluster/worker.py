"""A worker of a cluster: opens a target on its host, and evaluates what it is sent. It writes nothing.

Configs name nodes of the module that the target makes of a program, so every worker must make the same one.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from autotune.errors import AutotuneError
from autotune.evaluation import Evaluation
from autotune.hlo.kernels import Kernel
from autotune.hlo.modules import digest
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.targets.base import KernelProvider, PreparedProgram, Target, TargetDescription
from autotune.targets.cpu import CpuTarget
from cost_model.version import tool_version
from training.collecting.kernels import ListedKernel, kernels_of, list_tiles
from training.errors import ClusterError

_KEPT_PROGRAMS: Final = 4
_CORE_SECONDS: Final = 60.0
"""For other measurements on the host to end."""


class OtherModuleError(ClusterError):
    """A worker makes another module of a program than the first one did."""


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself. All but the place must be equal for all workers.

    Attributes:
        description: of its target.
        lists_kernels: whether that can take programs apart.
        tool: version of this package.
        place: host and process, for messages.
    """

    description: TargetDescription
    lists_kernels: bool
    tool: str
    place: str

    def difference(self, other: WorkerFacts) -> str:
        """In what another worker differs, in words; "" if it does not."""
        ours, theirs = self.description, other.description
        pairs = (
            ("device", ours.device_kind, theirs.device_kind),
            ("compiler", ours.compiler_version, theirs.compiler_version),
            ("target", ours.name, theirs.name),
            ("xla-autotune", self.tool, other.tool),
        )
        return "; ".join(f"{what} {found!r} instead of {mine!r}" for what, mine, found in pairs if mine != found)


@dataclass(frozen=True)
class ProgramOnCluster:
    """A program that workers are asked about.

    Attributes:
        program: as it was read.
        space: kind of the space, "layout" or "tile".
    """

    program: Program
    space: str

    @property
    def identity(self) -> tuple[str, bytes]:
        """Equal for equal programs and spaces."""
        return self.space, hashlib.sha256(self.program.module).digest()


@dataclass(frozen=True)
class PreparedOnCluster:
    """What a target made of a program.

    Attributes:
        prepared: by the target.
        space: what may be changed.
        digest: of the module that configs refer to.
    """

    prepared: PreparedProgram
    space: Space
    digest: str


class EvaluationWorker:
    """One target, for one call at a time.

    Args:
        opener: opens the target.
    """

    def __init__(self, opener: Callable[[], Target]) -> None:
        self._opener = opener
        self._target: Target | None = None
        self._prepared: OrderedDict[tuple[str, bytes], PreparedOnCluster] = OrderedDict()

    def open(self) -> WorkerFacts:
        """Open the target, and say what it is.

        Raises:
            AutotuneError: it cannot be opened here, or others measure on every core of this host.
        """
        with _plain_errors():
            self._target = _alone(self._opener)
        place = f"{socket.gethostname()}, process {os.getpid()}"
        lists_kernels = isinstance(self._target, KernelProvider)
        return WorkerFacts(self._target.description, lists_kernels, tool_version(), place)

    def prepare(self, program: ProgramOnCluster) -> PreparedOnCluster:
        """As `ProgramEvaluator.prepare`."""
        with _plain_errors():
            return self._prepare(program)

    def evaluate(
        self, program: ProgramOnCluster, module: str, configs: Sequence[Config], purpose: str
    ) -> list[Evaluation]:
        """Evaluate configs in one call of the target.

        Args:
            program: prepared here before, or else now.
            module: digest of the module that the configs refer to.
            configs: of the space.
            purpose: as in `Target.evaluate`.

        Raises:
            OtherModuleError: this worker makes another module.
        """
        with _plain_errors():
            prepared = self._prepare(program)
            if prepared.digest != module:
                raise OtherModuleError(
                    f"it makes another module of program {program.program.name!r} than the first worker did"
                )
            return self._opened.evaluate(prepared.prepared, configs, purpose=purpose)

    def kernels(self, program: Program) -> list[Kernel]:
        """As `kernels_of`."""
        with _plain_errors():
            return kernels_of(self._opened, program)

    def list_tiles(self, kernel: Kernel) -> ListedKernel:
        """As `list_tiles` of `training.collecting.kernels`."""
        with _plain_errors():
            assert isinstance(self._opened, KernelProvider)
            return list_tiles(self._opened.kernel_target, kernel)

    @property
    def _opened(self) -> Target:
        assert self._target is not None
        return self._target

    def _prepare(self, program: ProgramOnCluster) -> PreparedOnCluster:
        if program.identity not in self._prepared:
            prepared = self._opened.prepare(program.program)
            space = self._opened.space(prepared, program.space)
            self._prepared[program.identity] = PreparedOnCluster(prepared, space, digest(prepared.module.module))
            if len(self._prepared) > _KEPT_PROGRAMS:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(program.identity)
        return self._prepared[program.identity]


def _alone(opener: Callable[[], Target]) -> Target:
    """Open a target; one that measures on a core waits until it has it to itself."""
    deadline = time.monotonic() + _CORE_SECONDS
    while True:
        target = opener()
        if not (isinstance(target, CpuTarget) and target.shares_core):
            return target
        target.close()
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"{socket.gethostname()}: other measurements have every core ({len(os.sched_getaffinity(0))} of them); "
                "give Ray fewer (ray start --num-cpus N), or wait for the others to end"
            )
        time.sleep(1.0)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors that can be pickled whatever arguments their class wants: of the nearest class that takes a message."""
    try:
        yield
    except AutotuneError as error:
        plain = next(each for each in type(error).__mro__ if _takes_a_message(each))
        raise plain(str(error)) from None


def _takes_a_message(error_class: type) -> bool:
    bases = error_class.__mro__
    return all("__init__" not in vars(base) for base in bases[: bases.index(Exception)])
