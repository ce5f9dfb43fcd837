"""How long is one of the compiler's cycles, in kernels of different kinds? Kernels measured on a real TPU v3 tell.

Run it as: python -m benchmarks.kernel_weights --json kernel_weights.json

Every file of --tiles (npz with runtimes) is one kernel; its program has the same name in --modules. Of the tiles that
were measured, the one with the fewest cycles is what the compiler would choose, and what counts: cycles are added over
kernels that all have the compiler's choice.

Columns: kind of kernel, the compiler's cycles (estimated) and the nanoseconds (measured) at that tile; ratio: measured
time over cycles at the nominal clock of a TPU v3, 940 MHz; ratio_low, ratio_high: the same over all measured tiles. The
last rows are geometric means of the ratio by kind, and weight: this relative to the mean of products (convolutions and
dots). A kernel of a microsecond or two may spend much of it on starting, so its ratio is an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from autotune.errors import AutotuneError
from autotune.hlo.modules import entry_computation
from autotune.hlo.reader import read
from autotune.hlo.window_config import PENALTY
from autotune.targets.tpu.candidates import candidates_of
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.kernel_kinds import KernelKind, kind_of
from benchmarks.common import SHARED, parser, publish
from benchmarks.tile_tau import match_cycles
from cost_model import TileConfigs
from cost_model.npz import read_npz
from protos import hlo_pb2

_CYCLES_PER_NANOSECOND: Final = 0.94


def main() -> None:
    """Compare every kernel, and print the table."""
    arguments = parser(__doc__)
    data = SHARED / "data" / "tpugraphs"
    arguments.add_argument("--modules", type=Path, default=data / "modules", help="the folder of the programs")
    arguments.add_argument("--tiles", type=Path, default=data / "tile" / "xla" / "train", help="the folder of the npz")
    options = arguments.parse_args()
    files = sorted(options.tiles.glob("*.npz"))
    if not files:
        arguments.error(f"--tiles: expected a folder of npz files, found none in {options.tiles}")
    rows = []
    try:
        with TpuCompiler("v3") as compiler:
            for path in files:
                row = _compare(compiler, path, options.modules / f"{path.stem}.pb")
                if row is not None:
                    rows.append(row)
    except AutotuneError as error:
        arguments.exit(1, f"{error}\n")
    publish("time per cycle, kernels measured on TPU v3", [*rows, *by_kind(rows)], options.json)


def _compare(compiler: TpuCompiler, tiles: Path, program: Path) -> dict[str, Any] | None:
    """A row; None for a kernel of which no measured tile is in the compiler's list."""
    arrays = read_npz(tiles)
    if not isinstance(arrays.configs, TileConfigs) or arrays.runtimes is None:
        return None
    module = read(program, keep_optimised=True).proto
    try:
        cycles = match_cycles(arrays.configs, candidates_of(compiler, module))
    except AutotuneError as error:
        print(f"left out: {tiles.stem}: {str(error).partition(chr(10))[0]}", flush=True)
        return None
    usable = cycles < PENALTY
    if not usable.any():
        print(f"left out: {tiles.stem}: no measured tile is among the compiler's", flush=True)
        return None
    nanoseconds, cycles = arrays.runtimes[usable].astype(np.float64), cycles[usable]
    ratios = nanoseconds * _CYCLES_PER_NANOSECOND / cycles
    choice = int(cycles.argmin())
    return {
        "kernel": tiles.stem,
        "kind": _kind(module).value,
        "cycles": float(cycles[choice]),
        "nanoseconds": float(nanoseconds[choice]),
        "ratio": float(ratios[choice]),
        "ratio_low": float(ratios.min()),
        "ratio_high": float(ratios.max()),
    }


def _kind(module: hlo_pb2.HloModuleProto) -> KernelKind:
    computations = {each.id: each for each in module.computations}
    entry = entry_computation(module)
    return kind_of(next(each for each in entry.instructions if each.id == entry.root_id), computations)


def by_kind(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Geometric means of the ratio of every kind, and weights relative to products."""
    means = {
        kind: float(np.exp(np.mean([np.log(row["ratio"]) for row in rows if row["kind"] == kind])))
        for kind in dict.fromkeys(row["kind"] for row in rows)
    }
    for kind, mean in means.items():
        count = sum(row["kind"] == kind for row in rows)
        weight = {"weight": mean / means[product]} if (product := KernelKind.PRODUCT.value) in means else {}
        yield {"kernel": f"mean of {count}", "kind": kind, "ratio": mean} | weight


if __name__ == "__main__":
    main()
