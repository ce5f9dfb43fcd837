"""A search on the terminal: a progress line while it runs, a short table when it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from autotune.evaluation import Estimated, Evaluation, Failed, Measured
from autotune.hlo.window_config import NO_ESTIMATE
from autotune.result import SearchResult
from autotune.spaces.base import config_id
from autotune.tiles import better_tiles, cycles_of
from autotune.tuner import Progress


class SearchProgress:
    """Shows a search while it runs: a live line on a terminal, a plain line per improvement in a log.

    Args:
        console: where to (standard error, so that standard output stays clean for `--json`).
        budget: evaluations that the search may make.
    """

    def __init__(self, console: Console, budget: int) -> None:
        self._console = console
        self._live = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task = self._live.add_task("starting", total=budget, facts="", left="")
        self._first: tuple[int, float] | None = None
        self._best = 1.0

    def stage(self, text: str) -> None:
        """Something that is not an evaluation goes on."""
        self._live.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)

    def update(self, progress: Progress) -> None:
        """An evaluation was made."""
        now = self._live.get_time()
        if self._first is None:
            self._first = (progress.done, now)
        self._live.update(
            self._task,
            description=progress.stage,
            completed=progress.done,
            facts=_facts(progress),
            left=_time_left(progress, self._first, now),
        )
        if not self._console.is_terminal and progress.best_cost < self._best - 1e-9:
            self._console.print(f"{progress.done}/{progress.budget}: {_facts(progress)}")
        self._best = min(self._best, progress.best_cost)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()


def render_result(result: SearchResult, files: list[Path]) -> RenderableType:
    """The table, the verdict, and where the files are."""
    parts: list[RenderableType] = [_head(result)]
    if result.prepared.caveat:
        parts.append(Text(result.prepared.caveat, style="bold yellow"))
    parts += [_table(result), _verdict(result)]
    if result.layout_requests:
        parts.append(_requests(result))
    if result.tiles:
        parts += [_tiles_head(result), _tiles(result)]
        parts += [_tiled(result)] if result.space.kind != "tile" else []
        parts += [Text(f"note: {each.reason}", style="dim") for each in result.tiles if each.reason]
    if result.space.size == 1:
        parts.append(Text(f"note: this program leaves no {result.space.kind} choice on this target"))
    parts += [Text(f"note: {note}", style="dim") for note in result.prepared.notes]
    finite = result.prepared.details.get("finite_outputs")
    if isinstance(finite, float) and finite < 0.5:
        parts.append(
            Text(f"note: only {finite:.0%} of the outputs are finite on random inputs, so comparing them proves little")
        )
    if result.interrupted:
        parts.append(Text("interrupted: the same command goes on from here", style="yellow"))
    if files:
        parts.append(Text(f"files: {files[0].parent}/ ({', '.join(file.name for file in files)})"))
    return Group(*parts)


def _facts(progress: Progress) -> str:
    gain = 1.0 / progress.best_cost
    facts = [f"best {gain:.2f}x"]
    if progress.ranking is not None and not math.isnan(progress.ranking.correlation):
        how = ", adapted" if progress.ranking.adapted else ""
        model = how if progress.ranking.asked else ", not asked"
        facts.append(f"model tau {progress.ranking.correlation:+.2f}{model}")
    if progress.reused:
        facts.append(f"{progress.reused} reused")
    facts += [f"{count} {reason}" for reason, count in progress.failures.items()]
    return " · ".join(facts)


def _time_left(progress: Progress, first: tuple[int, float], now: float) -> str:
    made = progress.done - first[0]
    if made < 2:
        return ""
    seconds = (now - first[1]) / made * (progress.budget - progress.done)
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"


def _head(result: SearchResult) -> Text:
    size = math.log10(result.space.size) if result.space.size > 0 else 0.0
    many = f"10^{size:.0f}" if size > 6 else f"{result.space.size:,}"
    target = result.target
    return Text.assemble(
        (result.prepared.program.name, "bold"),
        f" on {target.name} ({target.device_kind}, {target.compiler_version})",
        f", {result.space.kind} space of {many} configs",
    )


def _table(result: SearchResult) -> Table:
    rows = _rows(result)
    table = Table(box=None, pad_edge=False, header_style="dim")
    estimated = any(isinstance(evaluation.outcome, Estimated) for _, evaluation in rows)
    table.add_column("")
    table.add_column("cycles (estimated)" if estimated else "time (measured)", justify="right")
    table.add_column("spread", justify="right")
    table.add_column("against default", justify="right")
    for label, evaluation in rows:
        match evaluation.outcome:
            case Measured() as measured:
                cells = (_seconds(measured.seconds), f"{measured.spread:.1%}", f"{1.0 / measured.cost:.2f}x")
            case Estimated() as estimate:
                cells = (f"{estimate.cycles:,.0f}", "", f"{1.0 / estimate.cost:.3f}x")
            case Failed() as failed:
                cells = ("failed", "", failed.reason.value)
        table.add_row(label, *cells)
    return table


def _rows(result: SearchResult) -> list[tuple[str, Evaluation]]:
    rows = [("default", result.default)]
    if result.comparison is not None:
        for label, config in result.space.references.items():
            evaluation = result.comparison.of(config)
            if evaluation is not None:
                rows.append((label, evaluation))
    label = "best" if result.improved else "fastest other"
    if config_id(result.runner_up.config) != config_id(result.default.config):
        families = {evaluation.config.family for evaluation in result.evaluations}
        rows.append((f"{label} ({result.runner_up.config.family})" if len(families) > 1 else label, result.runner_up))
    shown = {config_id(evaluation.config) for _, evaluation in rows}
    if result.comparison is not None:
        for family in dict.fromkeys(e.config.family for e in result.comparison.evaluations):
            members = [e for e in result.comparison.evaluations if e.config.family == family and e.cost is not None]
            champion = min(members, key=lambda e: e.cost or math.inf, default=None)
            if champion is not None and config_id(champion.config) not in shown:
                rows.append((f"best of {family}", champion))
    return rows


def _tiles_head(result: SearchResult) -> Text:
    count = sum(len(each.result.evaluations) - 1 for each in result.tiles if each.result is not None)
    if any(each.measured for each in result.tiles):
        text = "the fastest, timed with the kernel alone and many executions in one launch:"
    else:
        ranking = next((each.result.cost_model for each in result.tiles if each.result is not None), result.cost_model)
        order = "with the fewest cycles first" if ranking == "none" else f"as {ranking} ranks them"
        own = "in the program each is" if result.space.kind != "tile" else "the default is"
        text = f"{own} the compiler's choice, the minimum of its own estimate. To measure first on a TPU, {order}:"
    return Text.assemble("\n", ("tiles", "bold"), f" ({count} of the {result.budget} evaluations): {text}")


def _tiles(result: SearchResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("kernel")
    table.add_column("of cycles", justify="right")
    table.add_column("tile (output; kernel)", no_wrap=True)
    table.add_column("cycles (estimated)", justify="right")
    measured = any(each.measured for each in result.tiles)
    if measured:
        table.add_column("time (measured)", justify="right")
    table.add_column("chosen by")
    for each in result.tiles:
        own = each.own
        bounds = _bounds(own.output_bounds, own.kernel_bounds) if own is not None else "none"
        cycles = f"{own.cycles:,}" if own is not None and 0 < own.cycles < NO_ESTIMATE else ""
        time = [_tile_time(each.result.default) if each.result is not None else ""] if measured else []
        table.add_row(each.kernel.name, f"{each.share:.0%}", bounds, cycles, *time, "compiler")
        for evaluation in each.leading:
            tile = evaluation.config.to_json()["tile"]
            bounds = _bounds(tile["output_bounds"], tile["kernel_bounds"])
            estimate = cycles_of(evaluation)
            time = [_tile_time(evaluation)] if measured else []
            chooser = "clock" if measured else "cost model" if each.result and each.result.scores else "compiler"
            table.add_row("", "", bounds, "" if estimate is None else f"{estimate:,.0f}", *time, chooser)
        if each.result is not None and each.result.failures:
            failures = ", ".join(f"{count} {reason}" for reason, count in each.result.failures.items())
            table.add_row("", "", failures, "", *([""] if measured else []), "")
    return table


def _tile_time(evaluation: Evaluation) -> str:
    outcome = evaluation.outcome
    return f"{_seconds(outcome.seconds)} ({1.0 / outcome.cost:.2f}x)" if isinstance(outcome, Measured) else ""


def _tiled(result: SearchResult) -> Text:
    tiled = result.tiled
    if tiled is None and result.prepared.caveat and better_tiles(result.tiles):
        return Text("there are tiles with fewer cycles, but no whole program to put them into: it does not fit")
    if tiled is None:
        better = "is faster" if any(each.measured for each in result.tiles) else "has fewer cycles"
        return Text(f"no tile {better} than the compiler's own: all tiles stay with the compiler")
    own = result.best.outcome
    if isinstance(tiled.measured, Measured):
        return Text(
            f"the whole program with the {len(tiled.asked)} tiles that are faster when their kernel is alone "
            f"({len(tiled.held)} held): {_seconds(tiled.measured.seconds)}, {1.0 / tiled.measured.cost:.2f}x of the "
            "default (measured)"
        )
    if isinstance(tiled.measured, Failed):
        reason = tiled.measured.reason.value
        return Text(f"the whole program with {len(tiled.asked)} faster tiles cannot be measured: {reason}")
    assert isinstance(own, Estimated)
    return Text(
        f"the whole program recompiled with the {len(tiled.asked)} tiles that have fewer cycles when their kernel is "
        f"alone ({len(tiled.held)} held): {tiled.cycles:,.0f} cycles, {own.cycles:,.0f} with the compiler's own tiles "
        "(estimated)"
    )


def _bounds(output: Sequence[int], kernel: Sequence[int]) -> str:
    text = ",".join(map(str, output))
    return f"{text}; {','.join(map(str, kernel))}" if kernel else text


def _verdict(result: SearchResult) -> Text:
    counts = ", ".join(f"{count} {kind}" for kind, count in result.counts.items() if count)
    failures = ", ".join(f"{count} {reason}" for reason, count in result.failures.items())
    text = Text(result.verdict, style="bold green" if result.improved else "bold")
    text.append(f"\nevaluations: {counts}", style="not bold default")
    if failures:
        text.append(f" ({failures})", style="not bold default")
    if result.reused:
        text.append(f"; {result.reused} reused from the database", style="not bold default")
    text.append(f"; {result.stopped} after {result.seconds:.0f} s", style="not bold default")
    if not math.isnan(result.rank_correlation):
        text.append(f"\n{_ranking(result)}", style="not bold default")
    return text


def _ranking(result: SearchResult) -> str:
    """How well the cost model ranked the evaluations, and what ranked the proposals at the end."""
    standing = result.ranking
    assert standing is not None
    text = f"rank correlation of {result.cost_model} with the evaluations: tau {result.rank_correlation:+.2f}"
    used = standing.describe()
    if used == result.cost_model:
        return text
    reached = f" (tau {standing.correlation:+.2f})" if standing.asked else ""
    return f"{text}; proposals were ranked at the end by {used}{reached}"


def _requests(result: SearchResult) -> Text:
    """What became of the layouts that were asked for."""
    totals: dict[str, int] = {}
    for fates in result.layout_requests.values():
        for fate, count in fates.items():
            totals[fate] = totals.get(fate, 0) + count
    asked = max(1, sum(totals.values()))
    shares = ", ".join(f"{count / asked:.0%} {fate}" for fate, count in sorted(totals.items()))
    return Text(f"{asked:,} layouts asked for: {shares} (by opcode and tensor in best.json)")


def _seconds(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3f} {unit}"
    return f"{seconds / 1e-6:.1f} us"
