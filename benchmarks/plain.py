"""Scoring as the original code does it: the graph is copied for every config, and every copy is computed in full."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cost_model import ConfigBatch, ProgramGraph, TileConfigs
from cost_model.network import SageNetwork


def config_rows(graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
    """The config row of every node: a tile is on all nodes, a layout on its own; float32[c, n, k]."""
    if isinstance(configs, TileConfigs):
        return np.repeat(configs.config_feat[:, np.newaxis], len(graph), axis=1)
    rows = np.zeros((len(configs), len(graph), configs.node_config_feat.shape[-1]), np.float32)
    rows[:, graph.node_config_ids] = configs.node_config_feat
    return rows


def plain_scores(network: SageNetwork, graph: ProgramGraph, configs: ConfigBatch) -> Tensor:
    """Scores as in training: one copy of the graph per config, in one batch.

    Args:
        network: the network.
        graph: the program.
        configs: c configs.

    Returns:
        float32[c], with gradients.
    """
    rows = config_rows(graph, configs)
    copies = torch.arange(len(configs))
    edges = torch.tensor(graph.edge_index.T).unsqueeze(1) + len(graph) * copies.unsqueeze(1)
    scores: Tensor = network(
        torch.tensor(graph.node_feat).repeat(len(configs), 1),
        torch.tensor(graph.node_opcode).repeat(len(configs)),
        edges.reshape(2, -1),
        torch.tensor(rows).reshape(-1, rows.shape[-1]),
        copies.repeat_interleave(len(graph)),
        len(configs),
    )
    return scores
