"""The files of one program or kernel: `.npz` for the store, `.pb` with every run.

| within the folder of the collection | content |
|---|---|
| train, valid, test/NAME.npz | the distinct configs with their labels |
| low_spread/NAME.npz | the same, of programs whose slowest config is hardly slower than the fastest |
| protos/NAME.pb | ModuleTuningData: every config, before merging, the failed ones included |
| records/NAME.json | how each row of the .npz was drawn, statistics, and what the program was asked |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from autotune.evaluation import Failed
from autotune.hlo.graph import program_graph
from autotune.hlo.tuning_data import configurable_nodes, layouts_to_tuning, tiles_to_tuning
from autotune.spaces.base import Config, Space, config_id
from cost_model import LayoutConfigs
from cost_model.files import replace_file
from cost_model.npz import TuningArrays, write_npz
from protos import hlo_pb2, tuning_pb2
from training.collecting.rows import Drawn, Row, reference_seconds, runtime, spread
from training.errors import TrainingError

LOW_SPREAD: Final = "low_spread"


def arrays_of(module: hlo_pb2.HloModuleProto, space: Space, rows: Sequence[Row]) -> tuple[TuningArrays, list[Row]]:
    """The rows as arrays of TpuGraphs.

    Returns:
        The arrays, and the rows that are in them: those that have a tile, where tiles are chosen (a library has none).

    Raises:
        TrainingError: none of the tiles is a default that others can be divided by.
    """
    graph = program_graph(module)
    batch = space.encode([row.config for row in rows])
    if isinstance(batch, LayoutConfigs):
        return TuningArrays(graph, batch, np.array([row.runtime for row in rows], np.int64)), list(rows)
    kept = [row for row, tile in zip(rows, tiles_to_tuning(batch), strict=True) if tile is not None]
    labels = np.array([row.runtime for row in kept], np.int64)
    default = np.full_like(labels, _default_tile(space, kept).runtime)
    return TuningArrays(graph, space.encode([row.config for row in kept]), labels, default), kept


def proto_of(module: hlo_pb2.HloModuleProto, fingerprint: str, space: Space, drawn: Sequence[Drawn]) -> bytes:
    """Every evaluated config as a serialized `ModuleTuningData`; without those that the format cannot hold."""
    data = tuning_pb2.ModuleTuningData(module=module, fingerprint=int(fingerprint[:16], 16))
    configs = space.encode([each.evaluation.config for each in drawn])
    profiles: list[tuning_pb2.ConfigProfile | None]
    if isinstance(configs, LayoutConfigs):
        nodes = configurable_nodes(module)
        data.config_index_to_node.extend(nodes)
        layouts = layouts_to_tuning(configs, nodes.values())
        profiles = [tuning_pb2.ConfigProfile(module_config=layout) for layout in layouts]
    else:
        tiles = tiles_to_tuning(configs)
        profiles = [None if tile is None else tuning_pb2.ConfigProfile(op_config=tile) for tile in tiles]
    default_seconds = reference_seconds(drawn)
    default = next((each for each, profile in zip(drawn, profiles, strict=True) if profile is not None), None)
    for each, profile in zip(drawn, profiles, strict=True):
        if profile is not None:
            profile.error = isinstance(each.evaluation.outcome, Failed)
            profile.is_default = each is default
            label = runtime(each.evaluation, default_seconds)
            if label is not None:
                profile.profile.compute_time_ns = label
            data.runs.append(profile)
    return data.SerializeToString(deterministic=True)


def write_program(
    folder: Path,
    name: str,
    split: str,
    arrays: TuningArrays,
    rows: Sequence[Row],
    *,
    proto: bytes,
    record: dict[str, Any],
    least_spread: float,
) -> dict[str, Any]:
    """Write the files of one program, the record last: who finds a record finds the others.

    Args:
        folder: of the collection.
        name: of the files.
        split: train, valid or test.
        arrays: for the .npz.
        rows: those of `arrays`, in order.
        proto: the .pb.
        record: for the .json.
        least_spread: programs with a smaller spread go into the folder "low_spread" instead of a split.

    Returns:
        The record, with the place of the file, how each row was drawn, and both costs of rows measured twice.
    """
    place = split if (spread(rows) or 0.0) >= least_spread else LOW_SPREAD
    for other in {"train", "valid", "test", LOW_SPREAD} - {place}:
        (folder / other / f"{name}.npz").unlink(missing_ok=True)
    for part in (place, "protos"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    replace_file(folder / "protos" / f"{name}.pb", proto)
    write_npz(folder / place / f"{name}.npz", arrays)
    record |= {
        "file": f"{place}/{name}.npz",
        "ways": [row.way for row in rows],
        "config_ids": [config_id(row.config) for row in rows],
    }
    if any(row.costs for row in rows):
        record["costs"] = [row.costs or None for row in rows]
    return write_record(folder, name, record)


def write_record(folder: Path, name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write a record, and return it."""
    path = record_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a program is."""
    return folder / "records" / f"{name}.json"


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """The record of a program, if there is one; a damaged one is none, so it is made again."""
    try:
        record = json.loads(record_path(folder, name).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _default_tile(space: Space, rows: Sequence[Row]) -> Row:
    """The row of the default, or of the first reference that has a tile: the default of XLA:CPU is a library."""
    by_id = {identity: row for row in rows for identity in (config_id(row.config), *row.merged)}
    wanted: list[Config] = [space.default, *space.references.values()]
    for config in wanted:
        if config_id(config) in by_id:
            return by_id[config_id(config)]
    raise TrainingError("none of the tiles evaluated is a default that runtimes can be divided by")
