"""What a target said of one config: measured, estimated or failed. Three types that are never mixed or compared.

`Measured` holds seconds from a clock, `Estimated` holds cycles from a compiler's own cost model, `Failed` a typed
reason. Code that ranks evaluations uses `Evaluation.cost`, which is relative to the default config and is defined
only within one label kind.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.spaces.base import Config


class LabelKind(enum.Enum):
    """Where a target's numbers come from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


class FailureReason(enum.Enum):
    """Why a config has no number. The second group is transient: another try may well succeed."""

    COMPILE_ERROR = "compile error"  # the compiler said no, in words
    COMPILER_CRASHED = "compiler crashed"  # a signal, an abort, a failed CHECK
    COMPILE_TIMED_OUT = "compile timed out"
    RUN_ERROR = "run error"
    RUN_CRASHED = "run crashed"
    RUN_TIMED_OUT = "run timed out"
    OUT_OF_MEMORY = "out of memory"  # our own memory limit was reached
    WRONG_RESULT = "wrong result"  # outputs differ from the default's by more than the tolerance
    NOT_APPLIED = "not applied"  # the compiler silently did something else
    NOT_COMPARABLE = "not comparable"  # the estimate leaves out work that the default's does not
    NOT_RECORDED = "not recorded"  # a replay has no such evaluation

    KILLED = "killed from outside"

    @property
    def transient(self) -> bool:
        """Whether the failure says nothing about the config, so that it must not be remembered against it."""
        return self is FailureReason.KILLED


@dataclass(frozen=True)
class Measured:
    """Wall-clock time of one config, taken in one rotation with copies of the default.

    Attributes:
        seconds: minimum over passes of the minimum of the runs of a pass.
        spread: largest over smallest per-pass minimum, minus one (0.03 = the passes agree to 3 %).
        default_seconds: the same statistic of the default's copies in the same rotation (their median).
        default_spread: largest over smallest of the copies of the default, minus one: what separate copies differ by.
        repeat_spread: minimum of the even passes against that of the odd ones, minus one, of this config or of the
            default, whichever is larger: what a repetition might have given.
        passes: how many interleaved passes were made.
        runs: how many runs of this config there were in all passes together.
    """

    seconds: float
    spread: float
    default_seconds: float
    default_spread: float
    repeat_spread: float
    passes: int
    runs: int

    @property
    def noise(self) -> float:
        """The difference from the default that this measurement cannot tell from none."""
        return max(self.default_spread, self.repeat_spread)

    @property
    def cost(self) -> float:
        """Seconds relative to the default's in the same rotation; below 1 is faster than the default."""
        return self.seconds / self.default_seconds


@dataclass(frozen=True)
class Estimated:
    """A compiler's own estimate, in cycles. Never a time, and never compared with a `Measured`.

    Attributes:
        cycles: the estimate for this config.
        default_cycles: the estimate for the default config, from the same compiler.
    """

    cycles: float
    default_cycles: float

    @property
    def cost(self) -> float:
        """Cycles relative to the default's; below 1 is estimated to be faster than the default."""
        return self.cycles / self.default_cycles


@dataclass(frozen=True)
class Failed:
    """No number, and why.

    Attributes:
        reason: the type of failure.
        message: one or a few lines from the compiler, the runtime or the system.
    """

    reason: FailureReason
    message: str


Outcome = Measured | Estimated | Failed


@dataclass(frozen=True)
class Evaluation:
    """One config and what the target said of it.

    Attributes:
        config: the config.
        outcome: measured, estimated or failed.
        compile_seconds: wall time of the compilation (0 when it never started).
        purpose: "search" while looking around, "confirm" for the longer comparison at the end.
        details: further facts of the target (number of copies, largest error of the outputs, ...).
    """

    config: Config
    outcome: Outcome
    compile_seconds: float = 0.0
    purpose: str = "search"
    details: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def cost(self) -> float | None:
        """Cost relative to the default, or None for a failure."""
        return None if isinstance(self.outcome, Failed) else self.outcome.cost

    @property
    def kind(self) -> str:
        """One of "measured", "estimated" and "failed"."""
        match self.outcome:
            case Measured():
                return "measured"
            case Estimated():
                return "estimated"
            case Failed():
                return "failed"
