"""Which layouts does the TPU compiler give a program when some are forced, and does the analytical model know it?

Run it as: python -m benchmarks.forced_layouts --programs DIR --json forced_layouts.json

Random configs of every program of DIR (and configs near the default, as `autotune collect` draws them) are compiled for
--generation. What the compiler's dump just after layout assignment says is compared with what the analytical model
expects (`FollowedLayouts.changed`). Columns, over all configs of a program, or of all programs in the last row:

- moved: tensors of two dimensions or more that have another order than by default; known: the share of these for which
  the model expects just that order;
- still: tensors that are as by default; false_alarms: the share of these that the model expects to move;
- requests: outputs of convolutions and dots that a config asks another order for; ruled: the share of these for which
  the node has the order that `kept_by_product` says, and met: that is what was asked for.

Tensors that layout assignment did away with are left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from autotune.errors import AutotuneError
from autotune.hlo.graph import program_graph
from autotune.hlo.modules import instructions
from autotune.hlo.reader import read
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.targets.base import PreparedProgram
from autotune.targets.isolation import WorkerFailure
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.target import TpuTarget
from benchmarks.common import parser, publish
from cost_model import DEVICES, features
from cost_model.analytical.layout_tpu import FollowedLayouts
from cost_model.analytical.memory import complete_order, physical_order, same_bytes
from cost_model.analytical.orders import kept_by_product
from cost_model.analytical.tensors import GraphTensors, Order
from protos import hlo_pb2
from training.collecting.programs import find_sources

COUNTS: Final = ("moved", "known", "still", "false_alarms", "requests", "ruled", "met")
_SHARES: Final = {"known": "moved", "false_alarms": "still", "ruled": "requests", "met": "requests"}

Orders = Mapping[str, Order]
"""By the name of the instruction, minor to major."""


def main() -> None:
    """Compare every program, and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--programs", type=Path, required=True, metavar="DIR")
    arguments.add_argument("--generation", default="v5e")
    arguments.add_argument("--configs", type=int, default=12, help="of each program (default: 12)")
    arguments.add_argument("--time-limit", type=float, default=60.0, help="seconds for one compilation (default: 60)")
    options = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    total: Counter[str] = Counter()
    version = ""
    try:
        with TpuCompiler(options.generation, time_limit=options.time_limit) as compiler:
            version = compiler.compiler_version
            target = TpuTarget(options.generation, compiler=compiler, time_limit=options.time_limit)
            for source in find_sources([options.programs]):
                try:
                    counts = _compare(target, compiler, source.path, options.configs)
                except AutotuneError as error:
                    print(f"{source.path}: left out: {error}", file=sys.stderr, flush=True)
                    continue
                total += counts
                rows.append(row(source.path.stem, counts))
                print(rows[-1], file=sys.stderr, flush=True)
    except AutotuneError as error:
        arguments.exit(1, f"{error}\n")
    title = f"layouts given by the compiler ({version}, {options.generation}) when some are forced"
    publish(title, [*rows, row("all", total)], options.json)


def row(program: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Counts, and shares of them; None where there is nothing to have a share of."""
    result: dict[str, Any] = {"program": program}
    for name in COUNTS:
        whole = counts.get(_SHARES.get(name, ""), 0)
        result[name] = counts.get(name, 0) if name not in _SHARES else counts.get(name, 0) / whole if whole else None
    return result


def _compare(target: TpuTarget, compiler: TpuCompiler, path: Path, count: int) -> Counter[str]:
    prepared = target.prepare(read(path))
    space = target.space(prepared, "layout")
    assert isinstance(space, LayoutSpace)
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) if number % 2 else space.mutate(space.default, rng) for number in range(count)]
    graph = program_graph(prepared.described)
    tensors = GraphTensors(graph)
    model = FollowedLayouts(tensors, DEVICES[target.description.cost_model_device])
    expected = model.changed(space.encode(configs))
    names = [instruction.name for instruction in instructions(prepared.module.proto)]
    default, *assigned = _assigned(target, compiler, prepared, [space.default, *configs])
    if default is None:
        raise AutotuneError("the default did not compile once more")
    counts: Counter[str] = Counter()
    for config, orders, found in zip(configs, expected, assigned, strict=True):
        if found is not None:
            counts += compare(tensors, names, default, found, orders)
            counts += _requests(tensors, names, default, found, config)
    return counts


def _assigned(
    target: TpuTarget, compiler: TpuCompiler, prepared: PreparedProgram, configs: Sequence[LayoutConfig]
) -> list[Orders | None]:
    """The layouts just after layout assignment; None for a config that did not compile."""
    # What `realise` gives for the default is the program as it was given, which may be for several partitions.
    modules = [
        target.realise(prepared, config).module if config.orders else prepared.module.module for config in configs
    ]
    options = compile_options(prepared.module.proto, partitioned=True)
    results = compiler.stages_many([CompileRequest(module, options) for module in modules])
    return [
        None
        if isinstance(result, WorkerFailure)
        else {
            instruction.name: tuple(instruction.shape.layout.minor_to_major)
            for instruction in instructions(hlo_pb2.HloModuleProto.FromString(result.after_layout_assignment))
        }
        for result in results
    ]


def compare(
    tensors: GraphTensors, names: Sequence[str], default: Orders, found: Orders, expected: Mapping[int, Order]
) -> Counter[str]:
    """How many tensors moved, stood still, and what was expected of them.

    Args:
        tensors: the program.
        names: of its nodes.
        default: what the compiler gives it by itself.
        found: what it gives it with a config.
        expected: the orders by node that the model expects to be others than by default.
    """
    counts: Counter[str] = Counter()
    for node, name in enumerate(names):
        shape = tensors.dimensions(node)
        if len(shape) < 2 or any(len(orders.get(name, ())) != len(shape) for orders in (default, found)):
            continue
        before, after = (physical_order(orders[name], shape) for orders in (default, found))
        thought = physical_order(expected[node], shape) if node in expected else before
        if after == before:
            counts["still"] += 1
            counts["false_alarms"] += thought != before
        else:
            counts["moved"] += 1
            counts["known"] += thought == after
    return counts


def _requests(
    tensors: GraphTensors, names: Sequence[str], default: Orders, found: Orders, config: LayoutConfig
) -> Counter[str]:
    counts: Counter[str] = Counter()
    is_product = tensors.is_opcode(*features.PRODUCT_OPCODES)
    for node, tensor, wanted in config.orders:
        name, shape = names[node], tensors.dimensions(node)
        if tensor or not is_product[node] or name not in found or name not in default:
            continue
        asked = complete_order(wanted, default[name])
        if same_bytes(asked, default[name], shape):
            continue
        kept = kept_by_product(asked, default[name], shape)
        # A convolution or dot chooses its two minor-most dimensions.
        minor_asked, minor_kept, minor = (physical_order(o, shape)[:2] for o in (asked, kept, found[name]))
        counts["requests"] += 1
        counts["met"] += minor_asked == minor
        counts["ruled"] += minor_kept == minor
    return counts


if __name__ == "__main__":
    main()
