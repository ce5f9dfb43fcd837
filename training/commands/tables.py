"""Training data and trainings on the terminal, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from training.commands.ranking_tables import render_report
from training.data.statistics import Noise, Runtimes, SplitFacts
from training.data.store import Split

if TYPE_CHECKING:
    from training.recipes import Recipe
    from training.trainer import TrainingResult  # imports Lightning

_ROWS: Final = 20
"""Rows of a long list that are shown; `--json` has them all."""
_PRECISE_MS: Final = 1000.0
"""Milliseconds from which on one decimal is enough."""


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


def render_training(recipe: Recipe, graphs: int, result: TrainingResult) -> RenderableType:
    """What a training made, and how well it ranks the validation programs."""
    architecture = recipe.architecture
    lines = [
        f"{recipe.collection}: {architecture.parameters:,} parameters, {graphs:,} programs, "
        f"{result.iterations:,} iterations of {recipe.slates} slates of {recipe.slate_size}, seed {recipe.seed}"
    ]
    if result.resumed_at:
        lines.append(f"went on from iteration {result.resumed_at:,}")
    if result.resumed_at == result.iterations and result.report is None:
        lines.append("this training was finished before: nothing was left to do")
    lines.append(f"model: {result.model}")
    parts: list[RenderableType] = [Text(line) for line in lines]
    return Group(*parts, *([Text(), render_report(result.report)] if result.report else []))


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
