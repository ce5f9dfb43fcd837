"""Learning within one graph: Kendall's tau on alexnet's validation configs after 2,000 iterations, beside baselines.

Run it as: python -m benchmarks.train_alexnet --json train_alexnet.json
(an hour or more on two cores; `--out` keeps the trainings, and a second call goes on where the first was interrupted)

Trains on layout_alexnet/train.npz (23,924 configs measured on a TPU v3) with the narrow network, and judges on all
2,990 configs of valid.npz. `seconds` is the training alone. The ensemble of a recipe is that of its seeds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.baselines import boosted_trees_scores, ridge_scores
from benchmarks.common import SHARED, parser, publish
from cost_model import CostModel, LayoutConfigs
from cost_model.ensemble import EnsembleCostModel
from cost_model.learned import LearnedCostModel
from cost_model.metrics import kendall_tau
from training.data.store import Split, StoredGraph, open_split
from training.evaluation.evaluate import evaluate_model
from training.recipes import Recipe, override, published
from training.trainer import MODEL, Hardware, Schedule, train

COLLECTION: Final = "layout:xla:default"
GRAPH: Final = "alexnet_train_batch_32"
PUBLISHED_FIGURES: Final = {"published": 0.826, "list_mle": 0.834}
"""Of the original code, one seed each, after as many iterations; bootstrap error .0055 (issue 5 of this project)."""

_LIST_MLE: Final = {
    "loss.objective": "list_mle",
    "optimisation.optimiser": "adamw",
    "optimisation.epsilon": 1e-6,
    "optimisation.head_weight_decay": 1e-4,
    "optimisation.gradient_clip": 100.0,
    "slate_size": 10,
    "slates": 4,
}
_CHANGE: Final = {**_LIST_MLE, "loss.norm_limit": None, "architecture.hops": 2, "architecture.change_width": 64}
"""Without the limit: it scales down what configs differ by, too, where the cost of the whole program is large."""
_LATE: Final = {
    **_LIST_MLE,
    "loss.norm_limit": None,
    "architecture.hops": 2,
    "architecture.layout_embedding": 8,
    "architecture.late_width": 512,
    "slate_size": 100,
}
"""A config costs next to nothing there, so there are ten times as many."""
_PAIRWISE: Final = {"loss.objective": "pairwise_hinge", "loss.scale": 100.0}

RECIPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "published": {},
    "published_code": {"architecture.residual": False, "architecture.feature_transform": "relu_log"},
    "list_mle": _LIST_MLE,
    "pairwise_hinge": _PAIRWISE,
    "list_mle+embedding": {**_LIST_MLE, "architecture.layout_embedding": 4},
    "list_mle+modulo": {**_LIST_MLE, "architecture.modulo": True},
    "list_mle+hops": {**_LIST_MLE, "architecture.hops": 2},
    "list_mle+hops+change": _CHANGE,
    "list_mle+hops+change of 16 slates": {**_CHANGE, "slates": 16},
    "list_mle+hops+embedding+late": _LATE,
    "list_mle+bfloat16": {**_LIST_MLE, "precision": "bfloat16"},
}


def main() -> None:
    """Train, judge, and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        splits = [_open(options.data, Path(temporary), split) for split in ("train", "valid")]
        (graph,), (valid,) = splits
        out = options.out or Path(temporary) / "out"
        rows = [] if options.skip_baselines else _baselines(graph, valid)
        for name in options.recipes:
            recipe = override(published(COLLECTION), {**RECIPES[name], "iterations": options.iterations})
            models, results = [], []
            for seed in range(options.seeds):
                model, row = _train(override(recipe, {"seed": seed}), graph, valid, out / f"{name}-{seed}")
                print(f"{name}, seed {seed}: {row}", flush=True)
                models.append(model)
                results.append(row)
            rows.append(_summary(name, results, models, valid))
    publish(f"tau on {len(valid):,} configs of alexnet, {options.iterations:,} iterations", rows, options.json)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, default=SHARED / "data" / "tpugraphs" / "layout_alexnet")
    arguments.add_argument("--out", type=Path, help="keep the trainings here")
    arguments.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--iterations", type=int, default=2000)
    arguments.add_argument("--threads", type=int, help="of a training; as many as there are cores if not given")
    arguments.add_argument("--skip-baselines", action="store_true")
    options = arguments.parse_args()
    if missing := [name for name in ("train.npz", "valid.npz") if not (options.data / name).is_file()]:
        arguments.error(f"--data: expected train.npz and valid.npz, missing: {', '.join(missing)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def _open(data: Path, temporary: Path, split: str) -> Split:
    """The file as part of a data set."""
    folder = temporary / "data" / "layout" / "xla" / "default" / split
    folder.mkdir(parents=True)
    (folder / f"{GRAPH}.npz").symlink_to(data.resolve() / f"{split}.npz")
    return open_split(temporary / "data", COLLECTION, split, store=temporary / "store", workers=1)


def _train(
    recipe: Recipe, graph: StoredGraph, valid: StoredGraph, out: Path
) -> tuple[LearnedCostModel, dict[str, Any]]:
    start = time.perf_counter()
    result = train(recipe, [graph], out, schedule=Schedule(checkpoint_every=500), hardware=Hardware("cpu"))
    seconds = time.perf_counter() - start
    model = LearnedCostModel.from_checkpoint(out / MODEL)
    made = result.iterations - result.resumed_at
    tau = evaluate_model(model, [valid]).mean("tau").value
    return model, {"tau": tau, "seconds": seconds if made == recipe.iterations else None}


def _summary(
    name: str, results: Sequence[Mapping[str, Any]], models: Sequence[LearnedCostModel], valid: StoredGraph
) -> dict[str, Any]:
    """One row for all seeds of a recipe."""
    taus = [row["tau"] for row in results]
    seconds = [row["seconds"] for row in results if row["seconds"] is not None]
    ensemble: CostModel | None = EnsembleCostModel(models) if len(models) > 1 else None
    return {
        "ranker": name,
        "tau": float(np.mean(taus)),
        "lowest": min(taus),
        "highest": max(taus),
        "ensemble": evaluate_model(ensemble, [valid]).mean("tau").value if ensemble else None,
        "original_code": PUBLISHED_FIGURES.get(name),
        "seeds": len(taus),
        "seconds": float(np.mean(seconds)) if seconds else None,
    }


def _baselines(graph: StoredGraph, valid: StoredGraph) -> list[dict[str, Any]]:
    """Rankers that are no networks."""
    trained, judged = (each.configs(np.arange(len(each))) for each in (graph, valid))
    assert isinstance(trained, LayoutConfigs)
    assert isinstance(judged, LayoutConfigs)
    assert graph.runtimes is not None
    assert valid.runtimes is not None
    rankers: dict[str, NDArray[Any]] = {
        "ridge on one-hot layouts": ridge_scores(trained, graph.runtimes, judged),
        "300 boosted trees": boosted_trees_scores(trained, graph.runtimes, judged),
        "analytical:tpu-v3": CostModel.load("analytical:tpu-v3").score(valid.graph, judged),
    }
    return [{"ranker": name, "tau": kendall_tau(scores, valid.runtimes)} for name, scores in rankers.items()]


if __name__ == "__main__":
    main()
