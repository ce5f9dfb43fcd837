"""Tiles of a TPU program's kernels: the compiler lists all candidates of a kernel with its cycles, in one compilation.

Nothing is forced and compiled again, so these are no evaluations and do not go into the database of evaluations: that a
tile holds when it is asked for is what a search finds out. All kernels share one compiler process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from autotune.evaluation import Estimated, Evaluation
from autotune.hlo.kernels import Kernel, is_one_kernel, split_kernels
from autotune.hlo.program import Program
from autotune.hlo.window_config import PENALTY
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.targets.base import KernelProvider, KernelTarget, Target
from training.collecting.rows import Drawn

LISTED: Final = "listed"
"""The way of drawing of tiles that the compiler lists itself."""


class ListedKernel(NamedTuple):
    """A kernel, its tiles, and the cycles of each; the compiler's choice first."""

    space: TpuTileSpace
    drawn: list[Drawn]


def kernels_of(target: Target, program: Program) -> list[Kernel]:
    """The kernels of a program, the longest-running first; a program that is one kernel is its own.

    Raises:
        UnsupportedProgramError: the target refuses the program.
        WorkerError: it did not compile this time.
    """
    if is_one_kernel(program.proto):
        return split_kernels(program.proto)
    assert isinstance(target, KernelProvider)
    kernels = target.kernels(target.prepare(program), LayoutConfig())
    return sorted(kernels, key=_cycles, reverse=True)


def list_tiles(target: KernelTarget, kernel: Kernel) -> ListedKernel:
    """Let the compiler list the tiles of a kernel.

    Cycles are those of the kernel alone; tiles that the compiler gives none, or a penalty, are left out. The tile that
    it has in its program is the default if it is on the list; where it is not, it was chosen for operands in the
    scratchpad, and the default is the cheapest tile of the list.

    Raises:
        SpaceError: there is no choice, or the kernel cannot be compiled alone.
        ToolchainError: the list is in a form that is not known.
    """
    space = _space(target, kernel)
    if space.candidate(space.default) is None:
        space = _space(target, replace(kernel, window=None))
    default = space.candidate(space.default)
    assert default is not None  # it is the cheapest of the list
    drawn = []
    for config in space.enumerate():
        candidate = space.candidate(config)
        if candidate is not None and candidate.cycles < PENALTY:
            outcome = Estimated(float(candidate.cycles), float(default.cycles))
            drawn.append(Drawn(Evaluation(config, outcome), LISTED))
    return ListedKernel(space, drawn)


def _space(target: KernelTarget, kernel: Kernel) -> TpuTileSpace:
    space = target.space(target.prepare_kernel(kernel), "tile")
    assert isinstance(space, TpuTileSpace)
    return space


def _cycles(kernel: Kernel) -> int:
    window = kernel.window
    return kernel.executions * (window.estimated_cycles or 0) if window is not None else 0
