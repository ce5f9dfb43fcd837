"""The HTML page: a template, its style and behaviour, and plotly.js, in one file that asks the network for nothing."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from autotune.report import drawing, figures, words
from autotune.report.explanation import Explanation, LayoutChange
from autotune.report.pairing import Pair, pairs
from autotune.report.reading import FailedLine, Line, MeasuredLine, ResultFolder
from cost_model.metrics import kendall_tau
from cost_model.version import tool_version

_ASSETS: Final = Path(__file__).parent / "assets"
_ROWS: Final = 40
"""Of a long table; the rest is counted."""


@dataclass(frozen=True)
class HeadlineRow:
    """One line of the table at the top."""

    label: str
    kind: str
    value: str
    spread: str
    relative: str
    strong: bool = False


@dataclass(frozen=True)
class FailureRow:
    """Failures of one reason."""

    reason: str
    count: int
    example: str


def render(result: ResultFolder) -> str:
    """The whole page.

    Args:
        result: what a search left behind.
    """
    explanation = result.explanation
    rows = _pairs(explanation)
    charts = {"search": figures.best_so_far(result)}
    if len(figures.scored(result)) > 1:
        charts["model"] = figures.predicted_against_evaluated(result)
    if rows and explanation is not None:
        charts["instructions"] = figures.instruction_costs(rows, explanation.unit, _other(result))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "seconds": words.seconds,
        "size": words.size,
        "points": words.points,
        "order": words.order,
        "shortened": words.shortened,
        "percent": lambda value: f"{value:.1%}",
    }
    plotly = get_plotlyjs()
    return environment.get_template("report.html").render(
        result=result,
        best=result.best,
        headline=headline(result),
        lead=lead(result),
        other=_other(result),
        rows=headline_rows(result),
        counts=Counter(line.kind for line in result.evaluations),
        tau=tau(result),
        scored=len(figures.scored(result)),
        failures=failure_rows(result),
        explanation=explanation,
        pairs=rows[:_ROWS],
        more_pairs=max(0, len(rows) - _ROWS),
        cost=lambda value: words.cost(value, explanation.unit if explanation is not None else ""),
        layouts=_layout_tables(explanation),
        shown_layouts=_ROWS,
        moved=sum(each.moved for each in explanation.layouts) if explanation is not None else 0,
        saved=_saved(explanation),
        asked=_asked_by_node(explanation.layouts) if explanation is not None else {},
        drawings=drawing.drawings(explanation.neighbourhood) if explanation is not None else [],
        box=(drawing.BOX_WIDTH, drawing.BOX_HEIGHT),
        charts=charts,
        style=Markup((_ASSETS / "report.css").read_text()),
        behaviour=Markup((_ASSETS / "report.js").read_text()),
        plotly=Markup(plotly),
        plotly_size=f"{len(plotly.encode()) / 1e6:.1f} MB",
        version=tool_version(),
    )


def headline(result: ResultFolder) -> str:
    """The few words in large type."""
    best = result.best
    if not best.improved:
        return "No difference found" if best.target.label == "measured" else "No fewer cycles"
    if best.target.label == "measured":
        return f"{best.speedup:.2f}x faster"
    if best.speedup < 1.01:
        return f"{1 - 1 / best.speedup:.2%} fewer cycles"
    return f"{best.speedup:.3f}x fewer cycles"


def lead(result: ResultFolder) -> str:
    """The sentence below the headline: the verdict, without what the headline has said."""
    verdict = result.best.verdict
    if not result.best.improved and result.best.target.label == "measured":
        verdict = verdict.partition("(")[2].replace("):", ":", 1) or verdict
    return verdict[:1].upper() + verdict[1:] + "."


def headline_rows(result: ResultFolder) -> list[HeadlineRow]:
    """The default, the best or the fastest other, and who else was in the final comparison."""
    best, fastest = result.best, result.fastest
    rows = [_row("default", best.default)]
    if fastest.config_id != best.default.config_id:
        rows.append(_row("best" if best.improved else "fastest other", fastest, strong=best.improved))
    shown = {best.default.config_id, fastest.config_id}
    rows += [
        _row(f"finalist {line.config_id[:8]}", line) for line in best.comparison or () if line.config_id not in shown
    ]
    return rows


def _row(label: str, line: Line, *, strong: bool = False) -> HeadlineRow:
    if isinstance(line, FailedLine):
        return HeadlineRow(label, "failed", line.reason, "", "")
    if isinstance(line, MeasuredLine):
        value, spread = words.seconds(line.seconds), f"{line.spread:.1%}"
        return HeadlineRow(label, "measured", value, spread, f"{1.0 / line.relative_to_default:.2f}x", strong)
    value = f"{line.cycles:,.0f}"
    return HeadlineRow(label, "estimated", value, "", f"{1.0 / line.relative_to_default:.3f}x", strong)


def tau(result: ResultFolder) -> float | None:
    """Kendall's tau between the scores of the cost model and the costs of all evaluations that have both."""
    lines = figures.scored(result)
    value = kendall_tau([line.score or 0.0 for line in lines], [line.relative_to_default for line in lines])
    return None if math.isnan(value) else value


def failure_rows(result: ResultFolder) -> list[FailureRow]:
    """Failures by reason, the most frequent first, with the message of one of them."""
    failed = [line for line in result.evaluations if isinstance(line, FailedLine)]
    counts = Counter(line.reason for line in failed)
    examples = {line.reason: line.message for line in reversed(failed)}
    return [FailureRow(reason, count, examples[reason][:400]) for reason, count in counts.most_common()]


def _other(result: ResultFolder) -> str:
    """What the config beside the default is called: it is "tuned" only where it is taken."""
    return "tuned" if result.best.improved else "fastest other"


def _pairs(explanation: Explanation | None) -> list[Pair]:
    if explanation is None or explanation.default is None or explanation.tuned is None:
        return []
    return pairs(explanation.default, explanation.tuned)


def _layout_tables(explanation: Explanation | None) -> list[tuple[str, list[LayoutChange]]]:
    """Tensors in another order than the compiler's, and those whose order is only named."""
    layouts = explanation.layouts if explanation is not None else ()
    return [
        ("moved", [each for each in layouts if each.moved]),
        ("named", [each for each in layouts if not each.moved]),
    ]


def _saved(explanation: Explanation | None) -> str:
    """What the layouts did to copies, in words."""
    if explanation is None or explanation.default is None or explanation.tuned is None:
        return ""
    before, after = explanation.default, explanation.tuned
    fewer, less = before.copies - after.copies, before.copy_bytes - after.copy_bytes
    if not before.copies and not after.copies:
        return "Neither program has copies or transposes of its own."
    if not fewer and not less:
        return (
            f"As many copies and transposes as before: {before.copies:,}, which write {words.size(before.copy_bytes)}."
        )
    change = "fewer" if fewer > 0 else "more"
    moved = f"{words.size(abs(less))} {'less' if less > 0 else 'more'} written by them" if less else "as many bytes"
    return (
        f"{abs(fewer):,} {change} copies and transposes ({before.copies:,} → {after.copies:,}), "
        f"{moved} ({words.size(before.copy_bytes)} → {words.size(after.copy_bytes)})."
    )


def _asked_by_node(layouts: tuple[LayoutChange, ...]) -> dict[int, Any]:
    """The order asked for the output of a node, by node id."""
    return {each.node: each.asked for each in layouts if each.tensor == "output"}
