"""Which slates make up each iteration, and what has to be computed for them.

Batch number i depends on the seed and on i alone, not on the batches before it: a training that was interrupted goes
on with exactly the batches that it would have had, and any number of processes can prepare batches at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cost_model import ProgramGraph, features
from cost_model.pruning import prune
from cost_model.refinement import Refinement
from training.data.store import StoredGraph
from training.errors import TrainingError
from training.plans import BatchPlan, plan_batch
from training.recipes import Recipe

_CACHED_NODES = 2_000_000
"""Nodes of the graphs that a process keeps ready; 1 kB each, about."""


@dataclass(frozen=True, eq=False)
class SlateBatch:
    """One iteration's work.

    Attributes:
        plan: what to compute.
        targets: what the configs cost, in the unit of the recipe, float32[slates, slate_size].
    """

    plan: BatchPlan
    targets: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> SlateBatch:
        """The same on another device (Lightning calls this)."""
        return SlateBatch(
            self.plan.to(device, non_blocking=non_blocking), self.targets.to(device, non_blocking=non_blocking)
        )


@dataclass(frozen=True, eq=False)
class Slate:
    """Configs of one graph that are compared with each other.

    Attributes:
        graph: number of the graph.
        configs: numbers of its distinct configs, drawn with replacement; int64[slate_size].
    """

    graph: int
    configs: NDArray[np.int64]


def draw_slates(recipe: Recipe, config_counts: Sequence[int], iteration: int) -> list[Slate]:
    """The slates of an iteration: every graph equally often, in a new random order each time round.

    Args:
        recipe: seed and sizes.
        config_counts: the number of distinct configs of each graph.
        iteration: counted from 0.

    Returns:
        `recipe.slates` slates.
    """
    turns, places = np.divmod(iteration * recipe.slates + np.arange(recipe.slates), len(config_counts))
    orders = {
        turn: np.random.default_rng([recipe.seed, 0, turn]).permutation(len(config_counts)) for turn in np.unique(turns)
    }
    chosen = [int(orders[turn][place]) for turn, place in zip(turns, places, strict=True)]
    random = np.random.default_rng([recipe.seed, 1, iteration])
    return [Slate(graph, random.integers(config_counts[graph], size=recipe.slate_size)) for graph in chosen]


class SlateDataset(Dataset[SlateBatch]):
    """All batches of a training, by number.

    Args:
        graphs: the programs.
        recipe: seed, sizes and network.
        rank: which of several processes this is; each takes every `world`-th slate.
        world: how many there are.

    Raises:
        TrainingError: there is no graph, one without labels, or the slates cannot be divided evenly.
    """

    def __init__(self, graphs: Sequence[StoredGraph], recipe: Recipe, *, rank: int = 0, world: int = 1) -> None:
        if not graphs:
            raise TrainingError(f"{recipe.collection}: expected at least one graph to train on, found none")
        if recipe.slates % world:
            raise TrainingError(
                f"slates: expected a multiple of the {world} processes, so that each has as many, found "
                f"{recipe.slates}: change it (--set slates={world * -(-recipe.slates // world)}) or use fewer devices"
            )
        self._graphs = tuple(graphs)
        self._recipe = recipe
        self._share = (rank, world)
        self._counts = [len(graph) for graph in graphs]
        self._ready: OrderedDict[int, tuple[ProgramGraph, Refinement, NDArray[np.float32]]] = OrderedDict()

    def __len__(self) -> int:
        """The number of iterations."""
        return self._recipe.iterations

    def __getitem__(self, iteration: int) -> SlateBatch:
        """This process's share of a batch."""
        rank, world = self._share
        slates = draw_slates(self._recipe, self._counts, iteration)[rank::world]
        prepared = [(*self._prepare(slate.graph), slate) for slate in slates]
        return SlateBatch(
            plan_batch(
                [(graph, refined, self._graphs[s.graph].configs(s.configs)) for graph, refined, _, s in prepared],
                with_default=self._recipe.architecture.change_width > 0,
                late=self._recipe.architecture.late_width > 0,
            ),
            torch.from_numpy(np.stack([targets[slate.configs] for _, _, targets, slate in prepared])),
        )

    def _prepare(self, number: int) -> tuple[ProgramGraph, Refinement, NDArray[np.float32]]:
        """A graph as the network sees it, its refinement and its targets; those used last are kept."""
        if number in self._ready:
            self._ready.move_to_end(number)
            return self._ready[number]
        stored, architecture = self._graphs[number], self._recipe.architecture
        if stored.targets is None:
            raise TrainingError(f"{stored.name}: expected measured runtimes, found a file without: name labelled files")
        graph = stored.graph if architecture.hops is None else prune(stored.graph, architecture.hops)
        everywhere = architecture.config_features == features.TILE_FEATURES
        refinement = Refinement(graph, len(architecture.channels), everywhere=everywhere)
        targets = (stored.targets / self._recipe.loss.target_unit).astype(np.float32)
        self._ready[number] = graph, refinement, targets
        while len(self._ready) > 1 and sum(len(graph) for graph, _, _ in self._ready.values()) > _CACHED_NODES:
            self._ready.popitem(last=False)
        return self._ready[number]


class Remaining(Sampler[int]):
    """The iterations that are left, for a data loader whose length is that of the whole training.

    Args:
        done: iterations made before.
        total: iterations of the whole training.
    """

    def __init__(self, done: int, total: int) -> None:
        self._done = done
        self._total = total

    def __iter__(self) -> Iterator[int]:
        """The numbers of the iterations that are left."""
        return iter(range(self._done, self._total))

    def __len__(self) -> int:
        """Of the whole training: Lightning counts the iterations done before as fetched."""
        return self._total
