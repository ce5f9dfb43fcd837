"""The runs of TpuGraphs tuning data, as batches of configs with their runtimes; and configs as such runs have them.

Runs that failed are left out, as in the published data set (`process_data/xla/tuning_data_iterator.cc` of tpu_graphs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotune.errors import ProgramReadError
from autotune.hlo.graph import program_graph
from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from cost_model import GraphError, LayoutConfigs, TileConfigs, features
from cost_model.npz import TuningArrays
from protos import hlo_pb2, tuning_pb2

_LAYOUT, _TILE = "module_config", "op_config"
"""The two kinds of runs, as the fields of `ConfigProfile`."""

# A run that took no time was not run; of tile runs, one of 1 ns neither (tuning_data_iterator.cc).
_SHORTEST_NANOSECONDS = {_LAYOUT: 1, _TILE: 2}

SHORTEST_NANOSECONDS = max(_SHORTEST_NANOSECONDS.values())
"""What a run of either kind must have taken to count as one."""


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
        normalizers: runtime of the default tile (of its first run), int64[c], ns. Models learn runtimes / normalizers.
    """

    configs: TileConfigs
    runtimes: NDArray[np.int64]
    normalizers: NDArray[np.int64]


def tuning_arrays(program: Program) -> TuningArrays:
    """Turns a program, and the runs in the tuning data it came from, into arrays.

    Args:
        program: as its file has it (read with `keep_optimised=True`): runs name nodes by their place in the file.

    Returns:
        The graph, and the configs and runtimes of all runs without error; the graph alone if there are none.

    Raises:
        ProgramReadError: runs contradict the program or each other, or no tile run is of the default tile; or the
            program was un-fused, so that its nodes are no longer those of the runs.
    """
    graph = program_graph(program)
    data = tuning_pb2.ModuleTuningData.FromString(program.tuning or b"")
    if data.runs and data.module.SerializeToString(deterministic=True) != program.module:
        raise ProgramReadError(
            f"tuning data of {program.name!r}: the program was changed while reading, so the runs belong to "
            "other nodes; read it with keep_optimised=True"
        )
    usable = {kind: len(_usable(data, kind)) for kind in (_LAYOUT, _TILE)}
    if all(usable.values()):
        raise ProgramReadError(
            f"tuning data of {program.name!r}: expected runs of layouts or of tiles, "
            f"found {usable[_LAYOUT]} of layouts and {usable[_TILE]} of tiles"
        )
    try:
        if usable[_LAYOUT]:
            layouts = layout_configs_from_tuning(data)
            graph = dataclasses.replace(graph, node_config_ids=layouts.node_config_ids)
            return TuningArrays(graph, layouts.configs, layouts.runtimes)
        if usable[_TILE]:
            tiles = tile_configs_from_tuning(data)
            return TuningArrays(graph, tiles.configs, tiles.runtimes, tiles.normalizers)
    except GraphError as error:
        raise ProgramReadError(f"tuning data of {program.name!r}: {error}") from None
    return TuningArrays(graph)


def layout_configs_from_tuning(data: tuning_pb2.ModuleTuningData) -> LayoutRuns:
    """Reads the layout configs of a program and their runtimes.

    Args:
        data: tuning data of a whole program.

    Returns:
        The runs without error, in file order.

    Raises:
        ProgramReadError: there are no layout runs, or a run does not fit the list of configurable nodes.
        GraphError: a layout has an entry that is no dimension.
    """
    nodes = np.array(data.config_index_to_node, dtype=np.uint64).astype(np.int64)
    runs = _usable(data, _LAYOUT)
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
            if len(layout.tensors) > len(features.LAYOUT_TENSORS):
                raise ProgramReadError(
                    f"tuning data of {data.module.name!r}: expected layouts of {len(features.LAYOUT_TENSORS)} tensors "
                    f"at most, found {len(layout.tensors)} at node {nodes[place]}"
                )
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
        GraphError: a bound is below 0.
    """
    runs = _usable(data, _TILE)
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
    normalizers = np.full(len(runs), defaults[0], dtype=np.int64)
    return TileRuns(TileConfigs(values), _nanoseconds(runs), normalizers)


def configurable_nodes(module: hlo_pb2.HloModuleProto) -> dict[int, int]:
    """The nodes that have layouts to choose, in file order, and how many of their tensors have: an output, and inputs.

    Published runs list an input for each operand, and no more than two.
    """
    inputs = len(features.LAYOUT_TENSORS) - 1
    return {
        node: 1 + min(inputs, len(instruction.operand_ids))
        for node, instruction in enumerate(instructions(module))
        if instruction.opcode in features.CONFIGURABLE_OPCODES
    }


def layouts_to_tuning(configs: LayoutConfigs, tensors: Iterable[int]) -> list[tuning_pb2.HloModuleConfig]:
    """Layout configs as runs have them: the inverse of `layout_configs_from_tuning`.

    Args:
        configs: c configs of nc configurable nodes.
        tensors: how many tensors each of these nodes has (see `configurable_nodes`); what a config has beyond them
            is padding.

    Returns:
        One message per config. A tensor that the compiler decides on has no dimensions.
    """
    counts = list(tensors)
    messages = []
    for nodes in configs.node_config_feat:
        message = tuning_pb2.HloModuleConfig()
        message.layout_config.SetInParent()
        for row, count in zip(nodes, counts, strict=True):
            node = message.layout_config.nodes.add()
            for columns in features.LAYOUT_TENSORS[:count]:
                order = row[columns.entries]
                node.tensors.add(dims=order[order != features.UNDECIDED].astype(int).tolist())
        messages.append(message)
    return messages


def tiles_to_tuning(configs: TileConfigs) -> list[tuning_pb2.HloOpConfig | None]:
    """Tile configs as runs have them: the inverse of `tile_configs_from_tuning`.

    Args:
        configs: c configs.

    Returns:
        One message per config; None for one without a tile (a library), and for one that has more bounds than there
        are columns for, so that they are not known.
    """
    return [_tile_to_tuning(row) for row in configs.config_feat]


def _tile_to_tuning(row: NDArray[np.float32]) -> tuning_pb2.HloOpConfig | None:
    message, again = tuning_pb2.HloOpConfig(), np.zeros_like(row)
    tile = message.tile_size_config
    for columns, bounds in (
        (features.KERNEL_BOUNDS, tile.kernel_bounds),
        (features.OUTPUT_BOUNDS, tile.output_bounds),
        (features.INPUT_BOUNDS, tile.input_bounds),
    ):
        entries = row[columns.entries]
        bounds.extend(entries[entries > 0].astype(int).tolist())  # no dimension has a bound of 0
        _put_bounds(again, columns, bounds)
    return message if row.any() and np.array_equal(again, row) else None


def _usable(data: tuning_pb2.ModuleTuningData, kind: str) -> list[tuning_pb2.ConfigProfile]:
    """The runs of one kind that did not fail, in file order."""
    return [
        run
        for run in data.runs
        if run.WhichOneof("config") == kind
        and not run.error
        and run.profile.compute_time_ns >= _SHORTEST_NANOSECONDS[kind]
    ]


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
