"""Training data on the terminal: tables, and a bar while the store is built."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from training.statistics import Noise, Runtimes, SplitFacts
from training.store import Split

_ROWS: Final = 20
"""Rows of a long list that are shown; `--json` has them all."""
_PRECISE_MS: Final = 1000.0
"""Milliseconds from which on one decimal is enough."""
_LONG: Final = 20
"""Files from which on a log has a line per tenth, not one at the end alone."""


class BuildProgress:
    """A bar on a terminal, a line per tenth in a log. `update` is the `progress` of `open_split`.

    Args:
        console: where to (standard error, so that standard output stays clean for `--json`).
        title: what is built.
        what: what was done, of how many.
    """

    def __init__(self, console: Console, title: str, what: str = "files converted") -> None:
        self._console = console
        self._title = title
        self._what = what
        self._live = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def update(self, done: int, total: int, name: str) -> None:
        """A file was made."""
        if not self._console.is_terminal:
            if done == total or (total >= _LONG and done % (total // 10) == 0):
                self._console.print(f"{self._title}: {done:,} of {total:,} {self._what}")
            return
        if self._task is None:
            self._live.start()
            self._task = self._live.add_task(f"{self._title}: {self._what}", total=total)
        self._live.update(self._task, completed=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._live.stop()


def render_facts(splits: Sequence[SplitFacts]) -> RenderableType:
    """One row per split, then the programs of each."""
    columns = ("graphs", "configs", "distinct", "dupli-\ncates", *_NOISE, "npz\nKiB", "store\nKiB")
    total = _table("training data", "collection", "split", *columns)
    for split in splits:
        counts = split.counts
        configs = _numbers(len(split.graphs), counts.configs, counts.distinct, counts.duplicates)
        sizes = _numbers(counts.npz_bytes >> 10, counts.store_bytes >> 10)
        total.add_row(split.collection, split.split, *configs, *_noise(split.noise), *sizes)
    parts: list[RenderableType] = [total]
    for split in splits:
        parts += [Text(), _graphs(split)]
        if len(split.graphs) > _ROWS:
            parts.append(Text(f"and {len(split.graphs) - _ROWS:,} more; --json shows all", style="dim"))
        parts += [Text(note) for note in _notes(split.dropped, split.skipped)]
    return Group(*parts)


def render_build(splits: Sequence[Split]) -> RenderableType:
    """One row per split that was opened."""
    table = _table("store", "collection", "split", "graphs", "files made", "KiB", "folder")
    notes: list[Text] = []
    for split in splits:
        numbers = _numbers(len(split), split.made, sum(graph.bytes for graph in split) >> 10)
        table.add_row(split.collection, split.split, *numbers, Text(str(split.store)))
        notes += [Text(f"{split.collection}, {split.split}: {note}") for note in _notes(split.dropped, split.skipped)]
    return Group(table, *notes)


def _graphs(split: SplitFacts) -> Table:
    columns = ("nodes", "config\nnodes", "configs", "distinct", *_NOISE, "ms\nmin", "median", "max", "left\nout of")
    table = _table(f"{split.collection}, {split.split}", "graph", *columns)
    for graph in split.graphs[:_ROWS]:
        counts = graph.counts
        numbers = _numbers(counts.nodes, counts.configurable_nodes, counts.configs, counts.distinct)
        rest = [*_noise(graph.noise), *_runtimes(graph.runtimes), ", ".join(graph.left_out)]
        table.add_row(Text(graph.name), *numbers, *rest)
    return table


def _notes(dropped: Sequence[str], skipped: Sequence[str]) -> list[str]:
    notes = []
    if dropped:
        names = ", ".join(dropped[:_ROWS]) + (", ..." if len(dropped) > _ROWS else "")
        notes.append(f"dropped, having fewer than two distinct configs: {len(dropped):,} ({names})")
    if skipped:
        notes += [f"skipped, being damaged: {len(skipped):,}", *(f"  {what}" for what in skipped)]
    return notes


_NOISE: Final = ("noise\nmedian", "max")
_WORDS: Final = ("collection", "split", "graph", "left\nout of", "folder")


def _numbers(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _noise(noise: Noise | None) -> list[str]:
    return ["", ""] if noise is None else [f"{noise.median:.3%}", f"{noise.maximum:.3%}"]


def _runtimes(runtimes: Runtimes | None) -> list[str]:
    if runtimes is None:
        return ["unknown", "", ""]
    times = [nanoseconds / 1e6 for nanoseconds in (runtimes.minimum, runtimes.median, runtimes.maximum)]
    return [f"{time:,.1f}" if time >= _PRECISE_MS else f"{time:.3f}" for time in times]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in columns:
        words = column in _WORDS
        # On a narrow terminal the words are folded, so that no number is cut off.
        justify: JustifyMethod = "left" if words else "right"
        table.add_column(column, justify=justify, no_wrap=not words, overflow="fold", vertical="bottom")
    return table
