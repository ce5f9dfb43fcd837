"""What the commands of training share: options, opening data with a bar, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from autotune.errors import AutotuneError
from autotune.terminal import INTERRUPTED, console, fail

if TYPE_CHECKING:
    from rich.console import Console

    from training.data.store import Split

_PIPED_WIDTH: Final = 250
GOES_ON: Final = "the same command goes on from here"

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


def open_with_bar(
    data: Path, collection: str, split: str, *, store: Path | None, workers: int | None, skip_bad: bool
) -> Split:
    """Opens a split; a bar shows what must be built for it."""
    from training.commands.progress import CountProgress
    from training.data.store import open_split

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
