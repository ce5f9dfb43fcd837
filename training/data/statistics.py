"""Facts about training data: how much there is, how many configs are the same, how far equal ones are apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.coding import code_rows
from training.data.collections import left_out_of_means, left_out_of_training
from training.data.store import Split, StoredGraph


@dataclass(frozen=True)
class Noise:
    """How far runs of equal configs are apart.

    Attributes:
        groups: the number of configs that were run more than once.
        median: over them, of the slowest run / the fastest - 1 (for tiles, of runtime / normalizer).
        maximum: the largest of these.
    """

    groups: int
    median: float
    maximum: float


@dataclass(frozen=True)
class Runtimes:
    """Of all runs, in ns."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
        nodes: instructions.
        configurable_nodes: those that layout configs are about.
        configs: as in the .npz file.
        distinct: different ones.
        store_bytes: size in the store.
        npz_bytes: size of the .npz file.
    """

    nodes: int = 0
    configurable_nodes: int = 0
    configs: int = 0
    distinct: int = 0
    store_bytes: int = 0
    npz_bytes: int = 0

    @property
    def duplicates(self) -> int:
        """Configs that are equal to an earlier one."""
        return self.configs - self.distinct

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


@dataclass(frozen=True)
class GraphFacts:
    """One program.

    Attributes:
        name: stem of the file.
        counts: how much there is.
        noise: None if no config was run twice, or without labels.
        runtimes: None without labels.
        left_out: of what it is left out: "training", "means".
    """

    name: str
    counts: Counts
    noise: Noise | None
    runtimes: Runtimes | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class SplitFacts:
    """One split.

    Attributes:
        collection: its name.
        split: train, valid or test.
        graphs: the programs.
        noise: of all programs together.
        dropped: names of the programs with fewer than two distinct configs.
        skipped: damaged files, and what is wrong.
    """

    collection: str
    split: str
    graphs: tuple[GraphFacts, ...]
    noise: Noise | None
    dropped: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def counts(self) -> Counts:
        """Of all programs together."""
        return sum((graph.counts for graph in self.graphs), Counts())

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        graphs = [asdict(graph) | {"counts": _counts_json(graph.counts)} for graph in self.graphs]
        return asdict(self) | {"counts": _counts_json(self.counts), "graphs": graphs}


def split_facts(split: Split) -> SplitFacts:
    """The facts of a split; reads all its labels, and the configs of a test split."""
    spreads = {graph.name: _spreads(graph) for graph in split}
    return SplitFacts(
        split.collection,
        split.split,
        tuple(_graph_facts(split, graph, spreads[graph.name]) for graph in split),
        _noise(spreads.values()),
        split.dropped,
        split.skipped,
    )


def _graph_facts(split: Split, graph: StoredGraph, spreads: NDArray[np.float64]) -> GraphFacts:
    runtimes = graph.raw_runtimes
    rules = {"training": left_out_of_training, "means": left_out_of_means}
    left_out = tuple(what for what, rule in rules.items() if rule(split.collection, split.split, graph.name))
    counts = Counts(
        nodes=graph.nodes,
        configurable_nodes=graph.configurable_nodes,
        configs=graph.raw_count,
        # A test split keeps equal configs apart; here they are counted all the same.
        distinct=len(code_rows(graph.config_codes)[0]) if split.split == "test" else len(graph),
        store_bytes=graph.bytes,
        npz_bytes=graph.source_bytes,
    )
    times = None
    if runtimes is not None and len(runtimes):
        times = Runtimes(int(runtimes.min()), float(np.median(runtimes)), int(runtimes.max()))
    return GraphFacts(graph.name, counts, _noise([spreads]), times, left_out)


def _spreads(graph: StoredGraph) -> NDArray[np.float64]:
    """For every config with more than one run: the largest target over the least, - 1; float64[groups]."""
    targets = graph.raw_targets
    if targets is None or graph.raw_count == len(graph):
        return np.empty(0)
    ids = graph.raw_ids
    least, largest = np.full(len(graph), np.inf), np.zeros(len(graph))
    np.minimum.at(least, ids, targets)
    np.maximum.at(largest, ids, targets)
    spreads: NDArray[np.float64] = (largest / least - 1)[np.bincount(ids, minlength=len(graph)) > 1]
    return spreads


def _noise(spreads: Iterable[NDArray[np.float64]]) -> Noise | None:
    together = np.concatenate([np.empty(0), *spreads])
    return Noise(len(together), float(np.median(together)), float(together.max())) if len(together) else None


def _counts_json(counts: Counts) -> dict[str, int]:
    return asdict(counts) | {"duplicates": counts.duplicates}
