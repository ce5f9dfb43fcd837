"""What has to be computed for a batch of slates, so that no hidden value is computed twice, forward or backward.

`cost_model.refinement` finds the distinct hidden values of all slates side by side, so that every convolution is one
matrix product whatever the batch is made of. Sums over values are sparse matrices, stored by rows for the forward pass
and by columns for the backward pass: then both are the same reproducible, parallel operation (a bag of rows), and no
gradient needs a scattered addition.
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

from cost_model import features
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph
from cost_model.plan import Plan, WeightedSums
from cost_model.refinement import Refinement
from cost_model.rows import config_rows, distinct_rows

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
class LatePlan(_Movable):
    """Where n configurable nodes meet their configs, for the late head.

    Attributes:
        nodes: the final value of each configurable node, a selection.
        means: their means over each of g graphs, g rows of n columns.
        graphs: the graph of each node, a selection of n of g rows.
        pairs: the node of each distinct pair of a node and a config row, a selection.
        config_feat: the config row of each pair, float32[p, 18].
        sums: which pairs each config is made of, in the order of the slates.
    """

    nodes: Sums
    means: Sums
    graphs: Sums
    pairs: Sums
    config_feat: Tensor
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
        changes: the same minus those of the default config of the graph; None if it was not asked for.
        late: where the configs come in if they do not enter the convolutions; None if they do.
    """

    node_feat: Tensor
    node_opcode: Tensor
    nodes: Sums
    config_feat: Tensor
    convolutions: tuple[ConvolutionPlan, ...]
    scores: Sums
    changes: Sums | None = None
    late: LatePlan | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of distinct values before each convolution, and after the last."""
        return (len(self.config_feat), *(len(each.sums.offsets) - 1 for each in self.convolutions))


def plan_batch(
    slates: Sequence[tuple[ProgramGraph, Refinement, ConfigBatch]], *, with_default: bool = False, late: bool = False
) -> BatchPlan:
    """Plans a batch: all its graphs side by side, so that one pass finds what is equal among all configs of all slates.

    Args:
        slates: for each slate its graph, the refinement of that graph, and its configs: equally many in all slates.
        with_default: whether `BatchPlan.changes` is wanted. Layouts only.
        late: whether the default config enters the convolutions instead of each one (`BatchPlan.late`). Layouts only.

    Returns:
        The plan; its scores stand in the order of the slates and of the configs within each.
    """
    groups = _groups([graph for graph, _, _ in slates])
    graphs = [slates[members[0]][0] for members in groups]
    joined = Refinement.join([slates[members[0]][1] for members in groups])
    batches = [_after_default(configs) if with_default else configs for _, _, configs in slates]
    rows = np.concatenate(
        [np.concatenate([config_rows(batches[number]) for number in members]) for members in groups], axis=1
    )
    plan = joined.plan_rows(np.full_like(rows[:1], features.UNDECIDED) if late else rows)
    nodes, chosen = np.unique(plan.nodes, return_inverse=True)
    places = _places(np.array(groups), len(batches[0]))
    scores = _scores(plan, joined, places)
    is_default = (np.arange(scores.shape[0]) % len(batches[0]) == 0) & with_default
    wanted = scores[~is_default]
    return BatchPlan(
        node_feat=torch.from_numpy(_take([graph.node_feat for graph in graphs], nodes)),
        node_opcode=torch.from_numpy(_take([graph.node_opcode for graph in graphs], nodes)),
        nodes=_selection(chosen.reshape(-1), len(nodes)),
        config_feat=torch.from_numpy(plan.config_feat),
        convolutions=tuple(
            _convolution(each.values, size) for each, size in zip(plan.convolutions, plan.sizes, strict=False)
        ),
        scores=Sums.of(wanted),
        changes=Sums.of(_minus_default(wanted, scores[is_default])) if with_default else None,
        late=_late(plan, joined, places, rows) if late else None,
    )


def _groups(graphs: Sequence[ProgramGraph]) -> list[list[int]]:
    """Slates whose configs are taken together: those of one graph, if every graph has equally many; else each alone.

    What is equal is found either way. Together, the part of a graph that no config can change is looked at once.
    """
    groups: dict[int, list[int]] = {}
    for number, graph in enumerate(graphs):
        groups.setdefault(id(graph), []).append(number)
    even = len({len(members) for members in groups.values()}) == 1
    return list(groups.values()) if even else [[number] for number in range(len(graphs))]


def _take(arrays: Sequence[NDArray[Any]], rows: Indices) -> NDArray[Any]:
    """Some rows of arrays that stand one behind the other, without putting them there; `rows` ascend."""
    ends = np.cumsum([len(array) for array in arrays])
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - [len(array) for array in arrays]
    return np.concatenate([array[part - start] for array, part, start in zip(arrays, parts, starts, strict=True)])


def _selection(rows: Indices, count: int) -> Sums:
    shape = (len(rows), count)
    return Sums.of(csr_array((np.ones(len(rows), np.float32), rows, np.arange(len(rows) + 1)), shape=shape))


def _convolution(sums: WeightedSums, values: int) -> ConvolutionPlan:
    """Orders the table: kept rows first, then sent ones."""
    value, kept = np.divmod(sums.rows, 2)
    sends = np.zeros(values, bool)
    sends[value[kept == 0]] = True
    senders = np.flatnonzero(sends) if sends.mean() < _SENDERS_WORTH_A_SELECTION else np.arange(values)
    place = np.zeros(values, np.int64)
    place[senders] = values + np.arange(len(senders))
    rows = np.where(kept == 1, value, place[value])
    matrix = csr_array((sums.weights, rows, sums.offsets), shape=(len(sums), values + len(senders)))
    chosen = torch.from_numpy(senders.astype(np.int32)) if len(senders) < values else None
    return ConvolutionPlan(chosen, Sums.of(matrix))


def _after_default(configs: ConfigBatch) -> LayoutConfigs:
    if not isinstance(configs, LayoutConfigs):
        raise TypeError(f"with_default: expected layouts, found {type(configs).__name__}, which have no default")
    return configs.after_default()


def _minus_default(scores: csr_array, defaults: csr_array) -> csr_array:
    """Rows of configs minus the row of the default of their slate; what no config changes is not in the result."""
    slate = np.repeat(np.arange(defaults.shape[0]), scores.shape[0] // defaults.shape[0])
    return csr_array(scores - defaults[slate])


def _places(groups: Indices, slate_size: int) -> Indices:
    """Where in a batch the configs of each graph stand.

    Args:
        groups: the slates of each graph, int64[graphs, slates of a graph].
        slate_size: configs per slate.

    Returns:
        int64[graphs, configs of a graph].
    """
    return (slate_size * groups[:, :, None] + np.arange(slate_size)).reshape(len(groups), -1)


def _scores(plan: Plan, joined: Refinement, places: Indices) -> csr_array:
    """How often each final value is in each graph with its config.

    Args:
        plan: the plan of all graphs.
        joined: what it was made with.
        places: see `_places`.
    """
    graphs = np.concatenate([joined.graph_of_still, joined.graph_of_active])
    still = np.repeat(plan.still[:, None], places.shape[1], axis=1)
    values = np.concatenate([still, np.broadcast_to(plan.active, (len(plan.active), places.shape[1]))])
    ones = np.ones(values.size, np.float32)
    shape = (places.size, plan.sizes[-1])
    matrix = csr_array((ones, (places[graphs].reshape(-1), values.reshape(-1))), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _late(plan: Plan, joined: Refinement, places: Indices, rows: NDArray[np.float32]) -> LatePlan:
    """Looks up configurable nodes after the convolutions, and what meets them there.

    Args:
        plan: the plan of all graphs under their default configs.
        joined: what it was made with.
        places: see `_places`.
        rows: the config rows of all graphs side by side, float32[configs of a graph, columns, 18].
    """
    graphs = joined.graph_of_active[joined.configured]
    nodes = np.arange(len(graphs))
    weights = (1 / np.bincount(graphs))[graphs].astype(np.float32)
    columns, configs, pairs = distinct_rows(rows)
    ones = np.ones(pairs.size, np.float32)
    made_of = (places[graphs].reshape(-1), pairs.T.reshape(-1))
    return LatePlan(
        nodes=_selection(plan.active[joined.configured, 0], plan.sizes[-1]),
        means=Sums.of(csr_array((weights, (graphs, nodes)), shape=(len(places), len(graphs)))),
        graphs=_selection(graphs, len(places)),
        pairs=_selection(columns, len(graphs)),
        config_feat=torch.from_numpy(rows[configs, columns]),
        sums=Sums.of(csr_array((ones, made_of), shape=(places.size, len(columns)))),
    )
