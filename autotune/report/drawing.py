"""The graph around the changed nodes as coordinates: layers from producers to users, one drawing per connected part.

Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system structures" (1981):
layers by longest path, a bend in every layer that an edge crosses, and sweeps that order a layer by its neighbours.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.report.explanation import Edge, Neighbourhood, Node

BOX_WIDTH, BOX_HEIGHT = 148, 60
_COLUMN, _ROW, _BEND = 164, 112, 26
_MARGIN = 10
_SWEEPS = 8


@dataclass(frozen=True)
class Box:
    """A node and the middle of its box, in pixels."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """An edge: an SVG path, and where its label stands."""

    edge: Edge
    path: str
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Drawing:
    """One connected part of the graph, in pixels."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


Vertex = tuple[int, int]
"""A node id and 0, or an edge's number (negative, from -1) and the layer of the bend."""


def drawings(graph: Neighbourhood) -> list[Drawing]:
    """A drawing for every connected part, the largest first."""
    parts = _parts(graph)
    found = []
    for nodes in sorted(parts, key=len, reverse=True):
        edges = [edge for edge in graph.edges if edge.user in nodes]
        found.append(_draw([node for node in graph.nodes if node.id in nodes], edges))
    return found


def _parts(graph: Neighbourhood) -> list[set[int]]:
    part_of = {node.id: {node.id} for node in graph.nodes}
    for edge in graph.edges:
        first, second = part_of[edge.producer], part_of[edge.user]
        if first is not second:
            first |= second
            part_of.update(dict.fromkeys(second, first))
    return list({id(part): part for part in part_of.values()}.values())


def _draw(nodes: Sequence[Node], edges: Sequence[Edge]) -> Drawing:
    layers = _layers(nodes, edges)
    vertex_layer: dict[Vertex, int] = {(node.id, 0): layers[node.id] for node in nodes}
    chains: list[list[Vertex]] = []
    for number, edge in enumerate(edges, 1):
        bends = [(-number, layer) for layer in range(layers[edge.producer] + 1, layers[edge.user])]
        vertex_layer |= {bend: bend[1] for bend in bends}
        chains.append([(edge.producer, 0), *bends, (edge.user, 0)])
    x = _columns(vertex_layer, chains)
    y = {vertex: _MARGIN + BOX_HEIGHT / 2 + layer * _ROW for vertex, layer in vertex_layer.items()}
    lowest = max(y.values(), default=0.0) + BOX_HEIGHT / 2 + _MARGIN
    boxes = tuple(Box(node, x[node.id, 0], y[node.id, 0]) for node in nodes)
    lines = tuple(_line(edge, [(x[v], y[v]) for v in chain]) for edge, chain in zip(edges, chains, strict=True))
    return Drawing(max(x.values(), default=0.0) + BOX_WIDTH / 2 + _MARGIN, lowest, boxes, lines)


def _layers(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[int, int]:
    """By longest path from a source; a source stands just above its first user."""
    above, below = defaultdict(list), defaultdict(list)
    for edge in edges:
        above[edge.user].append(edge.producer)
        below[edge.producer].append(edge.user)
    layer: dict[int, int] = {}
    for node in sorted(node.id for node in nodes):  # operands stand before their users in a file
        layer[node] = max((layer.get(producer, 0) + 1 for producer in above[node]), default=0)
    for node in layer:
        if not above[node] and below[node]:
            layer[node] = min(layer[user] for user in below[node]) - 1
    lowest = min(layer.values(), default=0)
    return {node: depth - lowest for node, depth in layer.items()}


def _columns(vertex_layer: Mapping[Vertex, int], chains: Sequence[Sequence[Vertex]]) -> dict[Vertex, float]:
    """The middle of every vertex; neighbours pull, and a layer keeps its distances."""
    near: dict[Vertex, list[Vertex]] = defaultdict(list)
    for chain in chains:
        for first, second in itertools.pairwise(chain):
            near[first].append(second)
            near[second].append(first)
    rows: dict[int, list[Vertex]] = defaultdict(list)
    for vertex, layer in vertex_layer.items():
        rows[layer].append(vertex)
    x: dict[Vertex, float] = {v: _COLUMN * place for row in rows.values() for place, v in enumerate(row)}
    for sweep in range(2 * _SWEEPS):
        for layer in sorted(rows, reverse=bool(sweep % 2)):
            side = layer + 1 if sweep % 2 else layer - 1
            wanted = {}
            for vertex in rows[layer]:
                others = [x[v] for v in near[vertex] if vertex_layer[v] == side or sweep >= _SWEEPS]
                wanted[vertex] = sum(others) / len(others) if others else x[vertex]
            rows[layer].sort(key=wanted.__getitem__)
            x |= _spread(rows[layer], wanted)
    left = min((place - _half(vertex) for vertex, place in x.items()), default=0.0)
    return {vertex: place - left + _MARGIN for vertex, place in x.items()}


def _spread(row: Sequence[Vertex], wanted: Mapping[Vertex, float]) -> dict[Vertex, float]:
    """Places in the given order, as near to the wanted ones as the widths allow."""
    places: list[float] = []
    for index, vertex in enumerate(row):
        least = places[-1] + _half(row[index - 1]) + _half(vertex) if places else wanted[vertex]
        places.append(max(wanted[vertex], least))
    shift = sum(wanted[vertex] - place for vertex, place in zip(row, places, strict=True)) / max(1, len(row))
    return {vertex: place + shift for vertex, place in zip(row, places, strict=True)}


def _half(vertex: Vertex) -> float:
    return (_COLUMN if vertex[0] >= 0 else _BEND) / 2


def _line(edge: Edge, points: Sequence[tuple[float, float]]) -> Line:
    """A smooth path from below the producer to above the user, through the bends."""
    half = BOX_HEIGHT / 2
    (first_x, first_y), (last_x, last_y) = points[0], points[-1]
    stops = [(first_x, first_y + half), *points[1:-1], (last_x, last_y - half - 3)]
    path = f"M{stops[0][0]:.1f},{stops[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(stops):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    (x0, y0), (x1, y1) = stops[-2], stops[-1]
    return Line(edge, path, (x0 + x1) / 2, (y0 + y1) / 2)
