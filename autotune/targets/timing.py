"""The measurement protocol: interleaved passes in random order, the minimum of minima, the spread kept.

Shared by every target that owns a clock. Means are useless on a machine with neighbours, and so is timing one program
after the other: all runners of a rotation are timed in every pass, in a new random order each time. Why these numbers:
`shared/design/xla_cpu.md`, section 1 (4 identical copies of a program differ by 2.5 to 4.2 %).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Runner = Callable[[], object]
"""Runs a program once and returns when its outputs are ready."""

Clock = Callable[[], float]

_SLOW = 0.5
"""Seconds of a program's first run from which on that run tells well enough how long it takes."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        passes: interleaved passes over all runners.
        pass_seconds: time that one runner may use in one pass, while at least `minimum_runs` are made.
        minimum_runs: runs of one runner in a pass, unless they would take longer than `pass_seconds_at_most`.
        pass_seconds_at_most: bound for slow programs: fewer than `minimum_runs`, but at least one run.
        default_copies: separately loaded copies of the default in the rotation.
        seconds_at_most: bound for the whole rotation: slow programs get fewer passes, but at least `minimum_passes`.
        minimum_passes: see above.
    """

    passes: int
    pass_seconds: float
    minimum_runs: int
    pass_seconds_at_most: float
    default_copies: int
    seconds_at_most: float
    minimum_passes: int

    def copies(self, run_seconds: float) -> int:
        """How many copies of a default of this duration are in the rotation: half of them when it is slow."""
        return self.default_copies if run_seconds < _SLOW else max(1, self.default_copies // 2)

    def affordable_passes(self, pass_seconds: float) -> int:
        """How many passes are made when one over all runners takes this long."""
        return min(self.passes, max(self.minimum_passes, int(self.seconds_at_most / max(pass_seconds, 1e-9))))

    def runs(self, run_seconds: float) -> int:
        """How often a program of this duration runs in one pass."""
        wanted = max(self.minimum_runs, int(self.pass_seconds / max(run_seconds, 1e-9)))
        affordable = max(1, int(self.pass_seconds_at_most / max(run_seconds, 1e-9)))
        return min(wanted, affordable, 200)


SEARCH = Effort(
    passes=4,
    pass_seconds=0.025,
    minimum_runs=6,
    pass_seconds_at_most=1.0,
    default_copies=2,
    seconds_at_most=15.0,
    minimum_passes=2,
)
CONFIRM = Effort(
    passes=10,
    pass_seconds=0.040,
    minimum_runs=8,
    pass_seconds_at_most=1.0,
    default_copies=4,
    seconds_at_most=90.0,
    minimum_passes=4,
)


@dataclass(frozen=True)
class PassTimes:
    """What one runner took.

    Attributes:
        minima: the fastest run of each pass, float64[passes], seconds.
        runs: runs in all passes together.
    """

    minima: tuple[float, ...]
    runs: int

    @property
    def seconds(self) -> float:
        """The minimum of the minima."""
        return min(self.minima)

    def of_one_execution(self, executions: int) -> PassTimes:
        """The same where every run was a launch of so many executions."""
        if executions == 1:
            return self
        return PassTimes(tuple(seconds / executions for seconds in self.minima), self.runs * executions)

    @property
    def half_spread(self) -> float:
        """How far the minima of the even and of the odd passes are apart: what a repetition might have given."""
        if len(self.minima) < 2:
            return 0.0
        halves = (min(self.minima[::2]), min(self.minima[1::2]))
        return max(halves) / min(halves) - 1.0

    @property
    def spread(self) -> float:
        """Largest over smallest per-pass minimum, minus one."""
        return max(self.minima) / min(self.minima) - 1.0


def time_rotation(
    runners: Sequence[Runner],
    effort: Effort,
    *,
    seed: int,
    first_run_seconds: Sequence[float] | None = None,
    clock: Clock = time.perf_counter,
) -> list[PassTimes]:
    """Time several programs against each other.

    Args:
        runners: the programs.
        effort: how long to measure.
        seed: seed of the random orders.
        first_run_seconds: what a first run of each took, if that is known: slow programs are then not run once more
            just to find out.
        clock: seconds, monotonic.

    Returns:
        One `PassTimes` per runner, in the given order.
    """
    rng = np.random.default_rng(seed)
    known = first_run_seconds if first_run_seconds is not None else [0.0] * len(runners)
    run_seconds = [
        seconds if seconds > _SLOW else _time_once(runner, clock)
        for runner, seconds in zip(runners, known, strict=True)
    ]
    runs = [effort.runs(seconds) for seconds in run_seconds]
    passes = effort.affordable_passes(sum(a * b for a, b in zip(runs, run_seconds, strict=True)))
    minima: list[list[float]] = [[] for _ in runners]
    for _ in range(passes):
        for index in rng.permutation(len(runners)):
            runner = runners[index]
            if runs[index] > 1:
                runner()  # the caches belong to the neighbour in the rotation
            minima[index].append(min(_time_once(runner, clock) for _ in range(runs[index])))
    return [PassTimes(tuple(values), count * passes) for values, count in zip(minima, runs, strict=True)]


def _time_once(runner: Runner, clock: Clock) -> float:
    start = clock()
    runner()
    return clock() - start
