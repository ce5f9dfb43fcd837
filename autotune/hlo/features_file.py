"""What `autotune inspect FILE --features OUT.npz` writes: a program as arrays of TpuGraphs (see `cost_model.npz`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from autotune.errors import AutotuneError
from autotune.hlo.program import Program
from autotune.hlo.tuning_data import tuning_arrays
from cost_model.npz import write_npz
from protos import tuning_pb2

_ENDING = ".npz"


@dataclass(frozen=True)
class FeaturesFile:
    """A file that was written.

    Attributes:
        path: where it is.
        arrays: what it holds, by name.
        runs: configs with a runtime in it.
        runs_left_out: runs of the tuning data that failed, so that they are not in it.
    """

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    runs: int
    runs_left_out: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the attributes under their names; of arrays, type and shape."""
        return {
            "path": str(self.path),
            "arrays": {
                name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in self.arrays.items()
            },
            "runs": self.runs,
            "runs_left_out": self.runs_left_out,
        }


def write_features(program: Program, path: Path) -> FeaturesFile:
    """Writes a program's graph and, if it came from tuning data, its configs and runtimes.

    Args:
        program: as its file has it (read with `keep_optimised=True`).
        path: the file to write or replace.

    Raises:
        ProgramReadError: the tuning data contradicts itself.
        AutotuneError: the file cannot be written.
    """
    data = tuning_arrays(program)
    try:
        arrays = write_npz(path, data)
    except OSError as error:
        raise AutotuneError(f"features file {path}: cannot be written ({error}); choose another place") from error
    runs = 0 if data.configs is None else len(data.configs)
    all_runs = len(tuning_pb2.ModuleTuningData.FromString(program.tuning or b"").runs)
    return FeaturesFile(path, arrays, runs, all_runs - runs)


def check_writable(path: Path, program: Path) -> None:
    """Finds out, before a program is read, whether its features can be written.

    Args:
        path: the file to write.
        program: the file that is read.

    Raises:
        AutotuneError: the name is none of an .npz file or that of the program, or its folder cannot be written.
    """
    problem = None
    if path.suffix != _ENDING:
        problem = f"expected a name that ends in {_ENDING}, so that no program is replaced by mistake"
    elif path.is_dir():
        problem = "is a folder; name a file in it"
    elif path.exists() and program.exists() and path.samefile(program):
        problem = "is the program itself; choose another name"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}; make it first or choose another place"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"the folder {path.parent} cannot be written; choose another place"
    if problem:
        raise AutotuneError(f"features file {path}: {problem}")
