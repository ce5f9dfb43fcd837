"""A search's evaluations as data in the format of TpuGraphs: what `autotune search --save-tuning-data DIR` leaves.

| file | content |
|---|---|
| `<program>.layout.pb`, `<program>.layout.npz` | layouts, of the module just before layout assignment |
| `<program>.tile.pb`, `<program>.tile.npz` | tiles of a program that is one kernel |
| `<program>.<kernel>.tile.pb`, `<program>.<kernel>.tile.npz` | tiles of a kernel of the program |
| `labels.json` | what the numbers in each of them are |

The `.pb` is a `ModuleTuningData` with every run, the failed ones included; the `.npz` has the runs that succeeded, as
`autotune inspect FILE.pb --features` reads them. The format has one field for a number, `compute_time_ns`, and no word
on where it came from: estimates of a compiler go there in cycles. Only `labels.json` tells them from times.

A folder may collect many searches. What another program, target or compiler has written is never replaced: a name that
is taken gets a number.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from autotune.errors import AutotuneError, ProgramReadError
from autotune.evaluation import Estimated, Evaluation, Failed, LabelKind, Measured
from autotune.hlo.program import Program
from autotune.hlo.tuning_data import (
    SHORTEST_NANOSECONDS,
    configurable_nodes,
    layouts_to_tuning,
    tiles_to_tuning,
    tuning_arrays,
)
from autotune.result import SearchResult, check_writable
from autotune.spaces.base import Config, JsonObject, Space, config_id
from cost_model import LayoutConfigs
from cost_model.files import replace_file
from cost_model.npz import TuningArrays, write_npz
from cost_model.version import tool_version
from protos import tuning_pb2

LABELS_FILE: Final = "labels.json"

_ABOUT: Final = (
    "What compute_time_ns (.pb), config_runtime and config_runtime_normalizers (.npz) hold, by file. "
    "Numbers of two labels, targets or compilers are not comparable."
)
_UNITS: Final = {
    LabelKind.MEASURED: ("nanoseconds", "wall-clock time on the device"),
    LabelKind.ESTIMATED: ("compiler cycles", "the compiler's own estimate; not a time, although the field is named so"),
}
_IDENTITY: Final = ("space", "label", "target", "module_fingerprint")
"""The facts in `labels.json` that must be equal for files to be replaced."""

_LONGEST_NAME: Final = 80
"""Characters kept of a program's and of a kernel's name: a file's name has at most 255 bytes."""


@dataclass(frozen=True)
class _Tried:
    """One program and what was tried on it.

    Attributes:
        name: of the files, unless it is taken.
        facts: for `labels.json`.
        data: the content of the .pb.
        arrays: the content of the .npz, or why there is none, and so no files.
    """

    name: str
    facts: JsonObject
    data: tuning_pb2.ModuleTuningData
    arrays: TuningArrays | str


def save_tuning_data(result: SearchResult, folder: str | Path) -> list[Path]:
    """Write the evaluations of a search, in the format of TpuGraphs.

    The final comparison is not in them: it was measured for longer than the rest, so it is no label like the others.

    Args:
        result: of a search; the tiles of its kernels are written, too.
        folder: made if it does not exist. Files of an equal search are replaced one by one, each atomically.

    Returns:
        The files written, `labels.json` first: no file is ever there without its label.

    Raises:
        AutotuneError: the folder cannot be written, holds a `labels.json` that is not ours, or there is nothing to
            write because no config succeeded whose tile the format can hold.
    """
    folder = Path(folder)
    programs = _programs(result)
    if all(isinstance(each.arrays, str) for each in programs):
        raise AutotuneError(f"tuning data folder {folder}: nothing to write: {programs[0].arrays}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            return _write(programs, folder)
    except OSError as error:
        message = f"tuning data folder {folder}: cannot be written ({error}); choose another with --save-tuning-data"
        raise AutotuneError(message) from error


def check_tuning_folder(folder: Path) -> None:
    """Find out before a long search whether its evaluations can be saved.

    Raises:
        AutotuneError: the folder (or the nearest one above it that exists) cannot be written, or is a file, or holds a
            `labels.json` that is not ours.
    """
    check_writable(folder, kind="tuning data folder", option="--save-tuning-data")
    _read_labels(folder)


# ---- From evaluations to runs ----------------------------------------------------------------------------------------


def _programs(result: SearchResult) -> list[_Tried]:
    """The searched program, then its kernels."""
    program = result.prepared.program
    facts: JsonObject = {
        "program": {"name": program.name, "fingerprint": program.fingerprint, "source": program.source}
    }
    if result.prepared.caveat:
        facts["caveat"] = result.prepared.caveat
    found = [_tried(result, f"{_plain(program.name)}.{result.space.kind}", facts)]
    for each in result.tiles:
        if each.result is not None and result.space.kind != "tile":  # else it is the same search once more
            kernel = each.kernel
            which = {
                "name": kernel.name,
                "opcode": kernel.opcode,
                "executions": kernel.executions,
                "alone": "numbers are of the kernel alone: within the program its operands may lie in faster memory",
            }
            name = f"{_plain(program.name)}.{_plain(kernel.name)}.tile"
            found.append(_tried(each.result, name, facts | {"kernel": which}))
    return found


def _tried(result: SearchResult, name: str, facts: JsonObject) -> _Tried:
    """One search as tuning data."""
    module = result.prepared.module
    data = tuning_pb2.ModuleTuningData(module=result.prepared.described, fingerprint=int(module.fingerprint[:16], 16))
    default_label, default = _default(result.space)
    runs, left_out = _runs(result, data)
    for evaluation, run in runs:
        run.is_default = config_id(evaluation.config) == config_id(default)
        if not run.error:
            run.profile.compute_time_ns = _number(evaluation, result.target.label)
        data.runs.append(run)
    unit, meaning = _UNITS[result.target.label]
    failed = Counter(e.outcome.reason.value for e, _ in runs if isinstance(e.outcome, Failed))
    description = result.target
    all_facts = facts | {
        "space": result.space.kind,
        "label": description.label.value,
        "unit": unit,
        "meaning": meaning,
        "smallest": f"{SHORTEST_NANOSECONDS}: less is raised to it, because the format takes 0 and 1 for no run",
        "target": {
            "name": description.name,
            "device_kind": description.device_kind,
            "compiler_version": description.compiler_version,
        },
        "tool": f"xla-autotune {tool_version()}",
        "module_fingerprint": module.fingerprint,
        "default_run": default_label,
        "runs": len(runs) - failed.total(),
        "runs_failed": dict(failed),
        "left_out": {"configs without a tile that the format can hold": left_out} if left_out else {},
    }
    return _Tried(name, all_facts, data, _arrays(data, module))


def _runs(
    result: SearchResult, data: tuning_pb2.ModuleTuningData
) -> tuple[list[tuple[Evaluation, tuning_pb2.ConfigProfile]], int]:
    """Evaluations with their configs as runs have them, in order; how many configs could not be written as one.

    Args:
        result: of a search.
        data: of its module; gets the list of configurable nodes when the configs are layouts.
    """
    configs = result.space.encode([evaluation.config for evaluation in result.evaluations])
    profiles: list[tuning_pb2.ConfigProfile | None]
    if isinstance(configs, LayoutConfigs):
        nodes = configurable_nodes(data.module)
        data.config_index_to_node.extend(nodes)
        layouts = layouts_to_tuning(configs, nodes.values())
        profiles = [tuning_pb2.ConfigProfile(module_config=layout) for layout in layouts]
    else:
        tiles = tiles_to_tuning(configs)
        profiles = [None if tile is None else tuning_pb2.ConfigProfile(op_config=tile) for tile in tiles]
    runs = []
    for evaluation, profile in zip(result.evaluations, profiles, strict=True):
        if profile is not None:
            profile.error = isinstance(evaluation.outcome, Failed)
            runs.append((evaluation, profile))
    return runs, len(profiles) - len(runs)


def _default(space: Space) -> tuple[str, Config]:
    """The run that runtimes of tiles are divided by, in words, and its config.

    The default of XLA:CPU is a library, which has no tile. There it is the first reference that has one: the tile that
    XLA's own tiled product would take.
    """
    for label, config in {"the compiler's own choice": space.default, **space.references}.items():
        batch = space.encode([config])
        if isinstance(batch, LayoutConfigs) or tiles_to_tuning(batch) != [None]:
            return label, config
    return "none has a tile that the format can hold", space.default


def _number(evaluation: Evaluation, label: LabelKind) -> int:
    """What goes into `compute_time_ns`: nanoseconds of a measurement, or cycles of an estimate.

    Raises:
        AutotuneError: the evaluation is of another kind than the target's others.
    """
    match label, evaluation.outcome:
        case LabelKind.MEASURED, Measured(seconds=seconds):
            return max(SHORTEST_NANOSECONDS, round(seconds * 1e9))
        case LabelKind.ESTIMATED, Estimated(cycles=cycles):
            return max(SHORTEST_NANOSECONDS, round(cycles))
        case _:
            raise AutotuneError(
                f"config {config_id(evaluation.config)}: expected an evaluation that is {label.value}, "
                f"found one that is {evaluation.kind}; the two do not go into one file"
            )


def _arrays(data: tuning_pb2.ModuleTuningData, module: Program) -> TuningArrays | str:
    """What `autotune inspect --features` will read from the file, or why it cannot be read."""
    content = data.module.SerializeToString(deterministic=True)
    program = Program(module.name, content, module.source, tuning=data.SerializeToString(deterministic=True))
    try:
        arrays = tuning_arrays(program)
    except ProgramReadError as error:
        return str(error)
    return arrays if arrays.configs is not None else f"tuning data of {module.name!r}: no run succeeded"


# ---- Files -----------------------------------------------------------------------------------------------------------


def _write(programs: Sequence[_Tried], folder: Path) -> list[Path]:
    """Labels first, then what they speak of."""
    labels = _read_labels(folder)
    names = []
    for each in programs:
        names.append(_free_name(each, labels, folder))
        missing = isinstance(each.arrays, str)
        files = [] if missing else [f"{names[-1]}.pb", f"{names[-1]}.npz"]
        labels[names[-1]] = {"files": files, "not_written": each.arrays if missing else None} | each.facts
    text = json.dumps({"about": _ABOUT, "data": dict(sorted(labels.items()))}, indent=2) + "\n"
    replace_file(folder / LABELS_FILE, text.encode())
    written = [folder / LABELS_FILE]
    for name, each in zip(names, programs, strict=True):
        if not isinstance(each.arrays, str):
            replace_file(folder / f"{name}.pb", each.data.SerializeToString(deterministic=True))
            write_npz(folder / f"{name}.npz", each.arrays)
            written += [folder / f"{name}.pb", folder / f"{name}.npz"]
    return written


def _free_name(tried: _Tried, labels: dict[str, JsonObject], folder: Path) -> str:
    """Its name, or with the first number that makes it one that nothing else has."""
    stem, _, kind = tried.name.rpartition(".")
    name, number = tried.name, 1
    while True:
        if name in labels:
            free = all(labels[name].get(key) == tried.facts[key] for key in _IDENTITY)
        else:
            free = not any((folder / f"{name}{ending}").exists() for ending in (".pb", ".npz"))
        if free:
            return name
        number += 1
        name = f"{stem}.{number}.{kind}"


def _read_labels(folder: Path) -> dict[str, JsonObject]:
    """What earlier searches said of their files, by name without ending; nothing if there were none.

    Raises:
        AutotuneError: the file cannot be read or is not ours.
    """
    path = folder / LABELS_FILE
    try:
        content: Any = json.loads(path.read_bytes())
        labels = content["data"]
        if all(isinstance(facts["label"], str) for facts in labels.values()):
            return dict(labels)
        found = "a label that is no text"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
    raise AutotuneError(
        f"{path}: expected the labels of tuning data that autotune has written, found something else ({found}); "
        "choose another folder with --save-tuning-data"
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other searches from changing the labels until the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _plain(name: str) -> str:
    """A name without characters that mean something in a path."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:_LONGEST_NAME].lstrip(".") or "program"
