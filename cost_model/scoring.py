r"""The scores of `SageNetwork`, fast: many configs of one graph, without computing any hidden value twice.

`refinement.py` finds which values are distinct. Each convolution is then one matrix product over the distinct values
before it, with the weights of the mean and of the node itself side by side, and one weighted sum of rows of that
product per distinct value after it. The mean may be taken after the product because both are linear.

In bfloat16 a hidden value has three digits, fewer than the layouts of a program differ by. So only the values under
the first config, which are few, are computed in float32. The others are computed in bfloat16 as differences d from
them, and rounding is relative to d. A difference passes the activation as

.. math:: \operatorname{relu}(z + d) - \operatorname{relu}(z) = \max(d, -z) - \operatorname{relu}(-z)
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cost_model import features
from cost_model.base import check_fits
from cost_model.errors import GraphError
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph
from cost_model.network import SageNetwork, standardise
from cost_model.plan import Convolution, Plan, WeightedSums
from cost_model.pruning import prune
from cost_model.refinement import Refinement
from cost_model.rows import distinct_rows

Precision = Literal["float32", "bfloat16"]

_MEMORY: Final = 1 << 29
"""Bytes that the configs scored together may take, about."""

# What torch's own compiler calls for the same purpose. It is not documented, so there is a way around it.
_ONEDNN: Final[Any] = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class Scorer:
    """Scores batches of configs with the weights that a network has now.

    Args:
        network: the weights.
        device: where to compute, such as "cpu" or "cuda".
        precision: "float32" is exact; "bfloat16" is for processors with instructions for it (AMX, AVX-512 BF16, GPUs)
            and keeps the order of configs but for near ties. (With `late_width` all is float32: little is computed.)

    Raises:
        ValueError: another precision.
    """

    def __init__(
        self, network: SageNetwork, *, device: str | torch.device = "cpu", precision: Precision = "float32"
    ) -> None:
        self._device = torch.device(device)
        if precision not in get_args(Precision):
            raise ValueError(f"precision: expected one of {get_args(Precision)}, found {precision!r}")
        self._dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self._architecture = network.architecture
        self._network = copy.deepcopy(network).to(self._device)
        dtypes = tuple(dict.fromkeys((torch.float32, self._dtype)))
        self._convolutions = [
            _FastConvolution(network, layer, self._device, dtypes) for layer in range(len(network.convs))
        ]
        self._met: tuple[ProgramGraph, Tensor, Tensor] | None = None
        self._prepared: tuple[ProgramGraph, ProgramGraph, Refinement] | None = None

    @torch.inference_mode()
    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Scores configs; equal to the network's own output but for rounding.

        Args:
            graph: the program.
            configs: c configs of that program.

        Returns:
            Lower = faster; float32[c].

        Raises:
            GraphError: the configs do not belong to a graph like this.
        """
        check_fits(graph, configs)
        columns = features.LAYOUT_FEATURES if isinstance(configs, LayoutConfigs) else features.TILE_FEATURES
        if columns != self._architecture.config_features:
            raise GraphError(
                f"{type(configs).__name__}: expected configs with {self._architecture.config_features} columns, which "
                f"is what the network reads, found {columns}"
            )
        if self._architecture.late_width and isinstance(configs, LayoutConfigs):
            step = max(1, _MEMORY // max(1, 8 * self._architecture.late_width * len(graph.node_config_ids)))
            late = [self._score_late(graph, configs[start : start + step]) for start in range(0, len(configs), step)]
            return np.concatenate([np.zeros(0), *late]).astype(np.float32)
        graph, refinement = self._refine(graph)
        step = max(1, _MEMORY // max(1, refinement.bytes_per_config))
        parts = [
            self._score(graph, refinement, configs[start : start + step]) for start in range(0, len(configs), step)
        ]
        return np.concatenate([np.zeros(0), *parts]).astype(np.float32)

    def _score_late(self, graph: ProgramGraph, configs: LayoutConfigs) -> NDArray[np.float64]:
        """Lets configs meet their nodes after the convolutions."""
        constant, nodes = self._convolve(graph)
        rows = configs.node_config_feat
        columns, chosen, pairs = distinct_rows(rows)
        met = self._network.meet_configs(nodes[self._move(columns)], self._move(rows[chosen, columns]))
        scores = constant + self._network.score_late(functional.embedding_bag(self._move(pairs), met, mode="sum"))
        result: NDArray[np.float64] = scores.double().cpu().numpy()
        return result

    def _convolve(self, graph: ProgramGraph) -> tuple[Tensor, Tensor]:
        """The published head's score, and what the late head knows of each configurable node; kept as in `_refine`."""
        if self._met is None or self._met[0] is not graph:
            hops = self._architecture.hops
            seen = graph if hops is None else prune(graph, hops)
            default = np.zeros((len(seen), features.LAYOUT_FEATURES), np.float32)
            default[seen.node_config_ids] = features.UNDECIDED
            hidden = self._network.convolve(
                self._move(seen.node_feat),
                self._move(seen.node_opcode),
                self._move(seen.edge_index.T),
                self._move(default),
            )
            constant = self._architecture.output_scale * self._network.output_shaping(hidden).sum()
            configurable = hidden[self._move(seen.node_config_ids)]
            standard = standardise(configurable, lambda rows: rows.mean(0, keepdim=True))
            self._met = (graph, constant, self._network.late_nodes(standard))
        return self._met[1:]

    def _refine(self, graph: ProgramGraph) -> tuple[ProgramGraph, Refinement]:
        """The part of a graph that the network looks at. Keeps the last one only: a search scores one many times."""
        if self._prepared is None or self._prepared[0] is not graph:
            hops = self._architecture.hops
            seen = graph if hops is None else prune(graph, hops)
            everywhere = self._architecture.config_features == features.TILE_FEATURES
            self._prepared = (graph, seen, Refinement(seen, len(self._convolutions), everywhere=everywhere))
        return self._prepared[1:]

    def _score(self, graph: ProgramGraph, refinement: Refinement, configs: ConfigBatch) -> NDArray[np.float64]:
        """Scores as many configs at once as the memory allows, by halves if it must be."""
        # Layouts change a program here and there; tiles change every value, and differences from one of them are large.
        relative = self._dtype == torch.bfloat16 and isinstance(configs, LayoutConfigs)
        with_default = self._architecture.change_width > 0
        planned = configs.after_default() if with_default and isinstance(configs, LayoutConfigs) else configs
        plan = refinement.plan(planned, relative=relative)
        if self._bytes(plan) <= _MEMORY or len(configs) == 1:
            return self._run(graph, plan, relative)
        half = len(configs) // 2
        parts = [self._score(graph, refinement, configs[rows]) for rows in (slice(half), slice(half, None))]
        return np.concatenate(parts)

    def _bytes(self, plan: Plan) -> int:
        """The most that one convolution holds: its input, its product and its output."""
        widths = (self._architecture.in_channels, *self._architecture.channels)
        return 4 * max(
            before * (width_before + 2 * width) + after * width
            for (before, after), (width_before, width) in zip(
                itertools.pairwise(plan.sizes), itertools.pairwise(widths), strict=True
            )
        )

    def _run(self, graph: ProgramGraph, plan: Plan, relative: bool) -> NDArray[np.float64]:
        """Computes every distinct value once, and sums for each config; float64[c]."""
        values = self._network.embed(
            self._move(graph.node_feat[plan.nodes]),
            self._move(graph.node_opcode[plan.nodes]),
            self._move(plan.config_feat),
        )
        absolute = len(values) - len(plan.bases)
        whole = values[:absolute]
        changes = (values[absolute:] - whole[self._move(plan.bases)]).to(self._dtype)
        if not relative:
            whole = whole.to(self._dtype)
        for convolution, sums in zip(self._convolutions, plan.convolutions, strict=True):
            whole, changes = convolution(whole, changes, sums)
        head = self._network.output_shaping
        scores = head(whole.float()).squeeze(-1).double()
        bases = self._move(plan.convolutions[-1].bases)
        moved = (changes.float() @ head.weight[0]).double()
        scores = torch.cat([scores, scores[bases] + moved])
        still, active = self._move(plan.still), self._move(plan.active)
        total = self._architecture.output_scale * (scores[still].sum() + scores[active].sum(0))
        if self._architecture.change_width:
            table = torch.cat([whole.float(), whole[bases].float() + changes.float()])
            total = total[1:] + self._network.score_changes(_changes(table, active))
        result: NDArray[np.float64] = total.cpu().numpy()
        return result

    def _move(self, array: NDArray[np.generic]) -> Tensor:
        return torch.tensor(array, device=self._device)


class _FastConvolution:
    """One SAGEConv with residual and ReLU, over distinct values.

    Args:
        network: the network.
        layer: which of its convolutions.
        device: where to compute.
        dtypes: of the values that will be given.
    """

    def __init__(self, network: SageNetwork, layer: int, device: torch.device, dtypes: Sequence[torch.dtype]) -> None:
        received, kept, bias = (
            network.get_parameter(f"convs.{layer}.{name}").detach().to(device)
            for name in ("lin_l.weight", "lin_r.weight", "lin_l.bias")
        )
        self._width = len(bias)
        if network.architecture.residual and kept.shape[0] == kept.shape[1]:
            kept = kept + torch.eye(self._width, device=device)
        # The bias belongs to what a node keeps, which every sum has exactly once.
        weight, both_biases = torch.cat([received, kept]), torch.cat([torch.zeros_like(bias), bias])
        self._parameters = {dtype: (weight.to(dtype), both_biases.to(dtype)) for dtype in dtypes}

    def __call__(self, whole: Tensor, changes: Tensor, sums: Convolution) -> tuple[Tensor, Tensor]:
        """Computes the values after the convolution.

        Args:
            whole: float32 or bfloat16[k, width before].
            changes: values that are known as differences, bfloat16[d, width before].
            sums: how to combine them.

        Returns:
            The same after the convolution.
        """
        weight, bias = self._parameters[whole.dtype]
        total = self._sum(linear(whole, weight, bias), sums.values)
        if not len(sums.bases):
            return total.relu_(), changes.new_zeros((0, self._width))
        weight, _ = self._parameters[changes.dtype]
        moved = self._sum(functional.linear(changes, weight), sums.changes)
        floor = (-total).to(changes.dtype)[torch.from_numpy(sums.bases).to(total.device)]
        return total.relu_(), torch.maximum(moved, floor).sub_(floor.relu_())

    def _sum(self, product: Tensor, sums: WeightedSums) -> Tensor:
        rows, offsets, weights = (
            torch.from_numpy(array).to(product.device) for array in (sums.rows, sums.offsets, sums.weights)
        )
        return functional.embedding_bag(
            rows,
            product.view(-1, self._width),
            offsets,
            mode="sum",
            per_sample_weights=weights.to(product.dtype),
            include_last_offset=True,
        )


def _changes(table: Tensor, active: Tensor) -> Tensor:
    """How the sum of values changes from the first config to each other one, from those that change alone.

    Args:
        table: values, float32[k, width].
        active: the value of each node that a config may change, under each config; int64[a, c].

    Returns:
        float32[c - 1, width].
    """
    default, others = active[:, 0], active[:, 1:].T
    configs, nodes = torch.nonzero(others != default, as_tuple=True)
    counts = torch.bincount(configs, minlength=len(others))
    rows = torch.stack([others[configs, nodes], default[nodes]], dim=1)
    signs = torch.ones_like(rows, dtype=table.dtype)
    signs[:, 1] = -1
    offsets = torch.cat([counts.new_zeros(1), 2 * counts.cumsum(0)])
    return functional.embedding_bag(
        rows.flatten(), table, offsets, mode="sum", per_sample_weights=signs.flatten(), include_last_offset=True
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`functional.linear`, in float32 on CPUs through oneDNN: 1.7 times as fast as MKL on an AMD EPYC (Zen 5)."""
    if _ONEDNN is not None and rows.device.type == "cpu" and rows.dtype == torch.float32:
        product: Tensor = _ONEDNN(rows, weight, bias, "none", [], "")
        return product
    return functional.linear(rows, weight, bias)
