"""Small graphs written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cost_model import LayoutConfigs, ProgramGraph, TileConfigs, features


@dataclass(frozen=True)
class Node:
    """One instruction: what it computes, of which size, from which nodes (by position)."""

    opcode: str
    dimensions: tuple[int, ...] = ()
    operands: tuple[int, ...] = ()
    calls: tuple[int, ...] = ()
    element_type: str = "F32"
    order: tuple[int, ...] = ()
    root: bool = False
    columns: Mapping[int, float] = field(default_factory=dict)


def make_graph(*nodes: Node) -> ProgramGraph:
    """The graph of these nodes; the configurable ones are found by their opcodes."""
    values = np.zeros((len(nodes), features.NODE_FEATURES), np.float32)
    for row, node in zip(values, nodes, strict=True):
        row[features.IS_ROOT] = node.root
        row[features.ELEMENT_TYPE.start + features.ELEMENT_TYPES.index(node.element_type)] = 1
        row[features.SHAPE_DIMENSIONS.start : features.SHAPE_DIMENSIONS.start + len(node.dimensions)] = node.dimensions
        row[features.SHAPE_DIMENSIONS.sum] = sum(node.dimensions)
        row[features.SHAPE_DIMENSIONS.product] = np.prod(node.dimensions, dtype=np.int64)
        row[features.WINDOW_SIZE.product] = row[features.WINDOW_BASE_DILATION.product] = 1
        row[features.MINOR_TO_MAJOR.start : features.MINOR_TO_MAJOR.start + len(node.order)] = node.order
        for column, value in node.columns.items():
            row[column] = value
    edges = sorted({(user, other) for user, node in enumerate(nodes) for other in (*node.operands, *node.calls)})
    configurable = [i for i, node in enumerate(nodes) if node.opcode in features.CONFIGURABLE_OPCODES]
    return ProgramGraph(
        node_feat=values,
        node_opcode=np.array([features.OPCODE_IDS[node.opcode] for node in nodes], np.uint8),
        edge_index=np.array(edges, np.int64).reshape(-1, 2),
        node_config_ids=np.array(configurable, np.int64),
        node_splits=np.array([0, len(nodes)], np.int64),
    )


def product_graph(m: int, k: int, n: int, element_type: str = "F32") -> ProgramGraph:
    """A kernel around one dot: [m, k] times [k, n]."""
    return make_graph(
        Node("parameter", (m, k), element_type=element_type),
        Node("parameter", (k, n), element_type=element_type),
        Node("dot", (m, n), (0, 1), element_type=element_type, root=True),
    )


def layout_configs(graph: ProgramGraph, *configs: Mapping[tuple[int, int], tuple[int, ...]]) -> LayoutConfigs:
    """Configs from mappings (row of the configurable node, tensor 0 to 2) -> minor-to-major order."""
    values = np.full((len(configs), len(graph.node_config_ids), features.LAYOUT_FEATURES), -1, np.float32)
    for config, value in zip(configs, values, strict=True):
        for (row, tensor), order in config.items():
            start = features.LAYOUT_TENSORS[tensor].start
            value[row, start : start + len(order)] = order
    return LayoutConfigs(values)


def cpu_tiles(*tiles: tuple[int, int, int], lanes: Sequence[int] = ()) -> TileConfigs:
    """Register tiles (m, k, width in elements), and lanes of their vectors; (0, 0, 0) is the library."""
    values = tile_configs(*(((n, k), (n, m), (k, m)) if m else ((), (), ()) for m, k, n in tiles)).config_feat.copy()
    values[: len(lanes), features.CPU_TILE_LANES] = lanes
    return TileConfigs(values)


def tile_configs(*tiles: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> TileConfigs:
    """Tiles from (kernel, output, input) bounds."""
    values = np.zeros((len(tiles), features.TILE_FEATURES), np.float32)
    groups = (features.KERNEL_BOUNDS, features.OUTPUT_BOUNDS, features.INPUT_BOUNDS)
    for row, tile in zip(values, tiles, strict=True):
        for group, bounds in zip(groups, tile, strict=True):
            if bounds:
                row[group.start : group.start + len(bounds)] = bounds
                row[group.sum], row[group.product] = sum(bounds), np.prod(bounds)
    return TileConfigs(values)
