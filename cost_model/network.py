"""The GraphSAGE network that scores one (graph, config) pair, as it is trained. `scoring.py` computes the same faster.

Source: 2nd-place solution of Kaggle's "Google - Fast or Slow? Predict AI Model Runtime"; W. Hamilton et al., "Inductive
Representation Learning on Large Graphs", NeurIPS 2017 (arXiv 1706.02216).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from cost_model import features
from cost_model.architecture import LAYOUT_ENTRIES, NODE_WIDTH, OPCODE_WIDTH, Architecture, FeatureTransform

with warnings.catch_warnings():
    # torch_geometric 2.8 calls torch.jit.script, which torch 2.13 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.nn import SAGEConv


_CHANGE_SCALE: Final = 0.01
"""A config changes the values of many nodes, and their sum by tens: this makes it about one."""

_VARIANCE_FLOOR: Final = 1e-5
"""Added to a variance before its root is divided by, as in PyTorch's normalisations."""


class SageNetwork(nn.Module):
    r"""Scores (graph, config) pairs: lower is faster.

    A node starts as

    .. math:: h_v = \operatorname{relu}(W_{in} [W_{node} f(x_v) \,|\, E_{opcode(v)} \,|\, config_v] + b_{in})

    and every convolution computes, over the edges u -> v of `edge_index` (from a user to its producer),

    .. math:: h_v \leftarrow \operatorname{relu}(W_l \operatorname{mean}_{u \to v} h_u + b_l + W_r h_v \;(+\; h_v))

    The score of a graph is a linear function of each last :math:`h_v`, summed over its nodes, times `output_scale`;
    with `change_width`, plus a network of what the config changes in the sum of :math:`h_v`. With `late_width`, every
    config enters as the default one does, and the score gets a network of this sum over configurable nodes, where
    :math:`\hat h_v` is :math:`h_v` standardised over them (as in T. Cai et al., "GraphNorm", ICML 2021):

    .. math:: z = \sum_v (A \hat h_v + a) \odot B (config_v - default)

    z is standardised over the configs of the training, so that the activations after it cut where configs differ:
    without, most of them are on or off for all configs of a program, which leaves a linear function.

    Parameters are named as in the original code (`Architecture.parameter_shapes` lists them), so its state dicts fit.

    Args:
        architecture: widths and switches. `hops` is up to whoever gives it a graph (`cost_model.pruning`).
    """

    late_mean: Tensor
    late_variance: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.node_feat_embedding = nn.Linear(architecture.node_columns, NODE_WIDTH)
        self.node_opcode_embedding = nn.Embedding(features.EMBEDDED_OPCODES, OPCODE_WIDTH)
        fused = NODE_WIDTH + OPCODE_WIDTH + architecture.config_columns
        self.input_shaping = nn.Linear(fused, architecture.in_channels)
        if architecture.layout_embedding:
            self.layout_embedding = nn.Parameter(torch.randn(LAYOUT_ENTRIES, architecture.layout_embedding))
        widths = (architecture.in_channels, *architecture.channels)
        self.convs = nn.ModuleList(SAGEConv(*pair) for pair in itertools.pairwise(widths))
        self.output_shaping = nn.Linear(widths[-1], 1)
        if width := architecture.change_width:
            self.change_shaping = nn.Sequential(
                nn.Linear(widths[-1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
            )
        if late := architecture.late_width:
            self.late_nodes = nn.Linear(widths[-1], late)
            self.late_configs = nn.Linear(architecture.config_columns, late, bias=False)
            self.late_shaping = nn.Sequential(nn.ReLU(), nn.Linear(late, late), nn.ReLU(), nn.Linear(late, 1))
            self.register_buffer("late_mean", torch.zeros(late))
            self.register_buffer("late_variance", torch.ones(late))

    def forward(
        self,
        node_feat: Tensor,
        node_opcode: Tensor,
        edge_index: Tensor,
        config_feat: Tensor,
        batch: Tensor | None = None,
        graphs: int = 1,
    ) -> Tensor:
        """Scores every graph of a batch.

        Args:
            node_feat: raw features, float32[n, 140].
            node_opcode: ids, integers[n].
            edge_index: int64[2, m]; messages flow from row 0 to row 1.
            config_feat: the config row of every node, float32[n, k]; zeros on nodes that are not configurable.
            batch: the graph of every node, int64[n]; None when there is one.
            graphs: how many graphs there are.

        Returns:
            Scores, lower = faster; float32[graphs].
        """
        if batch is None:
            batch = torch.zeros_like(node_opcode, dtype=torch.long)
        # No layout is all zeros: such a row stands for a node that is not configurable.
        configurable = config_feat.any(dim=-1)
        default = features.UNDECIDED * configurable.to(config_feat).unsqueeze(-1).expand_as(config_feat)
        late = self.architecture.late_width > 0
        hidden = self.convolve(node_feat, node_opcode, edge_index, default if late else config_feat)
        nodes = self.output_shaping(hidden).squeeze(-1)
        scores: Tensor = self.architecture.output_scale * nodes.new_zeros(graphs).index_add(0, batch, nodes)
        if self.architecture.change_width:
            changes = hidden - self.convolve(node_feat, node_opcode, edge_index, default)
            scores = scores + self.score_changes(hidden.new_zeros(graphs, hidden.shape[1]).index_add(0, batch, changes))
        if late:
            owners = batch[configurable]
            counts = torch.bincount(owners, minlength=graphs).clamp(min=1).to(hidden).unsqueeze(-1)

            def means(rows: Tensor) -> Tensor:
                sums = rows.new_zeros(graphs, rows.shape[1]).index_add(0, owners, rows)
                return (sums / counts).index_select(0, owners)

            met = self.meet_configs(
                self.late_nodes(standardise(hidden[configurable], means)), config_feat[configurable]
            )
            scores = scores + self.score_late(met.new_zeros(graphs, met.shape[1]).index_add(0, owners, met))
        return scores

    def meet_configs(self, nodes: Tensor, config_feat: Tensor) -> Tensor:
        """What configurable nodes and their configs make together, for the late head.

        Args:
            nodes: `late_nodes` of their standardised last values, float32[n, late_width].
            config_feat: their config rows, float32[n, 18].

        Returns:
            float32[n, late_width]; 0 for a node that is left to the compiler.
        """
        default = torch.full_like(config_feat[:1], features.UNDECIDED)
        decided = self._encode_configs(config_feat) - self._encode_configs(default)
        met: Tensor = nodes * self.late_configs(decided)
        return met

    def score_late(self, sums: Tensor, *, observe: bool = False) -> Tensor:
        """The late head.

        Args:
            sums: what `meet_configs` gives, added up over the nodes of each graph, float32[c, late_width].
            observe: whether these are a batch of a training: then they are standardised with statistics of their own
                (on several devices those of each one's share), and the running ones are updated. Two configs or more.

        Returns:
            float32[c]; what it adds to the scores.

        Source: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015; without scale and shift, which the layers
        before and after it can express.
        """
        standard = functional.batch_norm(sums, self.late_mean, self.late_variance, training=observe)
        scores: Tensor = self.late_shaping(standard).squeeze(-1)
        return scores

    def score_changes(self, changes: Tensor) -> Tensor:
        """The second head.

        Args:
            changes: sum of the last values under a config minus that under the default, float32[c, channels[-1]].

        Returns:
            float32[c]; what it adds to the scores.
        """
        scores: Tensor = self.change_shaping(_CHANGE_SCALE * changes).squeeze(-1)
        return scores

    def convolve(self, node_feat: Tensor, node_opcode: Tensor, edge_index: Tensor, config_feat: Tensor) -> Tensor:
        """The values after the last convolution, float32[n, channels[-1]]; for the arguments see `forward`."""
        hidden = self.embed(node_feat, node_opcode, config_feat)
        for convolution in self.convs:
            update = convolution(hidden, edge_index)
            if self.architecture.residual and update.shape == hidden.shape:
                update = update + hidden
            hidden = functional.relu(update)
        return hidden

    def embed(self, node_feat: Tensor, node_opcode: Tensor, config_feat: Tensor) -> Tensor:
        """What enters the first convolution.

        Args:
            node_feat: raw features, float32[n, 140].
            node_opcode: ids, integers[n].
            config_feat: the config row of every node, float32[n, k].

        Returns:
            float32[n, in_channels].
        """
        return functional.relu(self.embed_nodes(node_feat, node_opcode) + self.embed_configs(config_feat))

    def embed_nodes(self, node_feat: Tensor, node_opcode: Tensor) -> Tensor:
        """The share of the nodes in what enters the first convolution, before the activation.

        Args:
            node_feat: raw features, float32[n, 140].
            node_opcode: ids, integers[n].

        Returns:
            float32[n, in_channels].
        """
        columns = transform_features(node_feat, self.architecture.feature_transform)
        if self.architecture.modulo:
            columns = torch.cat([columns, register_fill(node_feat[:, features.SHAPE_DIMENSIONS.entries])], dim=-1)
        node = self.node_feat_embedding(columns)
        opcode = self.node_opcode_embedding(embedded_opcodes(node_opcode))
        fused = torch.cat([node, opcode], dim=-1)
        return functional.linear(fused, self.input_shaping.weight[:, : fused.shape[1]], self.input_shaping.bias)

    def embed_configs(self, config_feat: Tensor) -> Tensor:
        """The share of the configs in what enters the first convolution, before the activation.

        Args:
            config_feat: config rows, float32[n, k].

        Returns:
            float32[n, in_channels].
        """
        encoded = self._encode_configs(config_feat)
        return functional.linear(encoded, self.input_shaping.weight[:, NODE_WIDTH + OPCODE_WIDTH :])

    def _encode_configs(self, config_feat: Tensor) -> Tensor:
        """Config rows as the linear layer reads them; float32[n, config_columns]."""
        if self.architecture.layout_embedding:
            entries = (config_feat.long() - features.UNDECIDED).clamp(max=LAYOUT_ENTRIES - 1)
            # A product with one-hot rows, whose gradient is the same in every run; that of a look-up is not on GPUs.
            chosen = functional.one_hot(entries, LAYOUT_ENTRIES).to(self.layout_embedding.dtype) @ self.layout_embedding
            # No layout is all zeros: such a row stands for a node that is not configurable.
            return chosen.flatten(-2) * config_feat.any(dim=-1, keepdim=True)
        if self.architecture.modulo and self.architecture.config_features == features.TILE_FEATURES:
            bounds = torch.cat([config_feat[:, group.entries] for group in features.TILE_BOUNDS], dim=-1)
            return torch.cat([config_feat, register_fill(bounds)], dim=-1)
        return config_feat


def standardise(values: Tensor, means: Callable[[Tensor], Tensor]) -> Tensor:
    """Values of the nodes of graphs, with a mean of 0 and a variance of 1 within each graph.

    Args:
        values: float32[n, width].
        means: gives for such rows the mean over the graph of each, same shape.

    Returns:
        float32[n, width]; 0 where all nodes of a graph are equal.
    """
    centred = values - means(values)
    return centred * torch.rsqrt(means(centred.square()) + _VARIANCE_FLOOR)


def transform_features(node_feat: Tensor, transform: FeatureTransform) -> Tensor:
    """Squeezes raw features, whose products reach 1e12, into a range that a linear layer can take.

    Args:
        node_feat: raw features, float32[n, 140].
        transform: see `FeatureTransform`.

    Returns:
        float32[n, 140].
    """
    if transform == "relu_log":
        return torch.log1p(torch.relu(node_feat))
    return torch.sign(node_feat) * torch.log1p(node_feat.abs())


def register_fill(sizes: Tensor) -> Tensor:
    """How full the last row of 128 lanes is that a dimension takes: ((x + 127) mod 128) / 128.

    Args:
        sizes: sizes of dimensions, float32 of any shape.

    Returns:
        0 for one element in the last row, 127/128 for a full one (and for a dimension that is not there).
    """
    return torch.remainder(sizes + 127, 128) / 128


def embedded_opcodes(node_opcode: Tensor) -> Tensor:
    """Rows of the opcode embedding; an id without a row has that of the unknown opcode (`features.EMBEDDED_OPCODES`).

    Args:
        node_opcode: ids, integers[n].

    Returns:
        int64[n].
    """
    opcodes = node_opcode.long()
    return torch.where(opcodes < features.EMBEDDED_OPCODES, opcodes, features.UNKNOWN_OPCODE)
