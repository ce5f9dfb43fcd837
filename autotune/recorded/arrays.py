"""Recorded evaluations of TpuGraphs: `.npz` files, published or made here, and tuning protos.

The format holds one number per config and no word on where it came from. Files made here have a `labels.json` or
`manifest.json` that says so; what has neither is taken for TpuGraphs' own: nanoseconds measured on a TPU v3.

A layout file does not say which config is the default. If the one that decides nothing is not in it, costs are relative
to the config in the middle, and a caveat says so. Configs that are equal are one, with the smallest of their numbers.
There is no tuned program: arrays have none, and the layouts of published runs leave dimensions out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import ProgramReadError, SpaceError, UnsupportedProgramError
from autotune.evaluation import Estimated, Evaluation, LabelKind, Measured
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from autotune.hlo.tuning_data import tuning_arrays
from autotune.recorded.record import RecordedProgram
from autotune.recorded.space import RecordedConfigs, RecordedSpace, rows_of
from autotune.spaces.base import Config, JsonObject, config_id
from autotune.spaces.layout import TENSOR_NAMES
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from cost_model import GraphError, LayoutConfigs, ProgramGraph, features
from cost_model.npz import TuningArrays, read_npz

_PUBLISHED: Final = TargetDescription("tpu", "TPU v3", "as published in TpuGraphs", LabelKind.MEASURED, "tpu-v3")

_NO_DEFAULT: Final = "the default was not recorded: costs are relative to the recorded config in the middle"

_BOUNDS: Final = ("kernel_bounds", "output_bounds", "input_bounds")


@dataclass(frozen=True)
class RecordedConfig:
    """A config of which only its row is known.

    Attributes:
        kind: "layout" or "tile".
        digest: of its row: 16 hexadecimal digits.
        place: of the row in the file.
    """

    kind: str
    digest: str
    place: int

    @property
    def family(self) -> str:
        """The kind."""
        return self.kind

    def to_json(self) -> JsonObject:
        """{"recorded": "layout", "row": "0123456789abcdef"}: the same in every file that has the row."""
        return {"recorded": self.kind, "row": self.digest}


class ArraysProgram(Program):
    """A program of which only its graph is known; `module` is empty and `tuning` is a hash of the graph."""

    @cached_property
    def fingerprint(self) -> str:
        """Of the graph."""
        return hashlib.sha256(self.tuning or b"").hexdigest()[:32]


@dataclass(frozen=True)
class PreparedArrays(PreparedProgram):
    """A program as its file has it.

    Attributes:
        recorded_graph: its graph.
    """

    recorded_graph: ProgramGraph | None = None

    @cached_property
    def graph(self) -> ProgramGraph:
        """As its file has it."""
        assert self.recorded_graph is not None
        return self.recorded_graph


class ArraysRecording:
    """One program of TpuGraphs.

    Args:
        path: of the `.npz` file, or of the tuning proto of one program.

    Raises:
        ProgramReadError: the file holds no configs with runtimes, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._program = self.read(path, None)
        is_graph = isinstance(self._program, ArraysProgram)
        self._arrays = _read_npz(path) if is_graph else tuning_arrays(self._program)
        if self._arrays.configs is None or self._arrays.runtimes is None:
            raise ProgramReadError(f"{path}: expected configs with runtimes to replay, found none")
        self._configs, self._runtimes = self._arrays.configs, self._arrays.runtimes
        self._target = _target(path)

    @property
    def description(self) -> TargetDescription:
        """Of what the numbers were made with, as far as the files say."""
        return replace(self._target, name=f"replay:{self._path.name}")

    def read(self, path: Path, module_name: str | None) -> Program:
        """An `.npz` file as a program without a module, others as they are: runs number the nodes of the file."""
        if path.suffix == ".npz":
            graph = _read_npz(path).graph
            content = b"".join(array.tobytes() for array in (graph.node_feat, graph.node_opcode, graph.edge_index))
            tuning = hashlib.sha256(content).digest()
            return ArraysProgram(path.stem, b"", f"{path.name} (arrays of TpuGraphs)", tuning=tuning)
        return read(path, module_name=module_name, keep_optimised=True)

    def program(self, program: Program) -> RecordedProgram:
        """What was recorded of the program, if it is the one of the file."""
        if program.fingerprint != self._program.fingerprint:
            raise UnsupportedProgramError(
                f"program {program.name!r}: nothing recorded to replay in {self._path}, which has program "
                f"{self._program.name!r}; search the file itself: autotune search {self._path} --target "
                f"replay:{self._path}"
            )
        kind = "layout" if isinstance(self._configs, LayoutConfigs) else "tile"
        places = self._distinct()
        configs = [RecordedConfig(kind, digest, numbers[0]) for digest, numbers in places.items()]
        reference, default, caveat = self._reference(configs, list(places.values()))
        evaluations = {
            ("search", config_id(config)): self._evaluation(config, numbers, reference)
            for config, numbers in zip(configs, places.values(), strict=True)
        }
        notes = (*program.notes, f"recorded evaluations of {self._path}")
        prepared = PreparedArrays(program, self._program, notes, caveat=caveat, recorded_graph=self._arrays.graph)
        batch = rows_of(self._configs, [config.place for config in configs])
        space = RecordedSpace(RecordedConfigs(kind, configs, default, batch, {}, (), self._explain))
        return RecordedProgram(prepared, {kind: space}, evaluations, lambda config: TunedProgram(b""))

    def close(self) -> None:
        """Nothing is open."""

    def _distinct(self) -> dict[str, list[int]]:
        """The places of all rows that are equal, by a hash of the row."""
        rows = self._configs.node_config_feat if isinstance(self._configs, LayoutConfigs) else self._configs.config_feat
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(hashlib.sha256(row.tobytes()).hexdigest()[:16], []).append(place)
        return places

    def _reference(self, configs: list[RecordedConfig], places: list[list[int]]) -> tuple[float, RecordedConfig, str]:
        """What costs are relative to, the config that stands for the default, and a caveat."""
        smallest = np.array([self._runtimes[numbers].min() for numbers in places])
        if self._arrays.normalizers is not None:
            reference = float(self._arrays.normalizers[0])
            return reference, configs[int(np.abs(smallest - reference).argmin())], ""
        assert isinstance(self._configs, LayoutConfigs)
        for config, number in zip(configs, smallest, strict=True):
            if (self._configs.node_config_feat[config.place] == features.UNDECIDED).all():
                return float(number), config, ""
        middle = int(np.argsort(smallest, kind="stable")[len(smallest) // 2])
        return float(smallest[middle]), configs[middle], _NO_DEFAULT

    def _evaluation(self, config: RecordedConfig, places: list[int], reference: float) -> Evaluation:
        found = self._runtimes[places]
        smallest = float(found.min())
        if self._target.label is LabelKind.ESTIMATED:
            return Evaluation(config, Estimated(smallest, reference))
        spread = float(found.max()) / smallest - 1.0
        return Evaluation(config, Measured(smallest / 1e9, spread, reference / 1e9, 0.0, spread, 1, len(found)))

    def _explain(self, config: Config) -> list[JsonObject]:
        """The decided tensors by node, or the bounds of the tile."""
        if not isinstance(config, RecordedConfig):
            raise SpaceError(f"config {config.to_json()!r} was not recorded")
        if isinstance(self._configs, LayoutConfigs):
            rows = zip(self._arrays.graph.node_config_ids, self._configs.node_config_feat[config.place], strict=True)
            return [
                {"node": int(node), "tensor": TENSOR_NAMES[tensor], "minor_to_major": order}
                for node, row in rows
                for tensor, columns in enumerate(features.LAYOUT_TENSORS)
                if (order := _entries(row[columns.entries], features.UNDECIDED))
            ]
        row = self._configs.config_feat[config.place]
        parts = zip(_BOUNDS, features.TILE_BOUNDS, strict=True)
        return [{name: _entries(row[columns.entries], 0) for name, columns in parts}]


def _entries(values: NDArray[np.float32], padding: int) -> list[int]:
    return [int(value) for value in values if value != padding]


def _read_npz(path: Path) -> TuningArrays:
    try:
        return read_npz(path)
    except GraphError as error:
        raise ProgramReadError(str(error)) from None


def _target(path: Path) -> TargetDescription:
    """Where the numbers come from: `labels.json` beside the file, or the manifest of the collection around it."""
    labels = _json(path.parent / "labels.json").get("data", {}).get(path.stem)
    if isinstance(labels, dict):
        return _described(labels.get("target", {}), labels.get("label"), path.parent / "labels.json")
    for folder in list(path.absolute().parents)[:3]:
        manifest = _json(folder / "manifest.json")
        if manifest:
            facts = {"name": manifest.get("target")} | {key: manifest[key] for key in manifest if key != "name"}
            return _described(facts, manifest.get("label"), folder / "manifest.json")
    return _PUBLISHED


def _described(facts: Mapping[str, Any], label: Any, path: Path) -> TargetDescription:
    try:
        name, device_kind, compiler = (str(facts[key]) for key in ("name", "device_kind", "compiler_version"))
        return TargetDescription(name, device_kind, compiler, LabelKind(label), _cost_model_device(name, device_kind))
    except (KeyError, ValueError) as error:
        raise ProgramReadError(
            f"{path}: expected what the numbers were made with, found something else ({error})"
        ) from None


def _cost_model_device(name: str, device_kind: str) -> str:
    """Which description of a device the analytical model is to take: there are those of TPUs and of a CPU."""
    kind, _, topology = name.partition(":")
    if kind != "tpu":
        return "cpu"
    from autotune.targets.tpu.generations import generation_of, parse_topology

    generation = parse_topology(topology) if topology else generation_of(device_kind)
    return _PUBLISHED.cost_model_device if generation is None else generation.cost_model_device


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
