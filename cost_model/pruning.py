"""Leaving out the nodes of a program that are far from everything that can be configured.

Source: the 1st-place solution of Kaggle's "Google - Fast or Slow?", which needed a quarter of the memory that way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cost_model.graph import ProgramGraph


def prune(graph: ProgramGraph, hops: int) -> ProgramGraph:
    """Keeps the nodes within some edges of a configurable node, whichever way the edges point, and edges among them.

    Args:
        graph: the program.
        hops: how many edges away; 0 keeps the configurable nodes alone.

    Returns:
        A graph with as many configurable nodes, in the same order, so that configs of `graph` fit it. The graph itself
        if nothing is left out, or if nothing is configurable.
    """
    kept = _within(graph, hops)
    if kept.all() or not kept.any():
        return graph
    place = np.cumsum(kept) - 1
    edges = graph.edge_index[kept[graph.edge_index].all(axis=1)]
    before = np.concatenate([[0], np.cumsum(kept)])
    return ProgramGraph(
        node_feat=graph.node_feat[kept],
        node_opcode=graph.node_opcode[kept],
        edge_index=place[edges],
        node_config_ids=place[graph.node_config_ids],
        node_splits=before[graph.node_splits],
    )


def _within(graph: ProgramGraph, hops: int) -> NDArray[np.bool_]:
    """The nodes to keep; bool[n]."""
    kept = np.zeros(len(graph), bool)
    kept[graph.node_config_ids] = True
    users, producers = graph.edge_index.T
    for _ in range(hops):
        reached = kept.copy()
        reached[producers[kept[users]]] = True
        reached[users[kept[producers]]] = True
        if (reached == kept).all():
            break
        kept = reached
    return kept
