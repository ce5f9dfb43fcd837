"""Which ranker puts the configs of programs of an unseen family in the right order?

Run it as: python -m benchmarks.tau_vs_analytical --json tau_vs_analytical.json [--data DIR]

Over the collections of `autotune collect` in DIR (without --data, those in training/datasets). Families of programs are
dealt into folds; learned rankers are trained on all folds but one and judged on that one, so every program is judged by
a model that has seen no program of its family. Matrix products of drawn sizes are learned from in every fold and never
judged. Three seeds, each with a deal of its own.

- descriptors: the network over hand-made columns (`training.descriptors`).
- descriptors, N programs: the same, trained on so many of the programs (--shares .25 .5 of them): the learning curve.
- boosted trees, ridge: on the same columns (layouts: those of the config as a whole, and sums over its items).
- published network: the 2nd-place solution's (--published ITERATIONS; it takes an hour, so it is left out by default).
- noise of the labels (of measured collections): the limit. The costs themselves, with noise as large as theirs: what
  a ranker would reach that knew the true costs.
- measured once more (where every config was measured in two processes): the second measurement as a ranker, judged by
  the first alone. Rankers are judged by the mean of both.
- analytical: our own model. For layouts also: padded bytes of the copies that orders other than the default need, and
  how many tensors are decided; for tiles the fewest iterations (tiles of the output times steps of the kernel), the
  fewest tiles of the output alone, and the largest tile.

Columns: tau is Kendall's tau-b, the mean over programs, with its 95 % bootstrap interval over programs; near and random
are the same over configs drawn near the default and over random ones; certain (of measured collections) is over pairs
that differ by more than the noise: those in the right order minus those in the wrong one, of all; top_1 and top_5 how
much slower than the best config the best of the first 1 or 5 is. better_by is the mean by which the tau of the kind of
model that ships is higher (descriptors; where none ships, the analytical model), program by program, with its interval.
Costs that differ by less than 0.1 % are ties.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import publish
from benchmarks.unseen_families import (
    Collection,
    Judged,
    Ranking,
    Scorer,
    Scores,
    certain_taus,
    collection_parser,
    collections,
    descriptor_scorer,
    mean_and_interval,
    taus,
)
from cost_model import CostModel
from cost_model.base import shipped_checkpoints
from cost_model.descriptors.base import Descriptors
from cost_model.metrics import top_k_slowdown
from training.collecting.drawing import NEAR, RANDOM
from training.evaluation.evaluate import score_graphs
from training.recipes import override, published
from training.trainer import MODEL, Hardware, train

LEARNED: Final = "descriptors"
LIMIT: Final = "noise of the labels"
AGAIN: Final = "measured once more"


def main() -> None:
    """Judge every collection, and print a table of each."""
    options = _options()
    rows: list[dict[str, Any]] = []
    for collection in collections(options):
        rows += _judge(collection, options)
    publish(f"rankers of unseen families, {options.folds} folds, {options.seeds} seeds", rows, options.json)


def _options() -> argparse.Namespace:
    arguments = collection_parser(__doc__)
    arguments.add_argument("--shares", type=float, nargs="*", default=[], help="of the programs, for a learning curve")
    arguments.add_argument("--published", type=int, default=0, metavar="ITERATIONS", help="also the published network")
    return arguments.parse_args()


def _judge(collection: Collection, options: argparse.Namespace) -> list[dict[str, Any]]:
    programs = collection.programs
    print(f"{collection.name}: {len(programs)} programs of {len(collection.families)} families", flush=True)
    fixed = _fixed_rankers(collection)
    found: dict[str, list[NDArray[np.float64]]] = {ranker: [taus(programs, scores)] for ranker, scores in fixed.items()}
    rankings: dict[str, list[Ranking]] = {ranker: [scores] for ranker, scores in fixed.items()}
    for seed in range(options.seeds):
        for ranker, scores in _learned_rankers(collection, seed, options).items():
            rankings.setdefault(ranker, []).append(scores)
            found.setdefault(ranker, []).append(taus(programs, scores))
            print(f"  seed {seed}, {ranker}: {np.nanmean(found[ranker][-1]):.3f}", flush=True)
    means = {ranker: np.mean(each, axis=0) for ranker, each in found.items()}
    ours = LEARNED if collection.name in shipped_checkpoints() else _analytical(collection)
    rows = [
        {"collection": collection.name}
        | collection.facts
        | _row(collection, ranker, rankings[ranker], means[ranker])
        | ({} if ranker == ours else mean_and_interval(means[ours] - means[ranker], "better_by", "better"))
        for ranker in rankings
    ]
    return [*rows, *_measured_once_more(collection)]


def _measured_once_more(collection: Collection) -> list[dict[str, Any]]:
    """The second measurement of all configs judged by the first; no row where there is none."""
    twice = [(each, each.measured) for each in collection.programs if each.measured is not None]
    if not twice:
        return []
    first = [replace(each, example=replace(each.example, log_costs=measured[0])) for each, measured in twice]
    ranking = {each.graph.name: measured[1] for each, measured in twice}
    once = replace(collection, programs=first)
    row = _row(once, AGAIN, [ranking], taus(first, ranking))
    return [{"collection": collection.name} | once.facts | row]


def _analytical(collection: Collection) -> str:
    return f"analytical:{collection.manifest.device}"


def _fixed_rankers(collection: Collection) -> dict[str, Ranking]:
    """Rankers that learn nothing."""
    programs, architecture = collection.programs, collection.recipe.architecture
    analytical = _analytical(collection)
    model = CostModel.load(analytical)
    names = architecture.summary_columns

    def column(name: str, sign: float = 1.0) -> Ranking:
        place = names.index(name)
        return {each.graph.name: sign * each.example.descriptors.summary[:, place] for each in programs}

    scored = score_graphs(model, [each.graph for each in programs])
    result: dict[str, Ranking] = {analytical: {each.graph.name: each.scores for each in scored}}
    if collection.kind == "layout":
        return result | {"padded copy bytes": column("log_copy_share"), "decided tensors": column("log_decided")}
    if architecture.device != "cpu":
        result["fewest iterations"] = column("log_iterations")
        result["fewest tiles of the output"] = column("log_output_iterations")
        result["largest tile"] = column("log_output_elements", -1.0)
    return result


def _learned_rankers(collection: Collection, seed: int, options: argparse.Namespace) -> dict[str, Ranking]:
    """Scores of every program by models that were trained on other families."""
    recipe = replace(collection.recipe, seed=seed, iterations=options.iterations or collection.recipe.iterations)
    result: dict[str, dict[str, Scores]] = {}
    random = np.random.default_rng(seed)
    if any(each.noise for each in collection.programs):
        result[LIMIT] = {each.graph.name: _with_noise(each, seed) for each in collection.programs}
    for known, unseen in collection.folds(options.folds, seed):
        scorers = {
            LEARNED: descriptor_scorer(known, recipe),
            "boosted trees": _on_columns(known, seed, trees=True),
            "ridge": _on_columns(known, seed, trees=False),
        }
        for share in options.shares:
            some = [known[index] for index in random.permutation(len(known))[: max(1, round(share * len(known)))]]
            of_all = round(share * (len(collection.programs) * (1 - 1 / options.folds) + len(collection.drawn)))
            scorers[f"{LEARNED}, {of_all} programs"] = descriptor_scorer(some, recipe)
        if options.published:
            scorers["published network"] = _published(known, seed, options.published)
        for ranker, score in scorers.items():
            for each in unseen:
                result.setdefault(ranker, {})[each.graph.name] = score(each)
    return dict(result)


def _with_noise(program: Judged, seed: int) -> Scores:
    random = np.random.default_rng(seed)
    return program.example.log_costs + random.normal(0.0, program.noise, len(program.example.log_costs))


def _on_columns(known: Sequence[Judged], seed: int, *, trees: bool, most: int = 60) -> Scorer:
    """Regression of logarithms of costs, relative to the mean of their program; every program counts the same."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(seed)
    columns, targets, weights = [], [], []
    for each in known:
        chosen = random.permutation(len(each.costs))[:most]
        costs = each.example.log_costs[chosen]
        columns.append(_columns(each.example.descriptors.take(chosen)))
        targets.append(costs - costs.mean())
        weights.append(np.full(len(chosen), 1 / len(chosen)))
    table, target, weight = (np.concatenate(parts) for parts in (columns, targets, weights))
    scaler = StandardScaler().fit(table)
    model: Any = HistGradientBoostingRegressor(random_state=seed) if trees else Ridge(alpha=1.0)
    model.fit(scaler.transform(table), target, sample_weight=weight)
    return lambda program: np.asarray(model.predict(scaler.transform(_columns(program.example.descriptors))))


def _columns(descriptors: Descriptors) -> NDArray[np.float64]:
    """One row per config: its summary, and the logarithm of the sums over its items."""
    sums = np.zeros((len(descriptors), descriptors.items.shape[1]))
    np.add.at(sums, descriptors.owner, descriptors.items[descriptors.decisions])
    return np.concatenate([descriptors.summary, np.sign(sums) * np.log1p(np.abs(sums))], axis=1)


def _published(known: Sequence[Judged], seed: int, iterations: int) -> Scorer:
    recipe = published(known[0].graph.collection)
    recipe = override(recipe, {"iterations": iterations, "seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, [each.graph for each in known], Path(folder) / "out", hardware=Hardware("cpu"))
        model = CostModel.load(Path(folder) / "out" / MODEL)
    return lambda program: next(iter(score_graphs(model, [program.graph]))).scores


def _row(
    collection: Collection,
    ranker: str,
    rankings: Sequence[Ranking],
    found: NDArray[np.float64],
) -> dict[str, Any]:
    programs = collection.programs
    row: dict[str, Any] = {"ranker": ranker, **mean_and_interval(found, "tau")}
    if collection.kind == "layout":
        for way in (NEAR, RANDOM):
            row[way] = float(np.nanmean([np.nanmean(taus(programs, ranking, way)) for ranking in rankings]))
    if any(each.noise for each in programs):
        row["certain"] = float(np.nanmean([np.nanmean(certain_taus(programs, ranking)) for ranking in rankings]))
    for k in (1, 5):
        slow = [top_k_slowdown(ranking[p.graph.name], p.costs, k) for ranking in rankings for p in programs]
        row[f"top_{k}"] = float(np.mean(slow))
    return row


if __name__ == "__main__":
    main()
