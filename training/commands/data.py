"""The commands about training data: `autotune data stats` and `autotune data build`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from training.commands.shared import (
    GOES_ON,
    Collections,
    Data,
    Json,
    SkipBad,
    Splits,
    Store,
    Workers,
    open_with_bar,
    reported,
    wide_console,
)

if TYPE_CHECKING:
    from training.data.store import Split

data_commands = typer.Typer(
    name="data", help="The training data: what is in it, and its store on disk.", no_args_is_help=True
)


@data_commands.command()
def stats(
    data: Data,
    collection: Collections = None,
    split: Splits = None,
    skip_bad: SkipBad = False,
    store: Store = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show graphs, configs, duplicates, noise between equal configs and runtimes."""
    from training.commands.tables import render_facts
    from training.data.statistics import split_facts

    with reported(as_json, interrupted=GOES_ON):
        opened = _open(data, collection, split, store=store, workers=workers, skip_bad=skip_bad)
        facts = [split_facts(each) for each in opened]
    if as_json:
        typer.echo(json.dumps({"splits": [each.to_json() for each in facts]}, indent=2))
    else:
        wide_console().print(render_facts(facts))


@data_commands.command()
def build(
    data: Data,
    collection: Collections = None,
    split: Splits = None,
    skip_bad: SkipBad = False,
    store: Store = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Make the store beforehand; training makes what is missing by itself."""
    from training.commands.tables import render_build

    with reported(as_json, interrupted=GOES_ON):
        splits = list(_open(data, collection, split, store=store, workers=workers, skip_bad=skip_bad))
    if as_json:
        typer.echo(json.dumps({"splits": [each.to_json() for each in splits]}, indent=2))
    else:
        wide_console().print(render_build(splits))


def _open(
    data: Path,
    collections: list[str] | None,
    splits: list[str] | None,
    *,
    store: Path | None,
    workers: int | None,
    skip_bad: bool,
) -> Iterator[Split]:
    """The splits that were asked for, one after the other, with a bar for those that must be built."""
    from training.data.collections import chosen_splits

    for collection, split in chosen_splits(data, collections or (), splits or ()):
        yield open_with_bar(data, collection, split, store=store, workers=workers, skip_bad=skip_bad)
