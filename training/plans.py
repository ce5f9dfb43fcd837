"""What has to be computed for a batch of slates, so that no hidden value is computed twice, forward or backward.

`cost_model.refinement` finds the distinct hidden values of many configs of one graph. Here the configs of all slates
of a graph are taken together, and the plans of all graphs of a batch are put one behind the other, so that every
convolution is one matrix product whatever the batch is made of. Sums over values are sparse matrices, stored by rows
for the forward pass and by columns for the backward pass: then both are the same reproducible, parallel operation
(a bag of rows), and no gradient needs a scattered addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from cost_model.graph import ConfigBatch, ProgramGraph
from cost_model.refinement import Plan, Refinement, WeightedSums

Indices = NDArray[np.int64]

_SENDERS_WORTH_A_SELECTION = 0.9
"""Share of values that send to others, above which leaving out the rest saves less than copying these costs."""


@dataclass(frozen=True, eq=False)
class _Movable:
    """A dataclass of tensors and the like that moves between devices as one."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor | _Movable):
                return value.to(device, non_blocking=non_blocking)
            return tuple(map(move, value)) if isinstance(value, tuple) else value

        return type(self)(**{each.name: move(getattr(self, each.name)) for each in fields(self)})


@dataclass(frozen=True, eq=False)
class Sums(_Movable):
    """A sparse matrix A[k, t] that a table of t rows is multiplied with, and its transpose.

    Attributes:
        rows: the row of the table that each entry stands for, int32[m].
        weights: the entries, float32[m].
        offsets: the entries of sum i are offsets[i] to offsets[i + 1]; int32[k + 1].
        back_rows: the same of the transpose, int32[m].
        back_weights: float32[m].
        back_offsets: int32[t + 1].
    """

    rows: Tensor
    weights: Tensor
    offsets: Tensor
    back_rows: Tensor
    back_weights: Tensor
    back_offsets: Tensor

    @classmethod
    def of(cls, matrix: csr_array) -> Self:
        """From a SciPy matrix without repeated entries."""
        transpose = matrix.tocsc()
        parts = [(each.indices, np.int32) for each in (matrix, transpose)]
        (rows, back_rows) = (torch.from_numpy(array.astype(dtype, copy=False)) for array, dtype in parts)
        return cls(
            rows,
            torch.from_numpy(matrix.data.astype(np.float32, copy=False)),
            torch.from_numpy(matrix.indptr.astype(np.int32, copy=False)),
            back_rows,
            torch.from_numpy(transpose.data.astype(np.float32, copy=False)),
            torch.from_numpy(transpose.indptr.astype(np.int32, copy=False)),
        )


@dataclass(frozen=True, eq=False)
class ConvolutionPlan(_Movable):
    """One convolution over the k distinct values before it.

    Attributes:
        senders: the values that send to others, int32[s]; None if all k do, or nearly all.
        sums: how the values after it add up from a table of k rows that values keep for themselves, and below them s
            (or k) rows that they send.
    """

    senders: Tensor | None
    sums: Sums


@dataclass(frozen=True, eq=False)
class BatchPlan(_Movable):
    """Slates of configs, ready to be scored with gradients.

    Attributes:
        node_feat: raw features of the nodes in use, float32[u, 140].
        node_opcode: their opcodes, uint8[u].
        nodes: for each initial value its node; a selection of k of u rows.
        config_feat: the config row of each initial value, float32[k, columns].
        convolutions: one per convolution.
        scores: which final values each score is the sum of, in the order of the slates.
    """

    node_feat: Tensor
    node_opcode: Tensor
    nodes: Sums
    config_feat: Tensor
    convolutions: tuple[ConvolutionPlan, ...]
    scores: Sums

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of distinct values before each convolution, and after the last."""
        return (len(self.config_feat), *(len(each.sums.offsets) - 1 for each in self.convolutions))


def plan_batch(slates: Sequence[tuple[ProgramGraph, Refinement, ConfigBatch]], *, merge: bool = True) -> BatchPlan:
    """Plans a batch.

    Args:
        slates: for each slate its graph, the refinement of that graph, and its configs. Slates of one graph must have
            one and the same graph object.
        merge: whether slates of one graph are planned together, which finds more to share.

    Returns:
        The plan; its scores stand in the order of the slates and of the configs within each.
    """
    groups: dict[int, list[int]] = {}
    for index, (graph, _, _) in enumerate(slates):
        groups.setdefault(id(graph) if merge else index, []).append(index)
    lengths = np.array([len(configs) for _, _, configs in slates])
    starts = np.cumsum(lengths) - lengths
    graphs, plans, places = [], [], []
    for members in groups.values():
        graph, refinement, _ = slates[members[0]]
        graphs.append(graph)
        plans.append(refinement.plan(_concatenate([slates[index][2] for index in members])))
        places.append(np.concatenate([starts[index] + np.arange(lengths[index]) for index in members]))
    used = [np.unique(plan.nodes, return_inverse=True) for plan in plans]
    return BatchPlan(
        node_feat=torch.from_numpy(
            np.concatenate([graph.node_feat[nodes] for graph, (nodes, _) in zip(graphs, used, strict=True)])
        ),
        node_opcode=torch.from_numpy(
            np.concatenate([graph.node_opcode[nodes] for graph, (nodes, _) in zip(graphs, used, strict=True)])
        ),
        nodes=_selection([inverse.reshape(-1) for _, inverse in used], [len(nodes) for nodes, _ in used]),
        config_feat=torch.from_numpy(np.concatenate([plan.config_feat for plan in plans])),
        convolutions=tuple(
            _convolution([plan.convolutions[layer].values for plan in plans], [plan.sizes[layer] for plan in plans])
            for layer in range(len(plans[0].convolutions))
        ),
        scores=_scores(plans, places, int(lengths.sum())),
    )


def _concatenate(batches: Sequence[ConfigBatch]) -> ConfigBatch:
    (name,) = {"node_config_feat" if hasattr(batch, "node_config_feat") else "config_feat" for batch in batches}
    rows = np.concatenate([getattr(batch, name) for batch in batches])
    return type(batches[0])(rows)


def _shifts(counts: Sequence[int]) -> Indices:
    """Where each of several tables starts when they stand one behind the other."""
    return np.cumsum([0, *counts[:-1]])


def _selection(choices: Sequence[Indices], counts: Sequence[int]) -> Sums:
    rows = np.concatenate([choice + shift for choice, shift in zip(choices, _shifts(counts), strict=True)])
    shape = (len(rows), sum(counts))
    return Sums.of(csr_array((np.ones(len(rows), np.float32), rows, np.arange(len(rows) + 1)), shape=shape))


def _convolution(parts: Sequence[WeightedSums], counts: Sequence[int]) -> ConvolutionPlan:
    """Puts the sums of several plans below each other, and orders the table: kept rows first, then sent ones."""
    values = sum(counts)
    rows = np.concatenate([part.rows + 2 * shift for part, shift in zip(parts, _shifts(counts), strict=True)])
    weights = np.concatenate([part.weights for part in parts])
    starts = _shifts([len(part.rows) for part in parts])
    offsets = np.concatenate([[0], *(part.offsets[1:] + start for part, start in zip(parts, starts, strict=True))])
    value, kept = np.divmod(rows, 2)
    sends = np.zeros(values, bool)
    sends[value[kept == 0]] = True
    senders = np.flatnonzero(sends) if sends.mean() < _SENDERS_WORTH_A_SELECTION else np.arange(values)
    place = np.zeros(values, np.int64)
    place[senders] = values + np.arange(len(senders))
    matrix = csr_array(
        (weights, np.where(kept == 1, value, place[value]), offsets), shape=(len(offsets) - 1, values + len(senders))
    )
    chosen = torch.from_numpy(senders.astype(np.int32)) if len(senders) < values else None
    return ConvolutionPlan(chosen, Sums.of(matrix))


def _scores(plans: Sequence[Plan], places: Sequence[Indices], total: int) -> Sums:
    """How often each final value is in each graph with its config."""
    counts = [plan.sizes[-1] for plan in plans]
    entries = []
    for plan, place, shift in zip(plans, places, _shifts(counts), strict=True):
        size, configs = plan.sizes[-1], len(place)
        times = np.bincount((plan.active * configs + np.arange(configs)).reshape(-1), minlength=size * configs)
        times = times.reshape(size, configs) + np.bincount(plan.still, minlength=size)[:, None]
        value, config = np.nonzero(times)
        entries.append((times[value, config], place[config], value + shift))
    times, scores, values = (np.concatenate(column) for column in zip(*entries, strict=True))
    matrix = csr_array((times.astype(np.float32), (scores, values)), shape=(total, sum(counts)))
    return Sums.of(matrix)
