"""Small networks with random weights, random programs to score, and the network written a second time, in numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs, features
from cost_model.architecture import Architecture
from cost_model.network import SageNetwork

Weights = Mapping[str, NDArray[np.float64]]

NARROW = Architecture(features.LAYOUT_FEATURES, in_channels=5, channels=(5, 7), output_scale=1e-3)
"""Layouts; the first convolution has a residual, the second cannot."""

PLAIN = Architecture(features.LAYOUT_FEATURES, 4, (6, 6), residual=False, feature_transform="relu_log")
"""Layouts, everything that the submitted code did otherwise."""

TILE = Architecture(features.TILE_FEATURES, in_channels=6, channels=(6, 6, 8))

CHANGE = dataclasses.replace(NARROW, change_width=5)
"""A second head, which needs the graph without a config as well."""

LATE = dataclasses.replace(NARROW, late_width=5)
"""Configs meet their nodes after the convolutions."""

SMALL = {"narrow": NARROW, "plain": PLAIN, "tile": TILE, "change": CHANGE, "late": LATE}


def random_network(architecture: Architecture, seed: int = 0) -> SageNetwork:
    """A network with weights of He's spread, biases too, so that no value is small because it starts at 0."""
    network = SageNetwork(architecture)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, (2 / parameter.shape[-1]) ** 0.5, generator=generator)
        for statistic in network.buffers():
            statistic.uniform_(0.5, 2.0, generator=generator)
    return network


def random_graph(seed: int = 0, nodes: int = 12, edges: int = 20, configurable: int = 4) -> ProgramGraph:
    """Any features, opcodes (with and without a row of their own) and edges; some nodes have no edge."""
    random = np.random.default_rng(seed)
    pairs = np.unique(random.integers(0, nodes, (edges, 2)), axis=0)
    return ProgramGraph(
        node_feat=np.round(random.normal(0, 1, (nodes, features.NODE_FEATURES)) * 10 ** random.uniform(0, 4)).astype(
            "f4"
        ),
        node_opcode=random.integers(0, 256, nodes, dtype=np.uint8),
        edge_index=pairs[pairs[:, 0] != pairs[:, 1]].astype(np.int64),
        node_config_ids=np.sort(random.choice(nodes, configurable, replace=False)).astype(np.int64),
        node_splits=np.array([0, nodes], np.int64),
    )


def random_configs(architecture: Architecture, graph: ProgramGraph, count: int, seed: int = 0) -> ConfigBatch:
    """Tiles, or layouts of the graph, as the architecture reads."""
    random = np.random.default_rng(seed)
    if architecture.config_features == features.TILE_FEATURES:
        return TileConfigs(random.integers(0, 9, (count, features.TILE_FEATURES)).astype(np.float32))
    shape = (count, len(graph.node_config_ids), features.LAYOUT_FEATURES)
    return LayoutConfigs(random.integers(-1, 6, shape).astype(np.float32))


def config_rows(graph: ProgramGraph, configs: ConfigBatch, config: int) -> NDArray[np.float32]:
    """The config row of every node, float32[n, k]: a tile is copied to all, a layout stands on its own nodes only."""
    if isinstance(configs, TileConfigs):
        return np.tile(configs.config_feat[config], (len(graph), 1))
    rows = np.zeros((len(graph), features.LAYOUT_FEATURES), np.float32)
    rows[graph.node_config_ids] = configs.node_config_feat[config]
    return rows


def inputs(graph: ProgramGraph, configs: ConfigBatch, config: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `SageNetwork.forward` takes for one config of one graph."""
    return (
        torch.tensor(graph.node_feat),
        torch.tensor(graph.node_opcode),
        torch.tensor(graph.edge_index.T.copy()),
        torch.tensor(config_rows(graph, configs, config)),
    )


def plain_scores(network: SageNetwork, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
    """The network's own scores, one config after the other; float32[c]."""
    with torch.inference_mode():
        scores = [network(*inputs(graph, configs, config)).item() for config in range(len(configs))]
    return np.array(scores, np.float32)


def weights_of(network: SageNetwork) -> Weights:
    return {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}


def reference_hidden(
    weights: Weights, architecture: Architecture, graph: ProgramGraph, rows: NDArray[Any]
) -> NDArray[np.float64]:
    """The last hidden value of every node, node by node in float64, as recipes.md says it; float64[n, width]."""
    hidden = [
        _initial(weights, architecture, graph.node_feat[node], int(graph.node_opcode[node]), rows[node])
        for node in range(len(graph))
    ]
    for layer in range(len(architecture.channels)):
        neighbour_weight, bias, own_weight = (
            weights[f"convs.{layer}.{name}"] for name in ("lin_l.weight", "lin_l.bias", "lin_r.weight")
        )
        before, hidden = hidden, []
        for node, own in enumerate(before):
            messages = [before[sender] for sender, receiver in graph.edge_index if receiver == node]
            mean = sum(messages) / len(messages) if messages else np.zeros_like(own)
            value = neighbour_weight @ mean + bias + own_weight @ own
            if architecture.residual and len(value) == len(own):
                value = value + own
            hidden.append(np.maximum(value, 0))
    return np.array(hidden)


def reference_score(weights: Weights, architecture: Architecture, graph: ProgramGraph, rows: NDArray[Any]) -> float:
    """The score, in float64."""
    default = np.where(rows.any(axis=1, keepdims=True), -1.0, 0.0) * np.ones_like(rows)
    entering = default if architecture.late_width else rows
    hidden = reference_hidden(weights, architecture, graph, entering)
    nodes = hidden @ weights["output_shaping.weight"][0] + weights["output_shaping.bias"][0]
    score = float(architecture.output_scale * nodes.sum())
    if architecture.change_width:
        value = (hidden - reference_hidden(weights, architecture, graph, default)).sum(axis=0) / 100
        for layer in (0, 2, 4):
            value = weights[f"change_shaping.{layer}.weight"] @ value + weights[f"change_shaping.{layer}.bias"]
            value = np.maximum(value, 0) if layer < 4 else value
        score += float(value[0])
    if architecture.late_width:
        score += _reference_late(weights, hidden[graph.node_config_ids], rows[graph.node_config_ids])
    return score


def _reference_late(weights: Weights, hidden: NDArray[np.float64], rows: NDArray[Any]) -> float:
    """The late head without `layout_embedding`, whose layouts count from the default, -1."""
    standard = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    total = np.zeros_like(weights["late_mean"])
    for node, row in zip(standard, rows, strict=True):
        known = weights["late_nodes.weight"] @ node + weights["late_nodes.bias"]
        total += known * (weights["late_configs.weight"] @ (row.astype(np.float64) + 1))
    value = np.maximum((total - weights["late_mean"]) / np.sqrt(weights["late_variance"] + 1e-5), 0)
    value = np.maximum(weights["late_shaping.1.weight"] @ value + weights["late_shaping.1.bias"], 0)
    return float((weights["late_shaping.3.weight"] @ value + weights["late_shaping.3.bias"])[0])


def _initial(
    weights: Weights, architecture: Architecture, raw: NDArray[np.float32], opcode: int, config: NDArray[Any]
) -> NDArray[np.float64]:
    """A node's value before the first convolution; opcodes from 120 on have the row of the unknown one, 0."""
    values = raw.astype(np.float64)
    if architecture.feature_transform == "signed_log":
        values = np.sign(values) * np.log(1 + np.abs(values))
    else:
        values = np.log(1 + np.maximum(values, 0))
    node = weights["node_feat_embedding.weight"] @ values + weights["node_feat_embedding.bias"]
    embedding = weights["node_opcode_embedding.weight"][opcode if opcode < 120 else 0]
    joined = weights["input_shaping.weight"] @ np.concatenate([node, embedding, config]) + weights["input_shaping.bias"]
    return np.asarray(np.maximum(joined, 0))


def few_layouts(graph: ProgramGraph, count: int, seed: int) -> LayoutConfigs:
    """Configs that agree in most rows, as those of a search do."""
    random = np.random.default_rng(seed)
    rows = np.full((count, len(graph.node_config_ids), 18), -1, np.float32)
    rows[..., 0] = random.choice([-1, 0, 1], rows.shape[:2], p=[0.6, 0.3, 0.1])
    return LayoutConfigs(rows)
