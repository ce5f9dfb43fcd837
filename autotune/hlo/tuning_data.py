"""The runs of TpuGraphs tuning data, as batches of configs with their runtimes.

Runs that failed are skipped, as the published data set does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotune.errors import ProgramReadError
from cost_model import LayoutConfigs, TileConfigs, features
from protos import tuning_pb2

# A tile run that took no time was not run (TpuGraphs, rule for tile data).
_SHORTEST_TILE_NANOSECONDS = 2


class LayoutRuns(NamedTuple):
    """Layout configs of one program and what they took.

    Attributes:
        configs: c configs of nc configurable nodes.
        runtimes: int64[c], ns.
        node_config_ids: the configurable nodes, int64[nc].
    """

    configs: LayoutConfigs
    runtimes: NDArray[np.int64]
    node_config_ids: NDArray[np.int64]


class TileRuns(NamedTuple):
    """Tile configs of one kernel and what they took.

    Attributes:
        configs: c configs.
        runtimes: int64[c], ns.
        normalizers: runtime of the default tile, int64[c], ns. Models learn runtimes / normalizers.
    """

    configs: TileConfigs
    runtimes: NDArray[np.int64]
    normalizers: NDArray[np.int64]


def layout_configs_from_tuning(data: tuning_pb2.ModuleTuningData) -> LayoutRuns:
    """Reads the layout configs of a program and their runtimes.

    Args:
        data: tuning data of a whole program.

    Returns:
        The runs without error, in file order.

    Raises:
        ProgramReadError: there are no layout runs, or a run does not fit the list of configurable nodes.
    """
    nodes = np.array(data.config_index_to_node, dtype=np.int64)
    runs = [run for run in data.runs if run.WhichOneof("config") == "module_config" and not run.error]
    if not runs:
        raise ProgramReadError(f"tuning data of {data.module.name!r}: expected layout runs without error, found none")
    values = np.full((len(runs), len(nodes), features.LAYOUT_FEATURES), features.UNDECIDED, dtype=np.float32)
    for index, run in enumerate(runs):
        layouts = run.module_config.layout_config.nodes
        if len(layouts) != len(nodes):
            raise ProgramReadError(
                f"tuning data of {data.module.name!r}: expected a layout for each of {len(nodes)} configurable nodes, "
                f"found {len(layouts)}"
            )
        for place, layout in enumerate(layouts):
            for columns, tensor in zip(features.LAYOUT_TENSORS, layout.tensors, strict=False):
                kept = tensor.dims[: columns.kept]
                values[index, place, columns.start : columns.start + len(kept)] = kept
    return LayoutRuns(LayoutConfigs(values), _nanoseconds(runs), nodes)


def tile_configs_from_tuning(data: tuning_pb2.ModuleTuningData) -> TileRuns:
    """Reads the tile configs of a kernel and their runtimes.

    Args:
        data: tuning data of a program that is one kernel.

    Returns:
        The runs without error and with a runtime above 1 ns, in file order.

    Raises:
        ProgramReadError: there are no such runs, or none of them is the default.
    """
    runs = [
        run
        for run in data.runs
        if run.WhichOneof("config") == "op_config"
        and not run.error
        and run.profile.compute_time_ns >= _SHORTEST_TILE_NANOSECONDS
    ]
    defaults = [run.profile.compute_time_ns for run in runs if run.is_default]
    if not defaults:
        raise ProgramReadError(
            f"tuning data of {data.module.name!r}: expected tile runs, one of them of the default tile, "
            f"found {len(runs)} runs and no default"
        )
    values = np.zeros((len(runs), features.TILE_FEATURES), dtype=np.float32)
    for index, run in enumerate(runs):
        tile = run.op_config.tile_size_config
        _put_bounds(values[index], features.KERNEL_BOUNDS, tile.kernel_bounds)
        _put_bounds(values[index], features.OUTPUT_BOUNDS, tile.output_bounds)
        _put_bounds(values[index], features.INPUT_BOUNDS, tile.input_bounds)
    normalizers = np.full(len(runs), min(defaults), dtype=np.int64)
    return TileRuns(TileConfigs(values), _nanoseconds(runs), normalizers)


def _put_bounds(row: NDArray[np.float32], columns: features.ListColumns, bounds: Sequence[int]) -> None:
    """Fills one group of eight columns; the product of an empty list is 0 here (and 1 in node features)."""
    if not bounds:
        return
    kept = bounds[: columns.kept]
    row[columns.start : columns.start + len(kept)] = kept
    entries = np.array(bounds, dtype=np.int64)
    row[columns.sum] = entries.sum()
    row[columns.product] = entries.prod()


def _nanoseconds(runs: Iterable[tuning_pb2.ConfigProfile]) -> NDArray[np.int64]:
    return np.array([run.profile.compute_time_ns for run in runs], dtype=np.int64)
