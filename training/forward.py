"""The scores of a batch of slates with exact gradients, computed over distinct values only (`plans.py`).

Equal to `SageNetwork.forward` on one copy of the graph per config, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from cost_model import scoring
from cost_model.network import SageNetwork, standardise
from training.plans import BatchPlan, ConvolutionPlan, LatePlan, Sums


def batch_scores(
    network: SageNetwork, plan: BatchPlan, dtype: torch.dtype = torch.float32, *, observe: bool = False
) -> Tensor:
    """Scores every config of a batch.

    Args:
        network: the network.
        plan: the batch, on the network's device.
        dtype: of the values between convolutions and of their products: float32, or bfloat16 with sums in the
            products accumulated in float32. Initial values, the head and all parameters keep the network's own type.
        observe: whether the batch is one of a training, for running statistics (`SageNetwork.score_late`).

    Returns:
        Scores in the order of the slates, lower = faster; float32[configs].
    """
    nodes = network.embed_nodes(plan.node_feat, plan.node_opcode)
    values = functional.relu(weighted_sums(nodes, plan.nodes) + network.embed_configs(plan.config_feat)).to(dtype)
    for layer, convolution in enumerate(plan.convolutions):
        values = _convolve(network, layer, values, convolution)
    head = network.output_shaping
    final = functional.linear(values.to(head.weight.dtype), head.weight, head.bias)
    scores: Tensor = network.architecture.output_scale * weighted_sums(final, plan.scores).squeeze(-1)
    if network.architecture.change_width:
        if plan.changes is None:
            raise ValueError("plan: expected one with the default of each slate (with_default=True), found one without")
        scores = scores + network.score_changes(weighted_sums(values.to(head.weight.dtype), plan.changes))
    if network.architecture.late_width:
        if plan.late is None:
            raise ValueError("plan: expected one with configs after the convolutions (late=True), found another")
        scores = scores + network.score_late(
            _late_sums(network, values.to(head.weight.dtype), plan.late), observe=observe
        )
    return scores


def _late_sums(network: SageNetwork, values: Tensor, plan: LatePlan) -> Tensor:
    """What the late head scores, from the final values; [configs, late_width]."""

    def means(rows: Tensor) -> Tensor:
        return weighted_sums(weighted_sums(rows, plan.means), plan.graphs)

    nodes = network.late_nodes(standardise(weighted_sums(values, plan.nodes), means))
    return weighted_sums(network.meet_configs(weighted_sums(nodes, plan.pairs), plan.config_feat), plan.sums)


def _convolve(network: SageNetwork, layer: int, values: Tensor, plan: ConvolutionPlan) -> Tensor:
    """One SAGEConv with residual and ReLU."""
    names = (f"convs.{layer}.{name}" for name in ("lin_l.weight", "lin_r.weight", "lin_l.bias"))
    received, kept, bias = cast(Iterable[Tensor], map(network.get_parameter, names))
    if network.architecture.residual and kept.shape[0] == kept.shape[1]:
        kept = kept + torch.eye(len(kept), device=kept.device)
    senders = values if plan.senders is None else values.index_select(0, plan.senders)
    # The bias belongs to what a node keeps, which every sum has exactly once.
    table = torch.cat([_linear(values, kept, bias), _linear(senders, received, None)])
    return functional.relu(weighted_sums(table, plan.sums), inplace=True)


def _linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if values.dtype == torch.float32:
        zeros = torch.zeros(len(weight), device=values.device)
        result: Tensor = _Linear.apply(values, weight, zeros if bias is None else bias)  # type: ignore[no-untyped-call]
        return result
    return functional.linear(values, weight.to(values.dtype), None if bias is None else bias.to(values.dtype))


class _Linear(torch.autograd.Function):
    """`functional.linear` through whichever library is fast on this processor (`cost_model.scoring.linear`)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(values, weight)
        return scoring.linear(values, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        values, weight = ctx.saved_tensors
        zeros = torch.zeros(weight.shape[1], device=weight.device)
        return scoring.linear(gradient, weight.t(), zeros), gradient.t() @ values, gradient.sum(0)


def weighted_sums(table: Tensor, sums: Sums) -> Tensor:
    """Sums of rows of a table.

    Args:
        table: float32 or bfloat16[t, width].
        sums: which rows, with which weights.

    Returns:
        [k, width] of the table's type.
    """
    result: Tensor = _WeightedSums.apply(table, sums)  # type: ignore[no-untyped-call]
    return result


class _WeightedSums(torch.autograd.Function):
    """A sparse matrix times a table; on the way back its transpose times the gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, sums: Sums) -> Tensor:
        ctx.sums = sums
        return _bags(table, sums.rows, sums.weights, sums.offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        sums = ctx.sums
        return _bags(gradients[0], sums.back_rows, sums.back_weights, sums.back_offsets), None


def _bags(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    return functional.embedding_bag(
        rows,
        table.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=weights.to(table.dtype),
        include_last_offset=True,
    )
