"""How well do the compiler's cycles, and cost models, rank tiles that were measured on a real TPU v3?

Run it as: python -m benchmarks.tile_tau --json tile_tau.json [--model CHECKPOINT]

Every file of --tiles (npz with runtimes) is one kernel; its program has the same name in --modules. The compiler lists
its tiles for that program, each with its own estimate in cycles (never a time); a measured config is matched by its
kernel and output bounds. The rankers:

- compiler cycles: that estimate;
- analytical:...: our own analytical model;
- fewest iterations: by the same model, of a device that computes and moves bytes in no time;
- largest tile: by the product of all bounds;
- the model of --model.

Columns, where a missing number is one that is not defined (all scores are equal):

- matched: how many configs are in the compiler's list. Tiles to which it gives INT64_MAX cycles are ruled out there.
- tau, top_1, top_5: Kendall's tau-b, and how much slower than the best config the best of the first 1 or 5 is (1: no
  slower), over the matched configs alone, so that all rankers rank the same; over all where the compiler has no list.
- tau_all: tau over all configs, those without a match last in the compiler's order.

Configs stand in the files with the default first. So that equal scores are no advantage, they are put in random order,
and top_1 and top_5 are means over many such orders. The last rows are means over the kernels that the compiler has a
list for: of equal weight, with a 95 % bootstrap interval of tau (tau_low, tau_high), and weighted by matched configs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import AutotuneError
from autotune.hlo.reader import read
from autotune.hlo.window_config import TileCandidate
from autotune.spaces.tpu_tile import tile_features
from autotune.targets.tpu.candidates import candidates_of
from autotune.targets.tpu.compiler import TpuCompiler
from benchmarks.common import SHARED, parser, publish
from cost_model import AnalyticalCostModel, CostModel, CostModelError, ProgramGraph, TileConfigs, features
from cost_model.devices import DEVICES
from cost_model.metrics import bootstrap_interval, kendall_tau, top_k_slowdown
from cost_model.npz import read_npz
from protos import hlo_pb2

CYCLES: Final = "compiler cycles"
METRICS: Final = ("tau", "top_1", "top_5", "tau_all")
ORDERS: Final = 100
"""Random orders of configs with equal scores."""

Scores = NDArray[np.float64]
Ranker = Callable[[ProgramGraph, TileConfigs], Scores]
Lister = Callable[[hlo_pb2.HloModuleProto], Sequence[TileCandidate]]


@dataclass(frozen=True, eq=False)
class Ranked:
    """One kernel and its measured tiles.

    Attributes:
        name: of its files.
        runtimes: int64[c], ns; empty when there is nothing to judge.
        scores: by ranker, float64[c]; inf where the compiler has no such tile.
        candidates: how many tiles the compiler lists; None without a list.
        note: why there is no list, or nothing to judge.
    """

    name: str
    runtimes: NDArray[np.int64]
    scores: Mapping[str, Scores]
    candidates: int | None
    note: str = ""

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Which configs the compiler lists; all of them where it has no list."""
        return np.isfinite(self.scores.get(CYCLES, np.zeros(len(self.runtimes))))


def main() -> None:
    """Rank every kernel, and print the table."""
    arguments = parser(__doc__)
    data = SHARED / "data" / "tpugraphs"
    arguments.add_argument("--modules", type=Path, default=data / "modules", help="the folder of the programs")
    arguments.add_argument("--tiles", type=Path, default=data / "tile" / "xla" / "train", help="the folder of the npz")
    arguments.add_argument("--model", help="a cost model to judge too: its name or its checkpoint")
    arguments.add_argument("--target", default="tpu:v3", help="whose compiler lists the tiles (default: tpu:v3)")
    options = arguments.parse_args()
    files = sorted(options.tiles.glob("*.npz"))
    if not files:
        arguments.error(f"--tiles: expected a folder of npz files, found none in {options.tiles}")
    kind, _, topology = options.target.partition(":")
    if kind != "tpu" or not topology:
        arguments.error(f"--target: expected tpu:GENERATION, such as tpu:v3, found {options.target!r}")
    programs = {path.stem: path for path in sorted(options.modules.glob("*")) if path.is_file()}
    try:
        with TpuCompiler(topology) as compiler:
            rankers = make_rankers(compiler.topology.cost_model_device, options.model)
            lister = lambda module: candidates_of(compiler, module)  # noqa: E731
            rows = list(table([rank(path, programs, lister, rankers) for path in files]))
            version = compiler.compiler_version
    except (AutotuneError, CostModelError) as error:
        arguments.exit(1, f"{error}\n")
    title = f"tiles measured on TPU v3 against cycles: estimated (compiler cycles, tpu {topology}, {version})"
    publish(title, [*rows, *summary(rows)], options.json)


def make_rankers(device: str, model: str | None = None) -> dict[str, Ranker]:
    """The rankers that need no compiler, by name.

    Args:
        device: name of the device whose figures the analytical model takes.
        model: name or checkpoint of a further cost model.

    Raises:
        CostModelError: there is no such device or model.
    """
    models = [CostModel.load(f"analytical:{device}"), *([CostModel.load(model)] if model else [])]
    rankers: dict[str, Ranker] = {each.name: _scores_of(each) for each in models}
    endless = 1e100
    instant = dataclasses.replace(
        DEVICES[device], peak_float32=endless, peak_bfloat16=endless, memory_bandwidth=endless, transfer_overhead=1.0
    )
    return rankers | {"fewest iterations": _scores_of(AnalyticalCostModel(instant)), "largest tile": _by_volume}


def rank(path: Path, programs: Mapping[str, Path], lister: Lister, rankers: Mapping[str, Ranker]) -> Ranked:
    """Scores the measured tiles of one kernel. Whatever is wrong with it becomes its note.

    Args:
        path: its npz file.
        programs: the files of programs by name without ending.
        lister: gives the compiler's tiles for a program.
        rankers: the others.
    """
    nothing = np.zeros(0, np.int64)
    try:
        arrays = read_npz(path)
    except CostModelError as error:
        return Ranked(path.stem, nothing, {}, None, f"not read: {error}")
    if not isinstance(arrays.configs, TileConfigs) or arrays.runtimes is None:
        return Ranked(path.stem, nothing, {}, None, "no measured tiles")
    scores: dict[str, Scores] = {}
    notes = []
    for name, ranker in rankers.items():
        try:
            scores[name] = ranker(arrays.graph, arrays.configs)
        except CostModelError as error:
            notes.append(f"{name}: {_first_line(error)}")
    candidates: Sequence[TileCandidate] = ()
    try:
        if path.stem not in programs:
            raise AutotuneError("no program of that name in --modules")
        candidates = lister(read(programs[path.stem], keep_optimised=True).proto)
        if not candidates:
            notes.append("the compiler has no candidates for this kernel")
    except AutotuneError as error:
        notes.append(_first_line(error))
    cycles = match_cycles(arrays.configs, candidates)
    if np.isfinite(cycles).any():
        scores = {CYCLES: cycles} | scores
    elif candidates:
        notes.append("no config is among the compiler's candidates")
    return Ranked(path.stem, arrays.runtimes, scores, len(candidates) or None, "; ".join(notes))


def match_cycles(configs: TileConfigs, candidates: Sequence[TileCandidate]) -> Scores:
    """The compiler's cycles for each config.

    Args:
        configs: c configs.
        candidates: the compiler's list.

    Returns:
        float64[c]; inf where no candidate has the same kernel and output bounds.
    """
    columns = np.r_[features.KERNEL_BOUNDS.start : features.OUTPUT_BOUNDS.stop]
    listed = tile_features(candidates).config_feat[:, columns]
    cycles = {row.tobytes(): candidate.cycles for row, candidate in zip(listed, candidates, strict=True)}
    rows = np.ascontiguousarray(configs.config_feat[:, columns])
    return np.array([cycles.get(row.tobytes(), math.inf) for row in rows])


def table(kernels: Sequence[Ranked]) -> Iterator[dict[str, Any]]:
    """One row per kernel and ranker; one for a kernel without anything to judge."""
    for kernel in kernels:
        listed = int(kernel.matched.sum()) if CYCLES in kernel.scores else 0
        about = {"kernel": kernel.name, "configs": len(kernel.runtimes), "candidates": kernel.candidates}
        about |= {"matched": listed, "ranker": None}
        note = {"note": kernel.note} if kernel.note else {}
        if not kernel.scores:
            yield about | note
        for name in kernel.scores:
            yield about | {"ranker": name} | quality(kernel, name) | note


def quality(kernel: Ranked, ranker: str) -> dict[str, float | None]:
    """tau, top_1, top_5 and tau_all of one ranker; None where it is not defined (all scores equal)."""
    scores, runtimes, matched = kernel.scores[ranker], kernel.runtimes, kernel.matched
    few, measured = scores[matched], runtimes[matched]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(few)) for _ in range(ORDERS)]
    top_1, top_5 = (
        float(np.mean([top_k_slowdown(few[order], measured[order], k) for order in orders])) for k in (1, 5)
    )
    values = (kendall_tau(few, measured), top_1, top_5, kendall_tau(scores, runtimes))
    return {name: value if math.isfinite(value) else None for name, value in zip(METRICS, values, strict=True)}


def summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each ranker, the mean over kernels and the mean weighted by configs.

    Args:
        rows: from `table`. Those of kernels without a list, or with a metric that is not defined, do not count.
    """
    judged = [row for row in rows if row["matched"] and None not in (row[metric] for metric in METRICS)]
    for ranker in dict.fromkeys(row["ranker"] for row in judged):
        own = [row for row in judged if row["ranker"] == ranker]
        values = np.array([[row[metric] for metric in METRICS] for row in own])
        weights = np.array([row["matched"] for row in own])
        low, high = bootstrap_interval(values[:, METRICS.index("tau")], seed=0)
        about = {"configs": sum(row["configs"] for row in own), "matched": int(weights.sum()), "ranker": ranker}
        mean, weighted = (np.average(values, axis=0, weights=each).tolist() for each in (None, weights))
        interval = {"tau_low": low, "tau_high": high}
        yield {"kernel": f"mean of {len(own)}"} | about | dict(zip(METRICS, mean, strict=True)) | interval
        yield {"kernel": f"weighted mean of {len(own)}"} | about | dict(zip(METRICS, weighted, strict=True))


def _scores_of(model: CostModel) -> Ranker:
    return lambda graph, configs: model.score(graph, configs).astype(np.float64)


def _by_volume(graph: ProgramGraph, configs: TileConfigs) -> Scores:
    """Minus the product of all bounds; absent ones count 1."""
    volumes = [configs.config_feat[:, each.product] for each in (features.KERNEL_BOUNDS, features.OUTPUT_BOUNDS)]
    largest: Scores = -np.prod(np.maximum(volumes, 1), axis=0, dtype=np.float64)
    return largest


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


if __name__ == "__main__":
    main()
