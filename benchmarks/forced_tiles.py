"""Does the TPU compiler take the tiles that it lists itself? Forces some on single kernels and reads what came out.

Run it as: python -m benchmarks.forced_tiles --json forced_tiles.json

Every program is compiled for every generation and taken apart into kernels. Of those that differ and have a tile, one
half of the kernels tried are the dearest (whose tiles `autotune.search` tries), the others are drawn at random. Tiles
are drawn as a search draws them: from the compiler's own list, cheap ones more often. The last program is one kernel
of the TpuGraphs data set. Columns:

- kernels, tries: kernels that had a tile other than the compiler's choice, and tiles forced on them;
- held: the compiled kernel has the tile;
- not_applied: the compiler silently took another;
- other_failures: it refused, aborted or hung;
- share_held: held / tries; empty without tries;
- no_choice: kernels drawn besides for which the compiler lists no tile, or none but its choice, or that it cannot
  compile alone. What failed, and why, stands on standard error.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from autotune.errors import AutotuneError, SpaceError
from autotune.evaluation import Evaluation, Failed, FailureReason
from autotune.hlo.kernels import Kernel, split_kernels
from autotune.hlo.reader import read
from autotune.spaces.base import Config, Space
from autotune.targets.base import KernelTarget
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.kernel_target import TpuKernelTarget
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.target import DEFAULT_TIME_LIMIT, TpuTarget
from benchmarks.common import REPOSITORY, SHARED, parser, publish
from protos.xla_pb2 import HloModuleProtoWithConfig

GENERATIONS: Final = ("v5e", "v3")
PROGRAMS: Final = ("resnet50_keras_inference.hlo", "dlrm_train_step.hlo")
PUBLISHED: Final = "fusion.191.pb"
"""A convolution of TpuGraphs, compiled for the generation that it was published for."""

PUBLISHED_GENERATION: Final = "v3"
PUBLISHED_TILES: Final = 100

TIME_LIMIT: Final = 120.0
"""Seconds for one kernel with a tile; one to five are usual."""

COUNTS: Final = ("kernels", "tries", "held", "not_applied", "other_failures", "no_choice")


def main() -> None:
    """Force the tiles, and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--per-kernel", type=int, default=5, help="tiles to force on each kernel (default: 5)")
    arguments.add_argument("--kernels", type=int, default=30, help="kernels in all (default: 30)")
    arguments.add_argument("--data", type=Path, default=SHARED / "data", help="the folder of hlo/ and tpugraphs/")
    options = arguments.parse_args()
    if options.per_kernel < 1 or options.kernels < 1:
        arguments.error("--per-kernel, --kernels: expected numbers of 1 or more")
    programs = [REPOSITORY / "examples" / "transformer_block.hlo", *(options.data / "hlo" / name for name in PROGRAMS)]
    published = options.data / "tpugraphs" / "modules" / PUBLISHED
    if missing := [str(path) for path in (*programs, published) if not path.is_file()]:
        arguments.error(f"--data: expected the programs of the benchmark, did not find {', '.join(missing)}")
    shares = evenly(options.kernels, len(GENERATIONS) * len(programs))
    rows, version = [], ""
    try:
        for generation in GENERATIONS:
            with TpuCompiler(generation, time_limit=TIME_LIMIT, workers=2) as compiler:
                version = compiler.compiler_version
                target = TpuKernelTarget(compiler, TpuTarget(generation, compiler=compiler).description)
                for path in programs:
                    kernels = compiled_kernels(compiler, path)
                    counts = try_kernels(target, in_order(kernels), most=next(shares), tiles=options.per_kernel)
                    rows.append(row(path.stem, generation, counts))
                if generation == PUBLISHED_GENERATION:
                    kernels = split_kernels(read(published, keep_optimised=True).proto)
                    counts = try_kernels(target, kernels, most=1, tiles=PUBLISHED_TILES)
                    rows.append(row(f"TpuGraphs {published.stem}", generation, counts))
    except AutotuneError as error:
        arguments.exit(1, f"{error}\n")
    total = Counter({name: sum(each[name] for each in rows) for name in COUNTS})
    publish(f"tiles of the TPU compiler's own list, forced ({version})", [*rows, row("all", None, total)], options.json)


def evenly(total: int, parts: int) -> Iterator[int]:
    """A number divided into parts that differ by at most one, the larger ones first."""
    return (total // parts + (number < total % parts) for number in range(parts))


def compiled_kernels(compiler: TpuCompiler, path: Path) -> list[Kernel]:
    """The kernels of a program with the compiler's own layouts.

    Raises:
        AutotuneError: the program cannot be read or compiled.
    """
    print(f"{compiler.topology.name}: {path.stem}", file=sys.stderr)
    program = read(path)
    code = compiler.compile(program.module, compile_options(program.proto), time_limit=DEFAULT_TIME_LIMIT)
    return split_kernels(HloModuleProtoWithConfig.FromString(code).hlo_module)


def in_order(kernels: Iterable[Kernel]) -> Iterator[Kernel]:
    """Kernels that differ and have a tile: the dearest and, in turns with these, others at random."""
    distinct = {kernel.fingerprint: kernel for kernel in kernels if kernel.window is not None}
    dearest = sorted(distinct, key=lambda fingerprint: -_cycles(distinct[fingerprint]))
    drawn = np.random.default_rng(0).permutation(dearest).tolist()
    turns = [fingerprint for pair in zip(dearest, drawn, strict=True) for fingerprint in pair]
    return (distinct[fingerprint] for fingerprint in dict.fromkeys(turns))


def try_kernels(target: KernelTarget, kernels: Iterable[Kernel], *, most: int, tiles: int) -> Counter[str]:
    """Force tiles on the first kernels that have a choice of them.

    Args:
        target: of the kernels.
        kernels: in the order in which to take them.
        most: kernels to try.
        tiles: to force on each; fewer where there are fewer.

    Returns:
        By the names of `COUNTS`.
    """
    counts: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    for kernel in kernels:
        if counts["kernels"] == most:
            break
        try:
            prepared = target.prepare_kernel(kernel)
        except SpaceError as error:
            print(f"  {error}", file=sys.stderr)
            counts["no_choice"] += 1
            continue
        configs = draw(target.space(prepared, "tile"), tiles, rng)
        if not configs:
            counts["no_choice"] += 1
            continue
        counts["kernels"] += 1
        counts += judge(kernel, target.evaluate(prepared, configs))
    return counts


def draw(space: Space, count: int, rng: np.random.Generator) -> list[Config]:
    """Different tiles, the default not among them; all that there are where `count` is more."""
    others = [config for config in space.enumerate() if config != space.default]
    if len(others) <= count:
        return others
    drawn: dict[Config, None] = {}
    while len(drawn) < count:
        config = space.sample(rng)
        if config != space.default:
            drawn[config] = None
    return list(drawn)


def judge(kernel: Kernel, evaluations: Sequence[Evaluation]) -> Counter[str]:
    """Count what became of the tiles of a kernel, and say which failed."""
    counts = Counter(tries=len(evaluations))
    for evaluation in evaluations:
        match evaluation.outcome:
            case Failed(reason, message):
                counts["not_applied" if reason is FailureReason.NOT_APPLIED else "other_failures"] += 1
                print(
                    f"  {kernel.name}: {evaluation.config.to_json()['tile']}: {reason.value}: {message}",
                    file=sys.stderr,
                )
            case _:
                counts["held"] += 1
    return counts


def row(program: str, generation: str | None, counts: Mapping[str, int]) -> dict[str, Any]:
    """A row of the table."""
    numbers = {name: counts.get(name, 0) for name in COUNTS}
    share = numbers["held"] / numbers["tries"] if numbers["tries"] else None
    no_choice = numbers.pop("no_choice")
    return {"program": program, "generation": generation, **numbers, "share_held": share, "no_choice": no_choice}


def _cycles(kernel: Kernel) -> int:
    """That the kernel takes in one execution of its program; 0 where the compiler has no estimate."""
    cycles = kernel.window.estimated_cycles if kernel.window is not None else None
    return (cycles or 0) * kernel.executions


if __name__ == "__main__":
    main()
