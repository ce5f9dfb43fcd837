"""The commands of `training`, for the command line to mount. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from autotune.errors import AutotuneError
from autotune.terminal import INTERRUPTED, console, fail

if TYPE_CHECKING:
    from rich.console import Console

    from training.store import Split

_PIPED_WIDTH: Final = 250
_GOES_ON: Final = "the same command goes on from here"

Data = Annotated[Path, typer.Argument(metavar="DIR", help="The data set: has `layout` or `tile`, `npz` or `npz_all`.")]
Collections = Annotated[
    list[str] | None,
    typer.Option("--collection", help="Such as layout:xla:random (may be repeated).", show_default="all"),
]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="train, valid or test (may be repeated).", show_default="all")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out damaged files, and list them.")]
Store = Annotated[
    Path | None, typer.Option("--store", help="Folder of the store.", show_default="in the user's cache folder")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes that read files.", show_default="as cores and memory allow"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]

data_commands = typer.Typer(
    name="data", help="The training data: what is in it, and its store on disk.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Adds the commands of `training` to the command line."""
    from training import ranking_commands, train_commands  # share the options above

    app.add_typer(data_commands)
    train_commands.register(app)
    ranking_commands.register(app)


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
    from training.rendering import render_facts
    from training.statistics import split_facts

    with reported(as_json, interrupted=_GOES_ON):
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
    from training.rendering import render_build

    with reported(as_json, interrupted=_GOES_ON):
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
    from training.collections import chosen_splits

    for collection, split in chosen_splits(data, collections or (), splits or ()):
        yield open_with_bar(data, collection, split, store=store, workers=workers, skip_bad=skip_bad)


def open_with_bar(
    data: Path, collection: str, split: str, *, store: Path | None, workers: int | None, skip_bad: bool
) -> Split:
    """Opens a split; a bar shows what must be built for it."""
    from training.progress import CountProgress
    from training.store import open_split

    title = f"{collection}, {split}"
    with CountProgress(console(stderr=True), title, doing="converting", done="files converted") as progress:
        return open_split(
            data, collection, split, store=store, workers=workers, skip_bad=skip_bad, progress=progress.update
        )


def wide_console() -> Console:
    """A console that does not cut tables off where they go to a file or a pipe: rich would take 80 columns."""
    result = console()
    if not result.is_terminal:
        result.width = _PIPED_WIDTH
    return result


@contextmanager
def reported(as_json: bool, *, interrupted: str) -> Iterator[None]:
    """Ends with the exit code of what went wrong.

    Args:
        as_json: whether to print the error as JSON too.
        interrupted: what to say after Ctrl-C.
    """
    from cost_model.errors import CostModelError
    from training.errors import TrainingError

    try:
        yield
    except KeyboardInterrupt:
        console(stderr=True).print(f"interrupted: {interrupted}")
        raise typer.Exit(INTERRUPTED) from None
    except CostModelError as error:
        fail(TrainingError(str(error)), as_json)
    except AutotuneError as error:
        fail(error, as_json)
