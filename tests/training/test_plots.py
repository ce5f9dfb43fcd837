"""Figures: what is in them, read back from matplotlib's own objects and from the files; the trainer's CSV."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autotune.errors import ToolchainError
from tests.training.data_sets import layouts, tiles, write
from tests.training.scorers import Chosen
from training import plots
from training.data.store import open_split
from training.errors import TrainingDataError, TrainingError
from training.evaluation.evaluate import ScoredGraph, score_graphs
from training.evaluation.ranking import GraphRanking, RankingReport
from training.history import TauHistory, read_history
from training.plots import plot_history, plot_report, plot_scatter

PNG = b"\x89PNG"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn."""
    drawn: list[Figure] = []
    original = plots._figure

    @contextmanager
    def keep(*arguments: Any, **options: Any) -> Iterator[Figure]:
        with original(*arguments, **options) as figure:
            drawn.append(figure)
            yield figure

    monkeypatch.setattr(plots, "_figure", keep)
    return drawn


def _report(*taus: float) -> RankingReport:
    graphs = (GraphRanking(f"p{i}", 9, "distinct", i == 1, tau, 1, 1, 1, 0.5, None) for i, tau in enumerate(taus))
    return RankingReport("m", "layout:xla:default", "valid", tuple(graphs))


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _extents(axes: Axes, axis: int) -> list[float]:
    """Widths (0) or heights (1) of the rectangles that were drawn; negative to the left of 0."""
    bars = (bar for bar in axes.patches if isinstance(bar, Rectangle))
    return [round((bar.get_width(), bar.get_height())[axis], 9) for bar in bars]


def test_one_bar_per_program(tmp_path: Path, figures: list[Figure]) -> None:
    plot_report(_report(0.5, 0.9, -0.2, math.nan), tmp_path / "bars.png")
    (axes,) = figures[0].axes
    assert _extents(axes, 0)[:3] == [-0.2, 0.5, 0.9], "the best on top"
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["p2", "p0", "p1 (not in the mean)"]
    assert _texts(figures[0]) == ["-0.200", "0.500", "0.900"]
    assert "mean 0.150, 95 % interval -0.200 to 0.500" in axes.get_title(loc="left")
    assert axes.get_xlabel() == "Kendall's tau (1: perfect order)"
    assert (tmp_path / "bars.png").read_bytes().startswith(PNG)
    assert [file.name for file in tmp_path.iterdir()] == ["bars.png"]


def test_a_histogram_of_many_programs(tmp_path: Path, figures: list[Figure]) -> None:
    plot_report(_report(*np.linspace(-0.05, 1, 100)), tmp_path / "bars.svg")
    (axes,) = figures[0].axes
    widths, heights = _extents(axes, 0), _extents(axes, 1)
    assert sum(height for width, height in zip(widths, heights, strict=True) if width == pytest.approx(0.025)) == 100
    assert axes.get_ylabel() == "programs (of 100)"


def test_a_report_without_anything_to_draw(tmp_path: Path, figures: list[Figure]) -> None:
    plot_report(_report(math.nan), tmp_path / "bars.png")
    assert figures[0].axes[0].get_title(loc="left") == "layout:xla:default, valid"


def _history(programs: int) -> TauHistory:
    iterations = np.array([100, 200, 300])
    taus = {f"program{i}": np.array([math.nan, 0.1 * i, 0.05 * i]) for i in range(programs)}
    return TauHistory(iterations, taus, np.array([0.0, 0.1, 0.2]))


def test_lines_over_iterations_have_names(tmp_path: Path, figures: list[Figure]) -> None:
    plot_history(_history(3), tmp_path / "tau.svg", title="run 7")
    (axes,) = figures[0].axes
    assert sorted(_texts(figures[0])) == ["mean", "program0", "program1", "program2"]
    assert axes.lines[2].get_xydata().tolist()[1:] == [[200, 0.2], [300, 0.1]]  # type: ignore[union-attr]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("iteration", "run 7")
    heights = sorted(text.xy[1] for text in axes.texts)  # type: ignore[attr-defined]
    low, high = axes.get_ylim()
    assert min(np.diff(heights)) > 0.04 * (high - low), "names do not lie on each other"


def test_many_lines_are_grey_and_only_the_mean_is_named(tmp_path: Path, figures: list[Figure]) -> None:
    plot_history(_history(20), tmp_path / "tau.pdf")
    assert _texts(figures[0]) == ["mean"]
    assert len(figures[0].axes[0].lines) == 21
    assert len({line.get_color() for line in figures[0].axes[0].lines[:20]}) == 1


def _scored(folder: Path, collection: str) -> list[ScoredGraph]:
    for name in ("a", "b"):
        if collection == "tile:xla":
            write(folder, collection, "valid", name, tiles(1, 2, 4), [10, 20, 900], [10, 10, 10])
        else:
            write(folder, collection, "valid", name, layouts(1, 2, 4), [3_000_000, 2_000_000, 1_000_000])
    split = open_split(folder, collection, "valid", store=folder / "store")
    return list(score_graphs(Chosen(), split))


def test_runtimes_over_predicted_ranks(tmp_path: Path, figures: list[Figure]) -> None:
    scored = _scored(tmp_path, "layout:xla:random")
    plot_scatter(scored, tmp_path / "scatter.png")
    first, second = (axes for axes in figures[0].axes if axes.axison)
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("a, tau 1.000", "b, tau 1.000")
    points, best = (np.asarray(each.get_offsets()).tolist() for each in first.collections)
    # Kinds 4, 2, 1 are predicted to be the fastest in this order; they take 1, 2, 3 ms.
    assert points == [[2, 3], [1, 2], [0, 1]]
    assert best == [[0, 1]]
    assert figures[0].get_supylabel() == "measured runtime (ms)"
    assert first.get_yscale() == "linear"


def test_tiles_are_drawn_by_their_ratio(tmp_path: Path, figures: list[Figure]) -> None:
    plot_scatter(_scored(tmp_path, "tile:xla"), tmp_path / "scatter.svg")
    axes = figures[0].axes[0]
    assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[2, 1], [1, 2], [0, 90]]
    assert axes.get_yscale() == "log"
    assert figures[0].get_supylabel() == "runtime / runtime of the default tile"


def test_points_and_panels_are_limited(tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_POINTS", 2)
    plot_scatter(_scored(tmp_path, "tile:xla") * 10, tmp_path / "scatter.png")
    drawn = [axes for axes in figures[0].axes if axes.axison]
    assert len(drawn) == 12
    assert len(np.asarray(drawn[0].collections[0].get_offsets())) == 2
    with pytest.raises(TrainingDataError, match="found none"):
        plot_scatter([], tmp_path / "scatter.png")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_equal_figures_are_equal_files(tmp_path: Path, ending: str) -> None:
    contents = []
    for name in ("first", "second"):
        plot_report(_report(0.5, 0.9), tmp_path / f"{name}.{ending}")
        contents.append((tmp_path / f"{name}.{ending}").read_bytes())
    assert contents[0] == contents[1]


def test_settings_of_others_stay_as_they_are(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_report(_report(0.5), tmp_path / "bars.png")
    assert dict(mpl.rcParams) == before


def test_files_that_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"ending, one of .png, .svg, .pdf, found '.gif'"):
        plot_report(_report(0.5), tmp_path / "bars.gif")
    with pytest.raises(TrainingError, match="is no folder that can be written to"):
        plot_report(_report(0.5), tmp_path / "missing" / "bars.png")
    original = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "matplotlib":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ToolchainError, match=r"pip install 'xla-autotune\[train\]'"):
        plot_report(_report(0.5), tmp_path / "bars.png")


def test_the_history_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "iteration,loss,tau/a,tau/b.c,tau/mean\n50,1.5,,,\n100,1.2,0.25,0.5,0.375\n150,1.1,,,\n200,1.0,0.5,nan,0.5\n"
    )
    history = read_history(tmp_path / "log.csv")
    assert history.iterations.tolist() == [100, 200]
    assert list(history.graphs) == ["a", "b.c"]
    assert history.graphs["a"].tolist() == [0.25, 0.5]
    assert history.graphs["b.c"][0] == 0.5
    assert math.isnan(history.graphs["b.c"][1])
    assert history.mean is not None
    assert history.mean.tolist() == [0.375, 0.5]


def test_a_history_that_is_being_written(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("iteration,tau/a,tau/mean\n100,0.25,0.25\n200,0.")
    assert read_history(tmp_path / "log.csv").iterations.tolist() == [100]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no rows"),
        ("iteration,tau/a\n", "found no rows"),
        ("step,tau/a\n1,2\n", "found step, tau/a"),
        ("iteration,loss\n1,2\n", "found iteration, loss"),
        ("iteration,tau/a\n1,high\n", "expected numbers in iteration and tau/a"),
        ("iteration,tau/a\n1.5,0.5\n", "expected numbers"),
    ],
)
def test_files_that_are_no_history(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=rf"log\.csv: .*{message}"):
        read_history(tmp_path / "log.csv")


def test_a_history_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="cannot be read"):
        read_history(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TrainingDataError, match="found another file"):
        read_history(tmp_path / "log.csv")
