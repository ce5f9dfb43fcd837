"""Figures of training and evaluation, as PNG, SVG or PDF. matplotlib, of the extra `train`, is imported when needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import ToolchainError
from cost_model.metrics import kendall_tau
from training.errors import TrainingDataError, TrainingError
from training.evaluation.evaluate import ScoredGraph
from training.evaluation.predictions import check_writable
from training.evaluation.ranking import RankingReport
from training.history import TauHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS: Final = (".png", ".svg", ".pdf")
_NAME_LENGTH: Final = 36
_BARS: Final = 40
"""Programs from which on bars become a histogram."""
_PANELS: Final = 12
"""Programs of a scatter plot at most."""
_POINTS: Final = 5000
"""Configs of one panel at most; more are a blot, and megabytes of SVG."""
_FEW: Final = 100
"""Configs that are drawn as larger points."""
_BLUE, _GREY, _DARK, _BAND = "#3465a4", "#a9afb5", "#2e3436", "#ecebe4"
_LINES: Final = ("#3465a4", "#c4501b", "#4e8a0e", "#75507b", "#b8860b", "#16807a", "#a40000", "#8f5902")
_STYLE: Final[Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888a85",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e2",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "xla-autotune",  # ids in SVG files would be random otherwise
}


def plot_history(history: TauHistory, path: Path, *, title: str = "") -> None:
    """Draws tau of every program, and their mean, over iterations.

    Up to eight programs have a colour and a name at the end of their line; more are grey, and only the mean is named.

    Raises:
        TrainingError: the file cannot be written.
        ToolchainError: matplotlib is not installed.
    """
    with _figure(path, width=8, height=4.5) as figure:
        axes = figure.add_subplot()
        named = len(history.graphs) <= len(_LINES)
        ends = []
        for (name, values), colour in zip(history.graphs.items(), _cycle(named), strict=False):
            axes.plot(history.iterations, values, color=colour, linewidth=1.1, alpha=1 if named else 0.7)
            if named:
                ends.append((values, _short(name), colour))
        if history.mean is not None:
            axes.plot(history.iterations, history.mean, color=_DARK, linewidth=2.4)
            ends.append((history.mean, "mean", _DARK))
        _name_lines(axes, ends)
        axes.set_xlabel("iteration")
        axes.set_ylabel("Kendall's tau (1: perfect order)")
        axes.set_title(title, loc="left")
        axes.margins(x=0.01)


def plot_report(report: RankingReport, path: Path) -> None:
    """Draws tau of every program as a bar, the best first; of more than 40 programs, how many have which tau.

    Raises:
        TrainingError: the file cannot be written.
        ToolchainError: matplotlib is not installed.
    """
    graphs = [graph for graph in report.graphs if math.isfinite(graph.tau)]
    mean = report.mean()
    many = len(graphs) > _BARS
    with _figure(path, width=8, height=4 if many else 1.3 + 0.27 * max(2, len(graphs))) as figure:
        axes = figure.add_subplot()
        if many:
            taus = [graph.tau for graph in graphs]
            axes.hist(taus, bins=_edges(min(taus)), color=_BLUE)
            axes.set_ylabel(f"programs (of {len(graphs):,})")
        else:
            _bars(axes, report)
        summary = f"{report.collection}, {report.split}"
        if math.isfinite(mean.value):
            axes.axvline(mean.value, color=_DARK, linewidth=1.2)
            summary += f"\nmean {mean.value:.3f}"
        if math.isfinite(mean.low):
            axes.axvspan(mean.low, mean.high, color=_BAND, linewidth=0, zorder=0)
            summary += f", 95 % interval {mean.low:.3f} to {mean.high:.3f} (bootstrap over programs)"
        axes.set_xlabel("Kendall's tau (1: perfect order)")
        axes.set_title(summary, loc="left", fontsize=9)


def plot_scatter(scored: Sequence[ScoredGraph], path: Path) -> None:
    """Draws what configs took against their predicted rank, one panel per program (the first 12).

    A perfect order rises from left to right. Of more than 5,000 configs some are drawn, the same ones each time.

    Raises:
        TrainingDataError: there is no program.
        TrainingError: the file cannot be written.
        ToolchainError: matplotlib is not installed.
    """
    if not scored:
        raise TrainingDataError(f"{path}: expected programs to draw, found none")
    shown = scored[:_PANELS]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    with _figure(path, width=max(5, 0.6 + 3.2 * columns), height=0.6 + 2.5 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, each in zip(panels.flat, shown, strict=False):
            _scatter(axes, each)
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        figure.supxlabel("predicted rank (ring: the fastest config)", fontsize=9)
        tiles = shown[0].graph.raw_normalizers is not None
        figure.supylabel("runtime / runtime of the default tile" if tiles else "measured runtime (ms)", fontsize=9)


def check_plot(path: Path) -> None:
    """Finds out before the work that a figure cannot be drawn after it.

    Raises:
        TrainingError: the ending is none of a figure, or the file cannot be written.
        ToolchainError: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise TrainingError(f"{path}: expected a figure's ending, one of {', '.join(ENDINGS)}, found {path.suffix!r}")
    check_writable(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ToolchainError("figures need matplotlib: pip install 'xla-autotune[train]'") from None


@contextmanager
def _figure(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure that is saved in the end, without a display and without changing matplotlib's settings for others.

    Args:
        path: where to.
        width: inches.
        height: inches.
    """
    check_plot(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        temporary = path.with_name(f".{path.name}.tmp{path.suffix.lower()}")
        try:
            # Without a date, so that equal figures are equal files.
            figure.savefig(temporary, dpi=150, metadata={} if path.suffix.lower() == ".png" else {_date(path): None})
            temporary.replace(path)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written: {error.strerror or error}") from None
        finally:
            temporary.unlink(missing_ok=True)


def _date(path: Path) -> str:
    return "CreationDate" if path.suffix.lower() == ".pdf" else "Date"


def _cycle(named: bool) -> Iterator[str]:
    while True:
        yield from _LINES if named else (_GREY,)


def _name_lines(axes: Axes, lines: Sequence[tuple[NDArray[np.float64], str, str]]) -> None:
    """Writes names to the right of the ends of lines, moved apart where ends are close."""
    ends = []
    for values, name, colour in lines:
        there = np.flatnonzero(np.isfinite(values))
        if len(there):
            ends.append((float(values[there[-1]]), name, colour))
    ends.sort()
    low, high = axes.get_ylim()
    gap = (high - low) * 0.045
    places: list[float] = []
    for height, _, _ in ends:
        places.append(max(height, places[-1] + gap) if places else height)
    if places and places[-1] > high:
        places = [place - min(places[-1] - high, gap * len(places)) for place in places]
    for (_, name, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (1.01, place),
            xycoords=axes.get_yaxis_transform(),
            color=colour,
            va="center",
            weight="bold" if name == "mean" else "normal",
            annotation_clip=False,
        )


def _edges(lowest: float) -> list[float]:
    """Bins of width 0.025 from 0, or from the tenth below the lowest tau."""
    first = min(0, math.floor(lowest * 10) * 4)
    return [each / 40 for each in range(first, 41)]


def _bars(axes: Axes, report: RankingReport) -> None:
    graphs = sorted((graph for graph in report.graphs if math.isfinite(graph.tau)), key=lambda graph: graph.tau)
    places = np.arange(len(graphs))
    axes.barh(
        places,
        [graph.tau for graph in graphs],
        color=[_GREY if each.left_out else _BLUE for each in graphs],
        height=0.7,
    )
    labels = [_short(graph.name) + (" (not in the mean)" if graph.left_out else "") for graph in graphs]
    axes.set_yticks(places, labels)
    for place, graph in zip(places, graphs, strict=True):
        axes.annotate(
            f"{graph.tau:.3f}",
            (graph.tau, place),
            xytext=(3 if graph.tau >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if graph.tau >= 0 else "right",
            va="center",
            fontsize=8,
        )
    lowest = min((graph.tau for graph in graphs), default=0)
    axes.set_xlim(lowest - 0.12 if lowest < 0 else 0, 1.06)
    axes.grid(visible=False, axis="y")


def _scatter(axes: Axes, each: ScoredGraph) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ranks = np.argsort(np.argsort(each.scores, kind="stable"), kind="stable")
    costs = each.costs if each.graph.raw_normalizers is not None else each.costs / 1e6
    rows = np.arange(len(ranks))
    if len(rows) > _POINTS:
        rows = np.random.default_rng(0).choice(rows, size=_POINTS, replace=False)
    few = len(rows) <= _FEW
    axes.scatter(
        ranks[rows],
        costs[rows],
        s=14 if few else 4,
        color=_BLUE,
        alpha=1 if few else 0.35,
        linewidths=0,
        rasterized=True,
    )
    best = int(np.argmin(costs))
    axes.scatter([ranks[best]], [costs[best]], s=45, facecolors="none", edgecolors=_DARK, linewidths=1.2)
    if costs.max() > 10 * costs.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    tau = kendall_tau(each.scores, each.costs)
    axes.set_title(f"{_short(each.graph.name)}, tau {tau:.3f}", loc="left", fontsize=9)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."
