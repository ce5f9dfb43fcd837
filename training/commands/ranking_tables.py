"""Rankings and submissions on the terminal, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.evaluation.ranking import GraphRanking, Mean, RankingReport

_ROWS: Final = 40
"""Programs that are shown; `--json` has them all."""
_TITLES: Final = {
    "tau": "tau",
    "top_1": "top-1",
    "top_5": "top-5",
    "top_10": "top-10",
    "pair_accuracy": "pairs",
    "top_5_score": "top-5 score",
}
_CHOICES: Final = {
    "official": "the official indices",
    "distinct": "all distinct configs",
    "sample": "a sample of the configs",
}


def render_report(report: RankingReport) -> RenderableType:
    """One row per program, then the means."""
    table = Table(
        title=f"{report.collection}, {report.split}", title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    table.add_column("program", no_wrap=True)
    for title in ("configs", *(_TITLES[metric] for metric in report.metrics)):
        table.add_column(title, justify="right")
    for graph in report.graphs[:_ROWS]:
        name = graph.name + (" *" if graph.left_out else "")
        table.add_row(Text(name), f"{graph.configs:,}", *(_number(getattr(graph, each)) for each in report.metrics))
    if len(report.graphs) > _ROWS:
        table.add_row(Text(f"and {len(report.graphs) - _ROWS:,} more; --json has them all", style="dim"))
    for title, means in _means(report):
        table.add_section()
        table.add_row(Text(title, style="bold"), "", *(_number(mean.value) for mean in means.values()))
        for end, title in (("low", "95 % interval from"), ("high", "to")) if len(report.graphs) > 1 else ():
            table.add_row(title, "", *(_number(getattr(mean, end)) for mean in means.values()), style="dim")
    return Group(Text(f"cost model: {report.model}"), Text(), table, Text(), *map(Text, _notes(report)))


def render_submission(counts: Mapping[str, int], models: Mapping[str, str], skipped: Sequence[str]) -> RenderableType:
    """One row per collection.

    Args:
        counts: programs by collection.
        models: names of models by collection.
        skipped: damaged files, and what is wrong.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("collection")
    table.add_column("programs", justify="right")
    table.add_column("cost model")
    for collection, count in counts.items():
        table.add_row(collection, f"{count:,}", Text(models.get(collection, "")))
    return Group(table, *(Text(f"skipped: {each}") for each in skipped))


def _means(report: RankingReport) -> list[tuple[str, Mapping[str, Mean]]]:
    """The published mean, unless it leaves out everything, and the one over all programs where the two differ."""
    whole, published = len(report.graphs), len(report.graphs) - len(report.left_out)
    everything = (f"mean of all {whole:,}", report.means(everything=True))
    if published in (0, whole):
        return [everything]
    return [(f"mean of {published:,}, without *", report.means()), everything]


def _notes(report: RankingReport) -> list[str]:
    notes = [f"configs: {_choices(report.graphs)}"]
    if report.left_out:
        notes.append("*: the published means leave it out (damaged or noisy labels)")
    undefined = sum(math.isnan(graph.tau) for graph in report.graphs)
    if undefined:
        notes.append(f"tau is not defined for {undefined:,} (all scores, or all runtimes, are equal): not in the means")
    notes.append("top-k: how much slower than the best config the best of the first k is; pairs: share in right order")
    notes.append("intervals: bootstrap over programs")
    return notes


def _choices(graphs: Sequence[GraphRanking]) -> str:
    """Which configs were judged, and for how many programs if that differs."""
    counts = {choice: sum(graph.choice == choice for graph in graphs) for choice in _CHOICES}
    there = {choice: count for choice, count in counts.items() if count}
    if len(there) == 1:
        return _CHOICES[next(iter(there))]
    return "; ".join(f"{_CHOICES[choice]} of {count:,} programs" for choice, count in there.items())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if math.isfinite(value) else "-"
