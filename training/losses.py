"""Losses over slates: several configs of one graph, scored together. Pure functions of tensors.

Scores follow the convention of the whole project: lower is faster.

Masks: a member that `where` leaves out, and a slate without members, change neither loss nor gradient, whatever their
values (nan and inf included). With nothing left to compare, a loss is 0 and so are its gradients.

Values that are not numbers: nothing is raised, because to look at a value makes the host wait for a GPU. A score that
is nan or infinite gives a loss that is nan or infinite; so does a runtime that is nan. An infinite runtime is legal in
the ranking losses, where it is the slowest of all, but not in `mape`. A training loop checks the loss alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_MAPE_FLOOR = 1.17e-6
"""The smallest runtime that `mape` divides by: epsilon of TorchMetrics' MeanAbsolutePercentageError."""

_LIST_MLE_FLOOR = 1e-10
"""Added before the logarithm in `list_mle`: DEFAULT_EPS of allRank, whose ListMLE the 2nd-place solution uses."""


def diffmat_hinge(scores: Tensor, runtimes: Tensor, *, margin: float, where: Tensor | None = None) -> Tensor:
    r"""Mean hinge over all pairs of a slate (the "DiffMat" loss).

    .. math:: \ell = \operatorname{mean}_{i<j} \max(0,\; m - \operatorname{sign}(t_j - t_i)\,(s_j - s_i))

    Args:
        scores: predicted costs, float32[slates, slate_size].
        runtimes: measured costs in any unit, same shape; only their order counts.
        margin: m, in the unit of `scores`.
        where: bool[slates, slate_size]; pairs with a False member do not count.

    Returns:
        A scalar: the mean over the pairs of all slates together. Ties in `runtimes` add the constant m and no gradient.

    Raises:
        ValueError: the arguments differ in shape, or `where` is not bool.

    Source: 2nd-place solution of "Google - Fast or Slow?", README section "Training procedure".
    """
    scores, runtimes, where = _members(scores, runtimes, where)
    hinge, _, pairs = _pair_hinge(scores, runtimes, margin, where)
    return _masked_mean(hinge, pairs) + _alarm(scores, runtimes)


def pairwise_hinge(scores: Tensor, runtimes: Tensor, *, margin: float, where: Tensor | None = None) -> Tensor:
    r"""Mean hinge over the pairs of a slate whose runtimes differ; ties do not count at all.

    .. math:: \ell = \operatorname{mean}_{t_i > t_j} \max(0,\; m - (s_i - s_j))

    Args:
        scores: predicted costs, float32[slates, slate_size].
        runtimes: measured costs in any unit, same shape; only their order counts.
        margin: m, in the unit of `scores`.
        where: bool[slates, slate_size]; pairs with a False member do not count.

    Returns:
        A scalar: the mean over the pairs of all slates together, 0 without such a pair.

    Raises:
        ValueError: the arguments differ in shape, or `where` is not bool.

    Source: PairwiseHingeLoss of TF-Ranking (arXiv 1812.00073), which fixes m = 1 and adds up instead of averaging.
    """
    scores, runtimes, where = _members(scores, runtimes, where)
    hinge, order, pairs = _pair_hinge(scores, runtimes, margin, where)
    return _masked_mean(hinge, pairs & (order != 0)) + _alarm(scores, runtimes)


def list_mle(
    scores: Tensor, runtimes: Tensor, *, norm_limit: float | None = 500.0, where: Tensor | None = None
) -> Tensor:
    r"""Negative log-likelihood of the true order, slowest first, under a Plackett-Luce model of the scores (ListMLE).

    .. math:: \ell = \operatorname{mean}_{slates} \sum_i
        \log\Big(10^{-10} + \sum_{j \text{ not before } i} e^{s_j - s_{max}}\Big) - (s_i - s_{max})

    Members stand in the order of descending runtime; equal runtimes keep the order of the slate. (The original broke
    ties at random. Slates are drawn at random already, so a second draw would only make the loss hard to repeat.)

    Scores more than 23 below the highest of their slate drown in the 1e-10: from there on the loss draws them towards
    the highest, even if the order is right. The clip keeps that distance within limits.

    Args:
        scores: predicted costs, float32[slates, slate_size].
        runtimes: measured costs in any unit, same shape; only their order counts.
        norm_limit: slates of scores with a larger L2 norm are scaled down to it first; gradients flow through the
            norm. None = no clip.
        where: bool[slates, slate_size]; False members do not count.

    Returns:
        A scalar: the mean over the slates that have members.

    Raises:
        ValueError: the arguments differ in shape, `where` is not bool, or `norm_limit` is not a positive number.

    Source: F. Xia et al., "Listwise Approach to Learning to Rank", ICML 2008; the floor and the clip as in the
    2nd-place solution of "Google - Fast or Slow?".
    """
    scores, runtimes, where = _members(scores, runtimes, where)
    alarm = _alarm(scores, runtimes)
    if norm_limit is not None:
        scores = _clip_norm(scores, norm_limit)
    highest = torch.where(where, scores, torch.finfo(scores.dtype).min).amax(dim=1, keepdim=True)
    shifted = torch.where(where, scores - highest, 0.0)  # bounds the exp of what does not count, too
    # Who comes after whom, from comparisons. Sorting and a cumulative sum would say the same, but PyTorch has no
    # reproducible cumulative sum for GPUs (see torch.use_deterministic_algorithms).
    later = runtimes.unsqueeze(1) < runtimes.unsqueeze(2)
    tied = runtimes.unsqueeze(1) == runtimes.unsqueeze(2)
    not_before = (later | (tied & torch.ones_like(tied).triu())) & where.unsqueeze(1)
    tails = torch.where(not_before, shifted.exp().unsqueeze(1), 0.0).sum(dim=2)
    terms = torch.log(tails + _LIST_MLE_FLOOR) - shifted
    return _masked_mean(torch.where(where, terms, 0.0).sum(dim=1), where.any(dim=1)) + alarm


def mape(scores: Tensor, runtimes: Tensor, *, where: Tensor | None = None) -> Tensor:
    r"""Mean absolute error relative to the runtime (a fraction, despite the P of "percentage").

    .. math:: \ell = \operatorname{mean} \frac{|s - t|}{\max(|t|,\; 1.17 \cdot 10^{-6})}

    Args:
        scores: predicted costs in the unit of `runtimes`, float32[slates, slate_size].
        runtimes: measured costs, float32 of the same shape. Seconds in the recipe, so that the floor is 1.17 us.
        where: bool[slates, slate_size]; False members do not count.

    Returns:
        A scalar: the mean over the members of all slates together. nan if a runtime is infinite.

    Raises:
        ValueError: the arguments differ in shape, or `where` is not bool.

    Source: MeanAbsolutePercentageError of TorchMetrics.
    """
    scores, runtimes, where = _members(scores, runtimes, where)
    return _masked_mean((scores - runtimes).abs() / runtimes.abs().clamp(min=_MAPE_FLOOR), where)


def _members(scores: Tensor, runtimes: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Checks the shapes and puts 0 in place of what does not count: 0 * nan would be nan, forward and backward."""
    if scores.ndim != 2 or scores.shape[1] == 0 or runtimes.shape != scores.shape:
        raise ValueError(
            "scores and runtimes: expected one and the same shape [slates, slate_size] with slate_size 1 or more, "
            f"found {list(scores.shape)} and {list(runtimes.shape)}"
        )
    if where is None:
        return scores, runtimes, torch.ones_like(scores, dtype=torch.bool)
    if where.shape != scores.shape or where.dtype != torch.bool:
        raise ValueError(
            f"where: expected torch.bool{list(scores.shape)} as scores, found {where.dtype}{list(where.shape)}"
        )
    return torch.where(where, scores, 0), torch.where(where, runtimes, 0), where


def _pair_hinge(scores: Tensor, runtimes: Tensor, margin: float, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The hinge, the sign of t_j - t_i and whether both members count, for each pair i < j; [slates, pairs] each."""
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    # The sign by comparison: the difference of two infinite runtimes, which are a tie, would be nan.
    slower, faster = runtimes[:, second] > runtimes[:, first], runtimes[:, second] < runtimes[:, first]
    order = slower.to(scores.dtype) - faster.to(scores.dtype)
    hinge = F.relu(margin - order * (scores[:, second] - scores[:, first]))
    return hinge, order, where[:, first] & where[:, second]


def _clip_norm(scores: Tensor, limit: float) -> Tensor:
    """Scales each row with an L2 norm above the limit down to it."""
    if not (limit > 0 and math.isfinite(limit)):
        raise ValueError(f"norm_limit: expected a positive number, or None for no clip, found {limit}")
    # The squares of scores of 1e20 are infinite in float32, so the norm is taken of numbers from -1 to 1.
    unit = scores.detach().abs().amax(dim=1, keepdim=True).clamp(min=limit)
    excess: Tensor = unit / limit * torch.linalg.vector_norm(scores / unit, dim=1, keepdim=True)
    return scores / excess.clamp(min=1.0)


def _masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of the values that count, 0 without any."""
    return torch.where(where, values, 0.0).sum() / where.sum().clamp(min=1)


def _alarm(scores: Tensor, runtimes: Tensor) -> Tensor:
    """0, or nan if a score is not finite or a runtime is nan, which a comparison or a hinge would hide."""
    return (scores.detach() * 0).sum() + torch.where(runtimes.isnan(), torch.nan, 0.0).sum()
