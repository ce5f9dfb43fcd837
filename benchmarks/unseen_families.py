"""Programs of collections, rankers that learn from some families of them, and how well these rank the others.

Shared by the benchmarks that judge rankers on families that they have not seen.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import REPOSITORY, parser
from cost_model.descriptors.architecture import Space
from cost_model.descriptors.network import DescriptorNetwork
from cost_model.descriptors.scoring import tensors_of
from cost_model.metrics import bootstrap_interval, kendall_tau
from training.collecting.drawing import FIXED
from training.collecting.programs import family_of
from training.data.collections import SPLITS, available_splits, collection_of
from training.data.manifest import Manifest
from training.data.store import StoredGraph, open_split
from training.descriptors import DescriptorRecipe, Example, default_recipe, describe_programs, train_descriptors
from training.zoo.products import FAMILY as DRAWN

DATASETS: Final = REPOSITORY / "training" / "datasets"
_TIE: Final = 1e-3
_MEDIAN_DIFFERENCE: Final = 0.954
"""Median difference of two normal numbers of standard deviation 1."""

_FEWEST: Final = {"layout": 4, "tile": 10}
"""Configs that a program must have to be judged."""

Scores = NDArray[np.floating[Any]]
Ranking = Mapping[str, Scores]
"""Scores of every program, by its name."""
Scorer = Callable[["Judged"], Scores]


@dataclass(frozen=True, eq=False)
class Judged:
    """A program.

    Attributes:
        graph: with its costs.
        example: the same, described.
        ways: how each of its configs was drawn.
        fingerprint: equal for equal programs.
        noise: standard deviation of a measured cost, relative to it: by what both measurements differ by, where all
            configs were measured twice, or else configs that compile to the same program, or else a few that were
            measured once more in another process; 0 for estimates.
        measured: logarithms of the first and of the second measurement, float64[2, c], where all configs were measured
            twice; their mean is the cost.
    """

    graph: StoredGraph
    example: Example
    ways: NDArray[np.str_]
    fingerprint: str
    noise: float = 0.0
    measured: NDArray[np.float64] | None = None

    @property
    def family(self) -> str:
        """Of the program."""
        return family_of(self.graph.name)

    @property
    def costs(self) -> NDArray[np.float64]:
        """With costs that are nearly equal made equal."""
        logarithms = self.example.log_costs - self.example.log_costs.min()
        return np.asarray(np.exp(np.round(logarithms / _TIE) * _TIE))


@dataclass(frozen=True, eq=False)
class Collection:
    """The programs of a collection that can be judged.

    Attributes:
        name: of the collection.
        manifest: what its labels are.
        programs: with at least a few configs, whose costs differ.
        drawn: matrix products of drawn sizes: learned from, never judged. None is equal to one of `programs`.
        recipe: by which descriptor networks are trained for it, with fewer members than those that ship.
    """

    name: str
    manifest: Manifest
    programs: Sequence[Judged]
    drawn: Sequence[Judged]
    recipe: DescriptorRecipe

    @property
    def kind(self) -> str:
        """What its configs choose: layout or tile."""
        return collection_of(self.name).kind

    @property
    def families(self) -> list[str]:
        """Of its programs."""
        return sorted({each.family for each in self.programs})

    @property
    def facts(self) -> dict[str, Any]:
        """For a row of a table."""
        drawn = {"drawn": len(self.drawn)} if self.drawn else {}
        return {
            "label": self.manifest.label.value,
            "programs": len(self.programs),
            "families": len(self.families),
        } | drawn

    def folds(self, count: int, seed: int) -> Iterator[tuple[list[Judged], list[Judged]]]:
        """Deals the families: for each fold the programs of all others (and those that were drawn), and its own."""
        families = self.families
        order = np.random.default_rng(seed).permutation(len(families))
        fold = {families[family]: place % count for place, family in enumerate(order)}
        for number in range(count):
            yield (
                [*(each for each in self.programs if fold[each.family] != number), *self.drawn],
                [each for each in self.programs if fold[each.family] == number],
            )


def unpack(folder: Path) -> Path:
    """The collections that are in the repository, in a folder that is made for them."""
    for path in sorted(DATASETS.glob("*.tar.xz")):
        with lzma.open(path) as file, tarfile.open(fileobj=file) as archive:
            archive.extractall(folder, filter="data")
    return folder


def collection_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what `collections` needs, and of how families are dealt and networks trained."""
    arguments = parser(description)
    arguments.add_argument("--data", type=Path, help="the data set; those in training/datasets if not given")
    arguments.add_argument("--collections", nargs="*", metavar="NAME", help="all in the data set if not given")
    arguments.add_argument("--folds", type=int, default=6)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--iterations", type=int, help="of descriptor networks; as many as their recipe has")
    arguments.add_argument(
        "--members", type=int, default=4, help="of descriptor networks; those that ship have 16, or 8"
    )
    return arguments


def collections(options: argparse.Namespace) -> Iterator[Collection]:
    """Those asked for, one after the other; by default all that `autotune collect` has made."""
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data or unpack(Path(temporary) / "data")
        made = dict.fromkeys(name for name, _ in available_splits(data) if "-" in name)
        for name in options.collections or made:
            yield open_collection(data, name, Path(temporary) / "store", options.members)


def open_collection(data: Path, name: str, store: Path, members: int) -> Collection:
    """Reads and describes a collection.

    Args:
        data: the folder of the collections.
        name: of one.
        store: where its files are converted to.
        members: of the recipe's networks.
    """
    kind: Space = "tile" if collection_of(name).kind == "tile" else "layout"
    splits = [open_split(data, name, split, store=store) for split in SPLITS if (name, split) in available_splits(data)]
    manifest = splits[0].manifest
    assert manifest is not None
    recipe = default_recipe(kind, manifest.device)
    recipe = replace(recipe, architecture=replace(recipe.architecture, members=members))
    graphs = [graph for split in splits for graph in split]
    programs = [
        _judged(graph, example, data / name)
        for graph, example in zip(graphs, describe_programs(graphs, recipe.architecture), strict=True)
    ]
    programs = [each for each in programs if len(each.costs) >= _FEWEST[kind] and np.ptp(each.costs) > 0]
    networks = [each for each in programs if each.family != DRAWN]
    known = {each.fingerprint for each in networks}
    drawn = [each for each in programs if each.family == DRAWN and each.fingerprint not in known]
    return Collection(name, manifest, networks, drawn, recipe)


def descriptor_scorer(
    known: Sequence[Judged], recipe: DescriptorRecipe, change: Callable[[DescriptorNetwork], None] | None = None
) -> Scorer:
    """A descriptor network that has learned from programs.

    Args:
        known: these.
        recipe: how.
        change: is made to the network when it has learned.
    """
    network = train_descriptors(recipe, [each.example for each in known])
    if change is not None:
        change(network)

    def score(program: Judged) -> Scores:
        with torch.inference_mode():
            scores: Scores = network.score(*tensors_of(program.example.descriptors, torch.device("cpu"))).numpy()
        return scores

    return score


def taus(programs: Sequence[Judged], ranking: Ranking, way: str | None = None) -> NDArray[np.float64]:
    """Kendall's tau of every program; nan where it is not defined.

    Args:
        programs: of n.
        ranking: scores of each.
        way: judge only configs drawn in this way; None for all.
    """
    found = []
    for each in programs:
        # The default belongs to both ways of drawing.
        chosen = np.ones(len(each.costs), bool) if way is None else np.isin(each.ways, (way, FIXED))
        tau = kendall_tau(ranking[each.graph.name][chosen], each.costs[chosen])
        constant = math.isnan(tau) and np.ptp(each.costs[chosen]) > 0
        found.append(0.0 if constant else tau)  # a ranker that says nothing is no better than chance
    return np.array(found)


def certain_taus(programs: Sequence[Judged], ranking: Ranking) -> NDArray[np.float64]:
    """Pairs in the right order minus pairs in the wrong one, over all pairs that differ by more than the noise.

    A difference counts from two of its standard deviations on. A pair that the ranking gives one score is neither.

    Args:
        programs: of n.
        ranking: scores of each.

    Returns:
        float64[n], -1 to 1; nan where no pair counts.
    """
    found = []
    for each in programs:
        slower = each.example.log_costs[:, None] - each.example.log_costs > 2 * math.sqrt(2) * each.noise
        scores = ranking[each.graph.name]
        agrees = np.sign(scores[:, None] - scores)[slower]
        found.append(float(agrees.mean()) if len(agrees) else math.nan)
    return np.array(found)


def mean_and_interval(values: NDArray[np.float64], name: str, ends: str | None = None) -> dict[str, float]:
    """Columns of a table: the mean over programs where there is a value, and its 95 % bootstrap interval.

    Args:
        values: of every program; nan for none.
        name: of the mean.
        ends: with _low and _high, of the ends of the interval; None for `name`.
    """
    known = values[~np.isnan(values)]
    low, high = bootstrap_interval(known, 0)
    return {name: float(known.mean()), f"{ends or name}_low": low, f"{ends or name}_high": high}


def _judged(graph: StoredGraph, example: Example, folder: Path) -> Judged:
    record = json.loads((folder / "records" / f"{graph.name}.json").read_text())
    ways = np.full(len(graph), FIXED, dtype="<U16")
    ways[graph.raw_ids] = record["ways"]
    fingerprint = record.get("fingerprint") or record["kernel_fingerprint"]
    both = record.get("costs")
    if both is not None and all(both):
        measured = np.empty((2, len(graph)))
        measured[:, graph.raw_ids] = np.log(both).T
        # Of the mean of two: the difference has twice its standard deviation.
        return Judged(graph, example, ways, fingerprint, float(np.std(measured[1] - measured[0])) / 2, measured)
    differences = record.get("noise") or {}
    difference = differences.get("same_program") or differences.get("measured_twice_median") or 0.0
    return Judged(graph, example, ways, fingerprint, difference / _MEDIAN_DIFFERENCE)
