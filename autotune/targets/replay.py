"""The targets `replay:FILE`: evaluations that were made before, so that searches can be studied without a device.

The space is what was recorded. A config that was not is `failed: not recorded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from autotune.errors import AutotuneError, SpaceError
from autotune.evaluation import Evaluation, Failed, FailureReason
from autotune.hlo.program import Program
from autotune.recorded.record import RecordedProgram, Recording
from autotune.spaces.base import Config, Space, config_id
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram

_SQLITE = b"SQLite format 3\x00"


def open_replay(argument: str) -> ReplayTarget:
    """Open recorded evaluations.

    Args:
        argument: FILE, or FILE@TARGET for a database with several targets. FILE is an evaluation database, an `.npz`
            file or a tuning proto of TpuGraphs.

    Raises:
        AutotuneError: there is no such file, or it holds nothing that can be replayed.
    """
    from autotune.recorded.arrays import ArraysRecording
    from autotune.recorded.kept import DatabaseRecording

    name, target = argument, ""
    if not Path(name).is_file() and "@" in argument:
        name, _, target = argument.rpartition("@")
    path = Path(name)
    if not path.is_file():
        raise AutotuneError(
            f"target 'replay:{argument}': no such file; expected replay:FILE, an evaluation database, an .npz file or "
            "a tuning proto of TpuGraphs"
        )
    with path.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    recording: Recording = DatabaseRecording(path, target) if is_database else ArraysRecording(path)
    return ReplayTarget(recording)


class ReplayTarget:
    """Says what was said before.

    Args:
        recording: of evaluations; closed with the target.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._programs: dict[str, RecordedProgram] = {}

    @property
    def description(self) -> TargetDescription:
        """Of what had made the evaluations; the name is its own, so that the database does not take them for new."""
        return self._recording.description

    @property
    def parallel(self) -> int:
        """One: a search then learns from each."""
        return 1

    def read(self, path: Path, module_name: str | None) -> Program:
        """Read a program as the recording has programs."""
        return self._recording.read(path, module_name)

    def prepare(self, program: Program) -> PreparedProgram:
        """Find what was recorded of the program."""
        found = self._recording.program(program)
        self._programs[program.fingerprint] = found
        return found.prepared

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """The recorded configs."""
        if kind not in ("layout", "tile", "auto"):
            raise SpaceError(f"space {kind!r}: expected layout, tile or auto")
        spaces = self._programs[prepared.program.fingerprint].spaces
        if kind == "auto":
            return spaces.get("tile") or spaces["layout"]
        if kind not in spaces:
            raise SpaceError(f"no {kind} choice was recorded for {prepared.program.name!r}, but {', '.join(spaces)}")
        return spaces[kind]

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """What was recorded; where a config was never confirmed, its evaluation in the search stands for that."""
        evaluations = self._programs[prepared.program.fingerprint].evaluations
        found = []
        for config in configs:
            identity = config_id(config)
            recorded = evaluations.get((purpose, identity)) or evaluations.get(("search", identity))
            if recorded is None:
                recorded = Evaluation(config, Failed(FailureReason.NOT_RECORDED, "this config was never evaluated"))
            found.append(replace(recorded, config=config, purpose=purpose))
        return found

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """As the original target did it; a module of no bytes where the recording has no program."""
        return self._programs[prepared.program.fingerprint].realise(config)

    def close(self) -> None:
        """Close the file."""
        self._recording.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
