"""The commands about the zoo of programs: `autotune zoo list` and `autotune zoo export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.terminal import console
from training.commands.shared import GOES_ON, Json, reported, wide_console
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.zoo import ZooProgram

zoo_commands = typer.Typer(
    name="zoo", help="Programs of many model families, to make training data from.", no_args_is_help=True
)

Family = Annotated[
    list[str] | None, typer.Option("--family", help="Such as resnet (may be repeated).", show_default="all")
]


@zoo_commands.command("list")
def list_programs(family: Family = None, as_json: Json = False) -> None:
    """Show the programs: family, mode and dtype."""
    with reported(as_json, interrupted=GOES_ON):
        chosen = _of_families(family or ())
    if as_json:
        rows = [{"name": each.name, "family": each.family, "mode": each.mode, "dtype": each.dtype} for each in chosen]
        typer.echo(json.dumps({"programs": rows}, indent=2))
    else:
        _print_table(chosen)


@zoo_commands.command("export")
def export_programs(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder; made if missing.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Such as resnet/b8-i64.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All programs, instead of names.")] = False,
    products: Annotated[
        int, typer.Option("--products", min=0, help="So many matrix products of drawn sizes, instead of names.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the drawn sizes.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that trace programs.")] = 1,
    as_json: Json = False,
) -> None:
    """Write programs as DIR/family/variant.hlo: binary HloModuleProto, before optimisation.

    Files that are there and equal stay as they are.
    """
    from training.commands.progress import CountProgress
    from training.zoo import ZOO, find
    from training.zoo.export import export
    from training.zoo.products import drawn_products

    with reported(as_json, interrupted=GOES_ON):
        if [everything, bool(names), bool(products)].count(True) != 1:
            raise TrainingError("zoo export: expected names of programs (see `autotune zoo list`), --all or --products")
        if products:
            chosen = drawn_products(products, seed)
        else:
            chosen = list(ZOO.values()) if everything else [find(name) for name in dict.fromkeys(names or ())]
        with CountProgress(console(stderr=True), "zoo", doing="lowering", done="programs exported") as progress:
            done = export(chosen, out, workers=min(workers, len(chosen)), progress=progress.update)
    if as_json:
        states = {"written": done.written, "replaced": done.replaced, "unchanged": done.unchanged}
        typer.echo(json.dumps({state: [str(path) for path in paths] for state, paths in states.items()}, indent=2))
    else:
        console().print(
            f"{out}: {len(done.written)} written, {len(done.replaced)} replaced, {len(done.unchanged)} unchanged",
            markup=False,
        )


def _of_families(wanted: Sequence[str]) -> list[ZooProgram]:
    """The programs of some families, or all."""
    from training.zoo import ZOO, families

    unknown = sorted(set(wanted) - set(families()))
    if unknown:
        raise TrainingError(f"family {unknown[0]!r}: not in the zoo; expected one of {', '.join(families())}")
    return [program for program in ZOO.values() if not wanted or program.family in wanted]


def _print_table(programs: Sequence[ZooProgram]) -> None:
    from rich.table import Table

    table = Table("program", "family", "mode", "dtype")
    for program in programs:
        table.add_row(program.name, program.family, program.mode, program.dtype)
    wide_console().print(table)
    count = len({program.family for program in programs})
    wide_console().print(f"{len(programs)} programs of {count} families")
