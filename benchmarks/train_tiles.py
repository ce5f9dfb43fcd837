"""Learning the tiles of one kernel: what `architecture.modulo` and the recipes are worth on runtimes of a real TPU v3.

Run it as: python -m benchmarks.train_tiles --json train_tiles.json
(about ten minutes on two cores)

The 579 tiles of fusion.191 are divided at random, four fifths to train on and one fifth to judge; every row is the mean
over several divisions and seeds (number i of both together). The network is narrow: 64, 64, 128, 128.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.baselines import boosted_trees_scores
from benchmarks.common import SHARED, parser, publish
from cost_model import TileConfigs
from cost_model.learned import LearnedCostModel
from cost_model.metrics import bootstrap_interval, kendall_tau, top_k_slowdown
from cost_model.npz import TuningArrays, read_npz, write_npz
from training.data.store import StoredGraph, open_split
from training.recipes import override, published
from training.trainer import MODEL, Hardware, train

COLLECTION: Final = "tile:xla"
_NARROW: Final = {"architecture.in_channels": 32, "architecture.channels": [64, 64, 128, 128], "slates": 20}

RECIPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "published (margin .01)": {},
    "margin .1, as in the code": {"loss.margin": 0.1},
    "margin .1, modulo": {"loss.margin": 0.1, "architecture.modulo": True},
    "pairwise hinge": {"loss.objective": "pairwise_hinge", "loss.margin": 0.1},
    "ListMLE": {"loss.objective": "list_mle"},
}


def main() -> None:
    """Train, judge, and print the table."""
    options = _options()
    arrays = read_npz(options.data)
    results: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(options.repeats):
            folder = Path(temporary) / str(number)
            train_graph, valid_graph = _divide(arrays, folder, number)
            for name, scores in _baselines(train_graph, valid_graph).items():
                results.setdefault(name, []).append(_worth(scores, valid_graph))
            for place, (name, changes) in enumerate(RECIPES.items()):
                settings = {**_NARROW, **changes, "iterations": options.iterations, "seed": number}
                out = folder / f"run{place}"
                train(override(published(COLLECTION), settings), [train_graph], out, hardware=Hardware("cpu"))
                model = LearnedCostModel.from_checkpoint(out / MODEL)
                scores = model.score(valid_graph.graph, valid_graph.configs(np.arange(len(valid_graph))))
                results.setdefault(name, []).append(_worth(scores, valid_graph))
                print(f"{number}: {name}: tau {results[name][-1][0]:.3f}", flush=True)
    rows = [_row(name, values) for name, values in results.items()]
    title = f"{options.data.stem}: tau over the tiles that were not trained on, {options.iterations:,} iterations"
    publish(title, rows, options.json)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    default = SHARED / "data" / "tpugraphs" / "tile" / "xla" / "train" / "fusion.191.npz"
    arguments.add_argument("--data", type=Path, default=default, help="a file of tiles with runtimes")
    arguments.add_argument("--iterations", type=int, default=500)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    if not options.data.is_file():
        arguments.error(f"--data: expected a tile file of TpuGraphs, found no file {options.data}")
    return options


def _divide(arrays: TuningArrays, folder: Path, seed: int) -> tuple[StoredGraph, StoredGraph]:
    """Two data sets of one program: four fifths of its configs, and the rest."""
    assert isinstance(arrays.configs, TileConfigs)
    assert arrays.runtimes is not None
    assert arrays.normalizers is not None
    order = np.random.default_rng(seed).permutation(len(arrays.configs))
    graphs: list[StoredGraph] = []
    for split, chosen in zip(("train", "valid"), np.split(order, [len(order) * 4 // 5]), strict=True):
        path = folder / "data" / "tile" / "xla" / split / "kernel.npz"
        path.parent.mkdir(parents=True)
        configs = TileConfigs(arrays.configs.config_feat[chosen])
        part = dataclasses.replace(
            arrays, configs=configs, runtimes=arrays.runtimes[chosen], normalizers=arrays.normalizers[chosen]
        )
        write_npz(path, part)
        graphs += open_split(folder / "data", COLLECTION, split, store=folder / "store", workers=1)
    return graphs[0], graphs[1]


def _baselines(train_graph: StoredGraph, valid_graph: StoredGraph) -> dict[str, Any]:
    known, unknown = (graph.configs(np.arange(len(graph))) for graph in (train_graph, valid_graph))
    assert train_graph.runtimes is not None
    return {"300 boosted trees on raw tiles": boosted_trees_scores(known, train_graph.runtimes, unknown)}


def _worth(scores: Any, graph: StoredGraph) -> tuple[float, float]:
    """Tau, and the slowdown of the best of five."""
    assert graph.targets is not None
    return kendall_tau(scores, graph.targets), top_k_slowdown(scores, graph.targets, 5)


def _row(name: str, values: list[tuple[float, float]]) -> dict[str, Any]:
    taus, slowdowns = np.array(values).T
    low, high = bootstrap_interval(taus, seed=0)
    return {
        "ranker": name,
        "tau": float(taus.mean()),
        "low": low,
        "high": high,
        "top_5_slowdown": float(slowdowns.mean()),
        "repeats": len(taus),
    }


if __name__ == "__main__":
    main()
