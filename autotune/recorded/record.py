"""What all sources of recorded evaluations come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autotune.evaluation import Evaluation
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram


@dataclass(frozen=True)
class RecordedProgram:
    """One program and what was recorded of it.

    Attributes:
        prepared: as its target had prepared it.
        spaces: of the recorded configs, by kind: "layout", "tile" or both.
        evaluations: by purpose and config id; the latest of each.
        realise: applies a config.
    """

    prepared: PreparedProgram
    spaces: Mapping[str, Space]
    evaluations: Mapping[tuple[str, str], Evaluation] = field(repr=False)
    realise: Callable[[Config], TunedProgram]


class Recording(Protocol):
    """A file of recorded evaluations."""

    @property
    def description(self) -> TargetDescription:
        """Of the target that made them; its name says that they are replayed."""
        ...

    def read(self, path: Path, module_name: str | None) -> Program:
        """Read a program from a file, as programs are in this recording.

        Raises:
            ProgramReadError: the file has none.
        """
        ...

    def program(self, program: Program) -> RecordedProgram:
        """What was recorded of a program.

        Raises:
            UnsupportedProgramError: nothing.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...
