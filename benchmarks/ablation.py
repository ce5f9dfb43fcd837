"""What does each part of the shipped cost models contribute?

Run it as: python -m benchmarks.ablation --json ablation.json [--data DIR]

The descriptor networks of `benchmarks.tau_vs_analytical`, with one thing changed at a time, over the same deals of
families: every program is judged by networks that were trained without its family.

- as it is: the recipe, with --members members.
- one member: no ensemble. (16 members: as many as ship.)
- without the prior: what is learned alone, without the column that is mixed in after training (the analytical cost for
  layouts, the iterations for TPU tiles).
- the prior alone: that column, nothing learned.
- without rounding: close scores are not made equal.
- without ...: columns are blanked in training and in judging.
- raw bounds: the bounds of a tile as they are (logarithms), instead of what they mean for the kernel's shape and the
  hardware's tiles. (Without the prior, which is one of the columns; compare with that row.)
- all pairs alike: pairs of configs count the same however far apart they are.
- trained longer, wider, ...: other sizes of networks and trainings.

Columns: tau is the mean over programs of Kendall's tau-b, the mean of the seeds, each with a deal of its own; loss is
how much lower it is than of "as it is", program by program, with its 95 % bootstrap interval over programs. Costs that
differ by less than 0.1 % are ties.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import publish
from benchmarks.unseen_families import (
    Collection,
    Judged,
    Scores,
    collection_parser,
    collections,
    descriptor_scorer,
    mean_and_interval,
    taus,
)
from cost_model import TileConfigs
from cost_model.analytical.roles import Role
from cost_model.descriptors import tile_cpu
from cost_model.descriptors.architecture import DescriptorArchitecture
from cost_model.descriptors.network import DescriptorNetwork
from training.descriptors import DescriptorRecipe

AS_IT_IS: Final = "as it is"

Change = Callable[[Judged, DescriptorArchitecture], Judged]


@dataclass(frozen=True)
class Variant:
    """One thing that is different.

    Attributes:
        recipe: fields of the recipe.
        architecture: fields of the network's shape.
        columns: what programs look like.
        prior: whether columns are mixed in after training.
        learned: whether what was learned counts.
        rounded: whether close scores become equal.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    columns: Change = lambda program, architecture: program
    prior: bool = True
    learned: bool = True
    rounded: bool = True


def without(*parts: str) -> Change:
    """Columns whose names begin so are blank.

    Raises:
        ValueError: there are none.
    """

    def change(program: Judged, architecture: DescriptorArchitecture) -> Judged:
        described = program.example.descriptors
        blank = {
            name: [place for place, column in enumerate(columns) if column.startswith(parts)]
            for name, columns in (("items", architecture.item_columns), ("summary", architecture.summary_columns))
        }
        if not any(blank.values()):
            raise ValueError(f"no column begins with {' or '.join(parts)}")
        tables = {name: getattr(described, name).copy() for name in blank}
        for name, places in blank.items():
            tables[name][:, places] = 0.0
        return _with(program, **tables)

    return change


def without_decisions(program: Judged, architecture: DescriptorArchitecture) -> Judged:
    """Layouts are described as a whole alone."""
    return _with(program, items=np.zeros_like(program.example.descriptors.items))


def raw_bounds(program: Judged, architecture: DescriptorArchitecture) -> Judged:
    """Facts of the kernel, and the bounds of its tiles in place of what they mean."""
    configs = program.graph.configs(np.arange(len(program.graph)))
    assert isinstance(configs, TileConfigs)
    bounds = np.log1p(np.maximum(configs.config_feat, 0.0))
    facts = architecture.summary_columns.index("log_output_elements")
    summary = np.zeros_like(program.example.descriptors.summary)
    summary[:, :facts] = program.example.descriptors.summary[:, :facts]
    summary[:, facts:] = bounds[:, : summary.shape[1] - facts]
    return _with(program, summary=summary)


_ANY: Final = {
    "one member": Variant(architecture={"members": 1}),
    "16 members": Variant(architecture={"members": 16}),
    "all pairs alike": Variant(recipe={"certain": 1e-9}),
    "trained five times as long": Variant(recipe={"iterations": 3000}),
    "64 wide": Variant(architecture={"width": 64}),
    "64 wide, trained five times as long": Variant(recipe={"iterations": 3000}, architecture={"width": 64}),
}

_ANALYTICAL: Final = ("log_analytical_share", "analytical_")
_PLACES: Final = ("minor", "second_minor")
_ROLES: Final = [role.name.lower() for role in Role]

_LAYOUT: Final = {
    "without the prior": Variant(prior=False),
    "the prior alone": Variant(learned=False),
    "without rounding": Variant(rounded=False),
    "the prior alone, without rounding": Variant(learned=False, rounded=False),
    "without the analytical cost": Variant(columns=without(*_ANALYTICAL)),
    "without how far an order spreads": Variant(columns=without("spread_", "log_spread_", "refused", "region_")),
    "without padded sizes": Variant(columns=without("log_padding", "log_asked_bytes", "log_default_bytes")),
    "without what the default is": Variant(
        columns=without(
            "default_", "log_default_bytes", *(f"{place}_changed" for place in _PLACES), "changed", "log_changed"
        )
    ),
    "without roles of dimensions": Variant(
        columns=without(*(f"{of}_{p}_{role}" for of in ("asked", "default") for p in _PLACES for role in _ROLES))
    ),
    "without what is around the tensor": Variant(
        columns=without("producer_is_", "consumed_by_", "neighbour_", "last_of_", "region_")
    ),
    "without single decisions": Variant(columns=without_decisions),
}

_COUNTS: Final = (
    "log_output_iterations",
    "log_own_iterations",
    "log_iterations",
    "log_kernel_tiles",
    "log_kernel_loads",
)
_PADDED: Final = ("log_padded_compute", "log_bound", "log_vectors", "log_output_vectors")
_BYTES: Final = (
    *("log_transfer", "log_own_transfer", "log_first_transfer", "log_bound", "log_kernel_transfer", "log_kernel_tile"),
    *("log_loaded_kernel", "log_kept_kernel", "log_whole_kernel", "log_output_transfer", "log_output", "log_other"),
)

_TPU_TILE: Final = {
    "without the prior": Variant(prior=False),
    "the prior alone": Variant(learned=False),
    "without rounding": Variant(rounded=False),
    "without the prior and rounding": Variant(prior=False, rounded=False),
    "without counts of iterations (and the prior)": Variant(columns=without(*_COUNTS)),
    "without padded tiles of the hardware": Variant(columns=without(*_PADDED)),
    "without bytes moved": Variant(columns=without(*_BYTES)),
    "raw bounds, without the prior": Variant(columns=raw_bounds, prior=False),
}

_CPU_TILE: Final = {
    "3,000 iterations instead of 12,000": Variant(recipe={"iterations": 3000}),
    "600 iterations": Variant(recipe={"iterations": 600}),
    "64 wide instead of 128": Variant(architecture={"width": 64}),
    "16 wide, 600 iterations": Variant(recipe={"iterations": 600}, architecture={"width": 16}),
    "without what the loops do": Variant(
        columns=without(*tile_cpu.SUMMARY_COLUMNS[tile_cpu.SUMMARY_COLUMNS.index("log_multiply_adds") :])
    ),
    "without the analytical cost": Variant(columns=without("log_seconds")),
    "without shares that are wasted at the edges": Variant(
        columns=without("rows_waste", "columns_waste", "steps_waste")
    ),
    "without registers": Variant(columns=without("accumulators", "registers", "log_unrolled")),
    "without sizes of the product": Variant(columns=without("log_batch", "log_m", "log_k", "log_n", "log_operations")),
}


def main() -> None:
    """Judge every variant on every collection, and print a table of each."""
    options = _options()
    rows: list[dict[str, Any]] = []
    for collection in collections(options):
        rows += _judge(collection, options)
    publish(f"parts of the cost models, {options.folds} folds, {options.seeds} seeds", rows, options.json)


def _options() -> argparse.Namespace:
    arguments = collection_parser(__doc__)
    arguments.add_argument("--variants", nargs="*", metavar="NAME", help="all if not given")
    return arguments.parse_args()


def variants_of(collection: Collection) -> dict[str, Variant]:
    """What is tried on a collection, by name; the recipe as it is first."""
    cpu_tiles = collection.kind == "tile" and collection.manifest.device == "cpu"
    own = _LAYOUT if collection.kind == "layout" else _CPU_TILE if cpu_tiles else _TPU_TILE
    general = {name: _ANY[name] for name in ("one member", "16 members", "all pairs alike")} if cpu_tiles else _ANY
    return {AS_IT_IS: Variant()} | own | general


def _judge(collection: Collection, options: argparse.Namespace) -> Sequence[dict[str, Any]]:
    print(f"{collection.name}: {len(collection.programs)} programs", flush=True)
    base = replace(collection.recipe, iterations=options.iterations or collection.recipe.iterations)
    known: NDArray[np.float64] | None = None
    rows = []
    for name, variant in variants_of(collection).items():
        if options.variants and name not in (AS_IT_IS, *options.variants):
            continue
        found = np.mean(
            [_taus(collection, variant, base, seed, options.folds) for seed in range(options.seeds)], axis=0
        )
        row = {"collection": collection.name, "variant": name, "tau": float(np.nanmean(found))}
        if known is None:
            known = found
        else:
            row |= mean_and_interval(known - found, "loss")
        rows.append(row | collection.facts)
        print(rows[-1], flush=True)
    return rows


def _taus(
    collection: Collection, variant: Variant, base: DescriptorRecipe, seed: int, folds: int
) -> NDArray[np.float64]:
    """Kendall's tau of every program, judged by networks that know no program of its family."""
    recipe = replace(base, seed=seed, architecture=replace(base.architecture, **variant.architecture), **variant.recipe)
    programs = [*collection.programs, *collection.drawn]
    changed = {each.graph.name: variant.columns(each, recipe.architecture) for each in programs}
    ranking: dict[str, Scores] = {}
    for known, unseen in collection.folds(folds, seed):
        score = descriptor_scorer([changed[each.graph.name] for each in known], recipe, partial(_keep_parts, variant))
        ranking |= {each.graph.name: score(changed[each.graph.name]) for each in unseen}
    return taus(collection.programs, ranking)


def _keep_parts(variant: Variant, network: DescriptorNetwork) -> None:
    if not variant.prior:
        network.get_buffer("prior").zero_()
    if not variant.learned:
        network.get_buffer("output_scale").zero_()
    if not variant.rounded:
        network.get_buffer("resolution").zero_()


def _with(program: Judged, **tables: Any) -> Judged:
    descriptors = replace(program.example.descriptors, **tables)
    return replace(program, example=replace(program.example, descriptors=descriptors))


if __name__ == "__main__":
    main()
