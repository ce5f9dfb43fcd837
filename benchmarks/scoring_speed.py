"""Configs per second of `Scorer`, against a batch of copies of the graph as the original code makes it.

Run it as: python -m benchmarks.scoring_speed --json scoring_speed.json

The three ways take turns; each has the best of its rounds. `plain` scores one batch of 40 configs a round, in float32;
the others score all. All columns are measured here but for these two:

- distinct is how many hidden values differ, over all nodes, configs and layers, weighted with what they cost;
- of_peak is the time that the matrix products over them would take at the best rate that this machine reached in a
  large product (the table below), over the time measured.

Memory is the most that a process of its own held while scoring, less what it held before, after a first small batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.common import REPOSITORY, SHARED, parser, publish
from benchmarks.plain import plain_scores
from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, features
from cost_model.architecture import ARCHITECTURES, Architecture
from cost_model.metrics import kendall_tau
from cost_model.network import SageNetwork
from cost_model.npz import read_npz
from cost_model.refinement import Refinement
from cost_model.scoring import Scorer
from cost_model.scoring import linear as scoring_linear

PROGRAMS: Final = {
    "unet_3d.4x4.bf16": ("layout/xla/default/valid/unet_3d.4x4.bf16.npz", 100),
    "alexnet": ("layout_alexnet/train.npz", 1000),
    "fusion.191": ("tile/xla/train/fusion.191.npz", 500),
}
NETWORKS: Final = {"narrow": ARCHITECTURES["layout:xla"], "wide": ARCHITECTURES["layout:nlp"]}
PLAIN_BATCH: Final = 40
WAYS: Final = ("plain", "float32", "bfloat16")


def main() -> None:
    """Measure, and print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--data", type=Path, default=SHARED / "data" / "tpugraphs", help="the folder of the npz files"
    )
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--memory-of", nargs=3, metavar=("PROGRAM", "NETWORK", "WAY"), help="used by the script")
    options = arguments.parse_args()
    if options.memory_of:
        print(json.dumps(memory(options.data, *options.memory_of)))
        return
    missing = [str(options.data / path) for path, _ in PROGRAMS.values() if not (options.data / path).is_file()]
    if missing:
        arguments.error(f"--data: expected the data set, missing: {', '.join(missing)}")
    peaks = {"float32": peak_rate(torch.float32), "bfloat16": peak_rate(torch.bfloat16)}
    rows = [
        _measure(options.data, program, network, options.rounds, peaks)
        for program, network in itertools.product(PROGRAMS, NETWORKS)
    ]
    title = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in peaks.items())
    publish(f"configs per second (matrix products here: {title})", rows, options.json)


def load(data: Path, program: str) -> tuple[ProgramGraph, ConfigBatch]:
    """A program and as many of its configs as the benchmark takes."""
    path, count = PROGRAMS[program]
    arrays = read_npz(data / path)
    assert arrays.configs is not None
    return arrays.graph, arrays.configs[:count]


def build(network: str, configs: ConfigBatch) -> SageNetwork:
    """A published network for configs of this kind, with random weights of the spread that the golden file uses."""
    columns = features.LAYOUT_FEATURES if isinstance(configs, LayoutConfigs) else features.TILE_FEATURES
    result = SageNetwork(dataclasses.replace(NETWORKS[network], config_features=columns))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.normal_(0, (2 / parameter.shape[-1]) ** 0.5, generator=generator)
    return result


def memory(data: Path, program: str, network: str, way: str) -> float:
    """The most memory that one way of scoring takes, MB; measured once per process."""
    graph, configs = load(data, program)
    score = _scorers(build(network, configs), graph)[way]
    score(configs[:2])
    Path("/proc/self/clear_refs").write_text("5")  # starts the count of the peak anew
    before = _peak_megabytes()
    score(configs[:PLAIN_BATCH] if way == "plain" else configs)
    return _peak_megabytes() - before


def _peak_megabytes() -> float:
    """The most physical memory that this process has held (not `getrusage`, which counts the parent's before exec)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


def _measure(data: Path, program: str, network: str, rounds: int, peaks: dict[str, float]) -> dict[str, Any]:
    graph, configs = load(data, program)
    model = build(network, configs)
    ways = _scorers(model, graph)
    batches = dict.fromkeys(WAYS, configs) | {"plain": configs[:PLAIN_BATCH]}
    scores = {name: ways[name](batches[name]) for name in WAYS}  # also the warming up
    seconds = dict.fromkeys(WAYS, float("inf"))
    for _ in range(rounds):
        for name in WAYS:
            start = time.perf_counter()
            ways[name](batches[name])
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    rates = {name: len(batches[name]) / seconds[name] for name in WAYS}
    work, whole = _work(model.architecture, graph, configs)
    error = np.abs(scores["float32"][:PLAIN_BATCH] - scores["plain"]).max() / np.abs(scores["plain"]).max()
    row: dict[str, Any] = {"program": program, "network": network, "configs": len(configs), "plain": rates["plain"]}
    for name in WAYS[1:]:
        row[name] = rates[name]
        row[f"{name}_ratio"] = rates[name] / rates["plain"]
        row[f"{name}_of_peak"] = work / peaks[name] / 1e9 / seconds[name]
    row["tau"] = kendall_tau(scores["bfloat16"], scores["float32"])
    row["error_ppm"] = float(1e6 * error)
    row["distinct"] = work / whole
    for name in WAYS:
        row[f"{name}_MB"] = _memory_in_child(data, program, network, name)
    return row


def _scorers(model: SageNetwork, graph: ProgramGraph) -> dict[str, Callable[[ConfigBatch], Any]]:
    def plain(configs: ConfigBatch) -> Any:
        with torch.inference_mode():
            return plain_scores(model, graph, configs).numpy()

    exact, fast = Scorer(model), Scorer(model, precision="bfloat16")
    return {
        "plain": plain,
        "float32": lambda configs: exact.score(graph, configs),
        "bfloat16": lambda configs: fast.score(graph, configs),
    }


def _work(architecture: Architecture, graph: ProgramGraph, configs: ConfigBatch) -> tuple[float, float]:
    """Floating point operations of the convolutions: over distinct values, and over all of them."""
    everywhere = not isinstance(configs, LayoutConfigs)
    sizes = Refinement(graph, len(architecture.channels), everywhere=everywhere).plan(configs).sizes
    widths = itertools.pairwise((architecture.in_channels, *architecture.channels))
    costs = [4 * before * after for before, after in widths]
    work = sum(size * cost for size, cost in zip(sizes, costs, strict=False))
    return float(work), float(len(graph) * len(configs) * sum(costs))


def peak_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """GFLOP/s of the largest convolution's product over as many rows as fit into the cache; best of many."""
    rows, weight = torch.randn(size, 512).to(dtype), torch.randn(1024, 512).to(dtype)
    bias = torch.zeros(1024, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(50):
            start = time.perf_counter()
            scoring_linear(rows, weight, bias)
            best = min(best, time.perf_counter() - start)
    return 2 * size * 512 * 1024 / best / 1e9


def _memory_in_child(data: Path, *what: str) -> float:
    command = [sys.executable, "-m", "benchmarks.scoring_speed", "--data", str(data), "--memory-of", *what]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600)
    return float(json.loads(finished.stdout))


if __name__ == "__main__":
    main()
