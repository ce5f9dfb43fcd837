"""What to collect."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from training.collecting.drawing import WAYS
from training.errors import TrainingError

SPACES = ("layout", "tile")


@dataclass(frozen=True)
class Request:
    """What to collect.

    Attributes:
        space: "layout" or "tile".
        configs: per program, besides the default and the references; of a TPU kernel all tiles are taken.
        draw: "random", "genetic" or "both".
        seed: of both ways of drawing.
        time_limit: seconds in all after which no evaluation starts; None for no limit.
        seconds_per_program: the same for each program.
        least_spread: slowest over fastest config that a program must have to stand in a split.
        workers: most configs that the target works on at once; None for what the target says.
        measure_twice: whether every config is measured once more, and labels are made of both.

    Raises:
        TrainingError: a value that makes no sense.
    """

    space: str
    configs: int = 25
    draw: str = "both"
    seed: int = 0
    time_limit: float | None = None
    seconds_per_program: float | None = None
    least_spread: float = 1.3
    workers: int | None = None
    measure_twice: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("space", self.space, SPACES), ("draw", self.draw, tuple(WAYS))):
            if value not in allowed:
                raise TrainingError(f"--{name} {value!r}: expected one of {', '.join(allowed)}")
        for name, limit in (("time-limit", self.time_limit), ("seconds-per-program", self.seconds_per_program)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise TrainingError(f"--{name} {limit}: expected a number of seconds above 0")
        if not (math.isfinite(self.least_spread) and self.least_spread >= 1):
            raise TrainingError(f"--least-spread {self.least_spread}: expected a factor of at least 1")
        least = (("configs", self.configs, 1), ("workers", self.workers, 1), ("seed", self.seed, 0))
        for name, number, smallest in least:
            if number is not None and number < smallest:
                raise TrainingError(f"--{name} {number}: expected at least {smallest}")

    def digest(self, program: bytes) -> str:
        """Equal for requests that give a program the same rows: the time for all programs does not matter for that.

        Args:
            program: the content of its file.
        """
        asked = asdict(self)
        del asked["time_limit"], asked["workers"]
        if not self.measure_twice:
            del asked["measure_twice"]  # which older collections were not asked for
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode() + b"\n" + program).hexdigest()[:32]
