"""What evaluates while a collection is made: a target of this process, or the workers of a cluster.

A cluster is in `training.collecting.cluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from autotune.evaluation import Evaluation
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.targets.base import KernelProvider, PreparedProgram, Target, TargetDescription
from training.collecting.kernels import ListedKernel, kernels_of, list_tiles

MayStart = Callable[[], bool]
"""Asked right before an evaluation starts; from then on none does, once it has said no."""


class ProgramEvaluator(Protocol):
    """Evaluates configs of one program, or takes it apart."""

    def prepare(self, program: Program, kind: str) -> tuple[PreparedProgram, Space]:
        """Compile the default once.

        Args:
            program: to be evaluated from now on.
            kind: of the space, "layout" or "tile".

        Raises:
            UnsupportedProgramError: the target refuses the program.
            SpaceError: it has no such choice.
        """
        ...

    def evaluate_each(self, configs: Sequence[Config], may_start: MayStart) -> Iterator[Evaluation]:
        """Evaluate configs of the prepared program; each is given out as soon as it is there, in any order."""
        ...

    def evaluate_together(self, configs: Sequence[Config], purpose: str) -> list[Evaluation]:
        """Evaluate configs under the same conditions, in one call."""
        ...

    def kernels(self, program: Program) -> list[Kernel]:
        """As `kernels_of`."""
        ...

    def list_tiles(self, kernel: Kernel) -> ListedKernel:
        """As `list_tiles` of `training.collecting.kernels`."""
        ...


class Evaluator(Protocol):
    """Evaluates programs."""

    @property
    def description(self) -> TargetDescription:
        """Of the target."""
        ...

    @property
    def lists_kernels(self) -> bool:
        """Whether programs can be taken apart into kernels with tiles."""
        ...

    def program(self) -> AbstractContextManager[ProgramEvaluator]:
        """Somebody for one program; entering waits until there is."""
        ...


class LocalEvaluator:
    """A target of this process, for one program at a time.

    Args:
        target: not closed here.
        parallel: most configs that it works on at once; None for what it says.
    """

    def __init__(self, target: Target, parallel: int | None = None) -> None:
        self._target = target
        self._parallel = min(parallel or target.parallel, target.parallel)

    @property
    def description(self) -> TargetDescription:
        """Of the target."""
        return self._target.description

    @property
    def lists_kernels(self) -> bool:
        """Whether the target can take programs apart."""
        return isinstance(self._target, KernelProvider)

    def program(self) -> AbstractContextManager[ProgramEvaluator]:
        """The target, at once."""
        return nullcontext(_LocalProgram(self._target, self._parallel))


class _LocalProgram:
    def __init__(self, target: Target, parallel: int) -> None:
        self._target, self._parallel = target, parallel
        self._prepared: PreparedProgram | None = None

    def prepare(self, program: Program, kind: str) -> tuple[PreparedProgram, Space]:
        self._prepared = self._target.prepare(program)
        return self._prepared, self._target.space(self._prepared, kind)

    def evaluate_each(self, configs: Sequence[Config], may_start: MayStart) -> Iterator[Evaluation]:
        assert self._prepared is not None
        for start in range(0, len(configs), self._parallel):
            if not may_start():
                return
            yield from self._target.evaluate(self._prepared, configs[start : start + self._parallel])

    def evaluate_together(self, configs: Sequence[Config], purpose: str) -> list[Evaluation]:
        assert self._prepared is not None
        return self._target.evaluate(self._prepared, configs, purpose=purpose)

    def kernels(self, program: Program) -> list[Kernel]:
        return kernels_of(self._target, program)

    def list_tiles(self, kernel: Kernel) -> ListedKernel:
        assert isinstance(self._target, KernelProvider)
        return list_tiles(self._target.kernel_target, kernel)
