"""Iterations per second of a training step, against a plain step in PyTorch Geometric.

Run it as: python -m benchmarks.training_speed --json training_speed.json

A step is: prepare the batch, scores, loss, gradients, optimiser. The plain step copies the graph for every config, as
the original code does; it has the better of two arrangements: one batch of all copies, or one per slate. Ours plans
(`training.plans`) and computes distinct values only. The ways take turns; each has the best of its rounds.

- same: the batch as it is. All slates are of one graph (alexnet, unet) or of nine small ones (tiles), and share more
  than those of a whole collection do.
- apart: every slate has a graph of its own, made different from the others in a column that is 0 in all programs.
- of_peak: the matrix products of a step (three times those of the scores) at the best rate that this machine reached in
  a large product, over the time measured.
- bfloat16 is for processors with instructions for it; others emulate it, slowly.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import SHARED, parser, publish
from benchmarks.plain import plain_scores
from benchmarks.scoring_speed import peak_rate
from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
from cost_model.network import SageNetwork
from cost_model.npz import TuningArrays, read_npz
from cost_model.refinement import Refinement
from training.forward import batch_scores
from training.module import slate_loss
from training.plans import BatchPlan, plan_batch
from training.recipes import Recipe, published

TILES: Final = "tile/xla/train"
CASES: Final = {
    "narrow, alexnet": ("layout:xla:default", "layout_alexnet/train.npz", 4, 10),
    "wide, unet_3d": ("layout:nlp:default", "layout/xla/default/valid/unet_3d.4x4.bf16.npz", 4, 10),
    "tile, kernels": ("tile:xla", TILES, 10, 100),
}

_UNUSED: Final = 1
"""The column of node features that is always 0."""

Slate = tuple[ProgramGraph, Refinement, ConfigBatch]


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """One batch, and what it costs to learn from.

    Attributes:
        recipe: network, loss and optimiser.
        slates: the configs.
        targets: float32[slates, slate_size].
    """

    recipe: Recipe
    slates: list[Slate]
    targets: Tensor


def main() -> None:
    """Measure, and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, default=SHARED / "data" / "tpugraphs", help="the folder of the files")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), metavar="CASE")
    arguments.add_argument("--bfloat16", action="store_true", help="also measure bfloat16")
    options = arguments.parse_args()
    if missing := [path for _, path, _, _ in CASES.values() if not (options.data / path).exists()]:
        arguments.error(f"--data: expected the data set, missing: {', '.join(missing)}")
    peaks = {torch.float32: peak_rate(torch.float32)}
    if options.bfloat16:
        peaks[torch.bfloat16] = peak_rate(torch.bfloat16)
    rows = [_measure(name, load(options.data, name), options.rounds, peaks) for name in options.cases]
    title = ", ".join(f"{_name(dtype)} {rate:.0f} GFLOP/s" for dtype, rate in peaks.items())
    publish(f"training steps per second (matrix products here: {title})", rows, options.json)


def load(data: Path, name: str) -> Work:
    """The batch of a case."""
    collection, path, size, slates = CASES[name]
    paths = sorted((data / path).glob("*.npz")) if (data / path).is_dir() else [data / path]
    recipe = dataclasses.replace(published(collection), slate_size=size, slates=slates)
    everywhere = collection == "tile:xla"
    programs = [read_npz(each) for each in paths]
    refined = [Refinement(each.graph, len(recipe.architecture.channels), everywhere=everywhere) for each in programs]
    random = np.random.default_rng(0)
    chosen, targets = [], []
    for number in range(slates):
        program = programs[number % len(programs)]
        costs = _costs(program)
        ids = random.integers(len(costs), size=size)
        chosen.append((program.graph, refined[number % len(programs)], _some(program.configs, ids)))
        targets.append(costs[ids])
    return Work(recipe, chosen, torch.tensor(np.array(targets), dtype=torch.float32))


def _costs(program: TuningArrays) -> Any:
    assert program.runtimes is not None
    return program.runtimes * 1e-9 if program.normalizers is None else program.runtimes / program.normalizers


def _some(configs: ConfigBatch | None, ids: Any) -> ConfigBatch:
    if isinstance(configs, LayoutConfigs):
        return LayoutConfigs(configs.node_config_feat[ids])
    assert configs is not None
    return TileConfigs(configs.config_feat[ids])


def _measure(name: str, work: Work, rounds: int, peaks: dict[torch.dtype, float]) -> dict[str, Any]:
    ways: dict[str, Callable[[SageNetwork], Tensor]] = {
        "plain_batch": lambda network: _plain(network, work, by_slate=False),
        "plain_slates": lambda network: _plain(network, work, by_slate=True),
    }
    batches = {"same": work.slates, "apart": _apart(work.slates)}
    for dtype, (kind, slates) in itertools.product(peaks, batches.items()):
        ways[f"{_name(dtype)}_{kind}"] = lambda network, dtype=dtype, slates=slates: batch_scores(  # type: ignore[misc]
            network, plan_batch(slates), dtype
        )
    steps = {key: _stepper(work, way) for key, way in ways.items()}
    seconds = dict.fromkeys(ways, float("inf"))
    for turn in range(rounds + 1):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:  # the first is for warming up
                seconds[key] = min(seconds[key], time.perf_counter() - start)
    plain = min(seconds["plain_batch"], seconds["plain_slates"])
    row: dict[str, Any] = {"case": name, "plain": 1 / plain, "plain_is": min(list(ways)[:2], key=seconds.__getitem__)}
    for dtype, (kind, slates) in itertools.product(peaks, batches.items()):
        key = f"{_name(dtype)}_{kind}"
        row[key] = 1 / seconds[key]
        row[f"{key}_ratio"] = plain / seconds[key]
        row[f"{key}_of_peak"] = 3e-9 * _operations(work, plan_batch(slates)) / peaks[dtype] / seconds[key]
    return row


def _apart(slates: list[Slate]) -> list[Slate]:
    """The same with a graph of its own for every slate."""
    result = []
    for number, (graph, refined, configs) in enumerate(slates):
        node_feat = graph.node_feat.copy()
        node_feat[:, _UNUSED] = number + 1
        own = dataclasses.replace(graph, node_feat=node_feat)
        everywhere = isinstance(configs, TileConfigs)
        result.append((own, Refinement(own, refined.convolutions, everywhere=everywhere), configs))
    return result


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _plain(network: SageNetwork, work: Work, *, by_slate: bool) -> Tensor:
    """Scores of copies: one batch per slate, or one per graph with the configs of all its slates."""
    if by_slate:
        return torch.cat([plain_scores(network, graph, configs) for graph, _, configs in work.slates])
    size = work.recipe.slate_size
    groups: dict[int, list[int]] = {}
    for number, (graph, _, _) in enumerate(work.slates):
        groups.setdefault(id(graph), []).append(number)
    parts, places = [], []
    for members in groups.values():
        configs = [work.slates[number][2] for number in members]
        rows = np.concatenate([getattr(each, _array_of(each)) for each in configs])
        parts.append(plain_scores(network, work.slates[members[0]][0], type(configs[0])(rows)))
        places += [number * size + member for number in members for member in range(size)]
    return torch.cat(parts)[torch.tensor(np.argsort(places))]


def _array_of(configs: ConfigBatch) -> str:
    return "node_config_feat" if isinstance(configs, LayoutConfigs) else "config_feat"


def _stepper(work: Work, scores: Callable[[SageNetwork], Tensor]) -> Callable[[], None]:
    """A training step with a network of its own."""
    torch.manual_seed(0)
    network = SageNetwork(work.recipe.architecture)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-5)

    def step() -> None:
        optimiser.zero_grad()
        slate_loss(work.recipe.loss, scores(network).view(work.targets.shape), work.targets).backward()
        optimiser.step()

    return step


def _operations(work: Work, plan: BatchPlan) -> float:
    """Floating point operations of the convolutions' products, forward."""
    widths = itertools.pairwise((work.recipe.architecture.in_channels, *work.recipe.architecture.channels))
    total = 0.0
    for (before, after), values, convolution in zip(widths, plan.sizes, plan.convolutions, strict=False):
        senders = values if convolution.senders is None else len(convolution.senders)
        total += 2.0 * before * after * (values + senders)
    return total


if __name__ == "__main__":
    main()
