"""The Plotly figures. Colours are names of CSS properties, which the page replaces by their values, light or dark.

Text from programs goes through `_plain`: Plotly reads a small HTML in labels.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from autotune.report import words
from autotune.report.pairing import Pair
from autotune.report.reading import EstimatedLine, FailedLine, Line, MeasuredLine, ResultFolder

Figure = dict[str, Any]
Numbered = MeasuredLine | EstimatedLine

_INK, _MUTED, _GRID = "var(--ink)", "var(--muted)", "var(--grid)"
_DEFAULT, _TUNED, _FAILED, _BAND = "var(--default)", "var(--tuned)", "var(--failed)", "var(--band)"
_SHOWN_INSTRUCTIONS = 14


def numbered(lines: Sequence[Line]) -> list[Numbered]:
    """Evaluations that are not failures."""
    return [line for line in lines if not isinstance(line, FailedLine)]


def best_so_far(result: ResultFolder) -> Figure:
    """Cost relative to the default of every evaluation, and of the best one up to there."""
    places = [(place, line) for place, line in enumerate(result.evaluations) if not isinstance(line, FailedLine)]
    failed = [(place, line) for place, line in enumerate(result.evaluations) if isinstance(line, FailedLine)]
    lowest: list[float] = []
    for _, line in places:
        lowest.append(min(line.relative_to_default, lowest[-1] if lowest else 1.0))
    last = len(result.evaluations) - 1
    costs = [line.relative_to_default for _, line in places]
    final = [line for line in numbered(result.best.comparison or ()) if line.config_id == result.fastest.config_id]
    top, bottom = max(costs, default=1.0), min([*costs, *(line.relative_to_default for line in final)], default=1.0)
    figure = _figure(height=360)
    if result.best.noise > 0:
        figure.add_hrect(
            y0=1 / (1 + result.best.noise), y1=1 + result.best.noise, fillcolor=_BAND, line_width=0, layer="below"
        )
    figure.add_hline(y=1.0, line={"color": _DEFAULT, "width": 1, "dash": "dash"})
    figure.add_scatter(
        x=[place for place, _ in places],
        y=costs,
        mode="markers",
        name="evaluation",
        marker={"color": _TUNED, "size": 8, "opacity": 0.55},
        text=[_told(line) for _, line in places],
        hovertemplate="evaluation %{x}<br>%{text}<extra></extra>",
    )
    figure.add_scatter(
        x=[*(place for place, _ in places), last],
        y=[*lowest, lowest[-1] if lowest else 1.0],
        mode="lines",
        name="best so far",
        line={"color": _TUNED, "width": 2.5, "shape": "hv"},
        hoverinfo="skip",
    )
    if failed:
        figure.add_scatter(
            x=[place for place, _ in failed],
            y=[bottom - 0.04 * max(top - bottom, 0.1)] * len(failed),
            mode="markers",
            name="failed",
            marker={"color": _FAILED, "size": 9, "symbol": "x-thin", "line": {"color": _FAILED, "width": 2}},
            text=[_plain(line.reason) for _, line in failed],
            hovertemplate="evaluation %{x}<br>failed: %{text}<extra></extra>",
        )
    if final:
        figure.add_scatter(
            x=[last + max(1.0, 0.04 * last)],
            y=[final[0].relative_to_default],
            mode="markers",
            name="final comparison",
            marker={"color": _INK, "size": 11, "symbol": "diamond-open", "line": {"width": 2}},
            text=[_told(final[0])],
            hovertemplate="final comparison<br>%{text}<extra></extra>",
        )
    end = last + (max(1.0, 0.04 * last) if final else 0)
    pad = max(0.4, 0.03 * last)
    figure.update_xaxes(title_text="evaluations (0: the default)", range=[-pad, end + pad], nticks=9, tickformat=",d")
    figure.update_yaxes(title_text=_relative(result), type="log" if top > 8 * bottom else "linear", tickformat=".3~g")
    return _json(figure)


def predicted_against_evaluated(result: ResultFolder) -> Figure:
    """The cost model's score of every evaluation against what came out."""
    lines = scored(result)
    default = result.best.default.config_id
    figure = _figure(height=360)
    for name, chosen, colour in (
        ("config", [line for line in lines if line.config_id != default], _TUNED),
        ("default", [line for line in lines if line.config_id == default], _INK),
    ):
        figure.add_scatter(
            x=[line.score for line in chosen],
            y=[line.relative_to_default for line in chosen],
            mode="markers",
            name=name,
            marker={
                "color": colour,
                "size": 10,
                "opacity": 0.75,
                "symbol": "circle" if name == "config" else "diamond",
            },
            text=[_told(line) for line in chosen],
            hovertemplate="score %{x:.4~g}<br>%{text}<extra></extra>",
        )
    model = words.shortened(result.best.search.cost_model, 30)
    figure.update_xaxes(title_text=f"predicted: score of {_plain(model)}", nticks=6, tickformat=".4~g")
    figure.update_yaxes(title_text=_relative(result), tickformat=".3~g")
    return _json(figure)


def scored(result: ResultFolder) -> list[Numbered]:
    """Evaluations that have both a score and a number."""
    return [line for line in numbered(result.evaluations) if line.score is not None]


def instruction_costs(rows: Sequence[Pair], unit: str, other: str) -> Figure:
    """The dearest instructions of the default beside those of another config.

    Args:
        rows: from `autotune.report.pairing.pairs`.
        unit: "compiler cycles" or "seconds".
        other: what the config beside the default is called.
    """
    shown = list(rows[:_SHOWN_INSTRUCTIONS])
    scale = 1e6 if unit == "seconds" else 1.0
    figure = _figure(height=90 + 40 * len(shown))
    labels = [f"{_plain(words.operation(row.label, 24))}<br><i>{_plain(_briefly(row.work))}</i>" for row in shown]
    for name, column, colour in (("default", 0, _DEFAULT), (other, 1, _TUNED)):
        figure.add_bar(
            orientation="h",
            x=[row.costs[column] * scale for row in shown],
            y=list(range(len(shown))),
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[_plain(f"{row.work}: {words.cost(row.costs[column], unit)}") for row in shown],
            textposition="none",
            hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
        )
    figure.update_layout(barmode="group", bargap=0.34, bargroupgap=0.06)
    title = "µs (estimated)" if unit == "seconds" else f"{unit} (estimated)"
    tick = "~g" if unit == "seconds" else "~s"
    figure.update_xaxes(
        title_text=title, title_font_size=12, rangemode="tozero", tickformat=tick, nticks=5, tickangle=0
    )
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(shown))), ticktext=labels, autorange="reversed", automargin=True
    )
    figure.update_yaxes(showgrid=False, tickfont={"size": 11})
    return _json(figure)


def _briefly(work: str) -> str:
    """Without the last of three opcodes where they are long."""
    return work if len(work) < 25 else work.rpartition(",")[0] or work


def _figure(height: int) -> Any:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "fixedrange": True, "automargin": True}
    axis |= {"title": {"standoff": 8, "font": {"size": 13}}, "tickfont": {"size": 12}}
    return go.Figure(
        layout={
            "template": go.layout.Template(),
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 36, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": _MUTED},
            "hoverlabel": {"bgcolor": "var(--surface)", "bordercolor": _GRID, "font": {"color": _INK}},
            "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"color": _INK}},
            "dragmode": False,
            "hovermode": "closest",
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def _told(line: Numbered) -> str:
    gain = f"{1.0 / line.relative_to_default:.3f}x of the default"
    if isinstance(line, MeasuredLine):
        return f"{words.seconds(line.seconds)}, spread {line.spread:.1%} (measured)<br>{gain}"
    return f"{line.cycles:,.0f} compiler cycles (estimated)<br>{gain}"


def _relative(result: ResultFolder) -> str:
    if result.best.target.label == "measured":
        return "time against default (measured)"
    return "cycles against default (estimated)"


def _plain(text: str) -> str:
    return html.escape(text, quote=False)


def _json(figure: Any) -> Figure:
    facts: Figure = figure.to_plotly_json()
    return {"data": [_clean(trace) for trace in facts["data"]], "layout": _clean(facts["layout"])}


def _clean(value: Any) -> Any:
    """Without the template, as plain JSON."""
    if isinstance(value, dict):
        return {key: _clean(part) for key, part in value.items() if key != "template"}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    return value
