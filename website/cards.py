"""The page of the cost models that ship, from the cards in their checkpoints and from results of benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from cost_model.base import shipped_checkpoints
from cost_model.card import ModelCard
from cost_model.checkpoint import read_checkpoint
from website.markdown import table

BENCHMARK: Final = "tau_vs_analytical"
"""The benchmark that judges rankers on families that they have not seen, collection by collection."""

_LABELS: Final = {
    "measured": "**measured**: seconds on the device",
    "estimated": "**estimated**: the compiler's cycles; no device was used, and no time was measured",
}
_SPLITS: Final = {"valid": "validation", "test": "test"}
_COLUMNS: Final = ("ranker", "tau", "95 % interval", "tau near the default", "tau of random configs", "better by")


def cards_section(results: Path) -> str:
    """A part of the page for each model that ships, and one for the collections for which none does.

    Args:
        results: the folder of the benchmarks' JSON.
    """
    document = json.loads((results / f"{BENCHMARK}.json").read_text())
    collections: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        collections.setdefault(row["collection"], []).append(row)
    parts = []
    for name, path in shipped_checkpoints().items():
        card, _ = read_checkpoint(path)
        parts.append(_model(name, path, card, collections.pop(card.target, [])))
    if collections:
        parts.append("## Where no model ships\n")
        parts += [_without_model(name, rows) for name, rows in collections.items()]
    return "\n".join(parts)


def _model(name: str, path: Path, card: ModelCard, rows: Sequence[Mapping[str, Any]]) -> str:
    facts = [
        ("space", card.space),
        ("learned to predict", f"`{card.target}`"),
        ("labels", _LABELS[card.label_kind]),
        *(
            (
                "learned from",
                f"{data.name}: {data.graphs:,} programs, {data.configs:,} configs of {len(data.families)} families",
            )
            for data in card.training_data
        ),
        ("kind of network", card.kind),
        ("made", f"{card.date or 'on an unknown date'}, by xla-autotune {card.tool_version}"),
        ("file", f"`{path.name}`, {path.stat().st_size:,} bytes, feature schema {card.feature_schema}"),
    ]
    families = "; ".join(", ".join(data.families) for data in card.training_data)
    parts = [
        f"## {name}\n",
        table(("what", "as the card says"), facts),
        f"Families that it learned from: {families}.\n",
        "### On families that it has not seen\n",
        f"From the card; Kendall's tau, the mean over programs, against {card.label_kind} costs.\n",
        table(("split", "tau", "95 % interval", "families"), _judged(card.metrics)),
    ]
    if rows:
        parts += [
            "### Beside other rankers\n",
            _beside(rows),
            "",
            f"These are models of the same kind, trained on folds of `{card.target}`; the figures of the model that "
            "ships are those of its card, above.\n",
        ]
    parts += [
        '??? note "Architecture and recipe"\n\n    ```json\n'
        + _indented(json.dumps({"architecture": asdict(card.architecture), "recipe": card.recipe}, indent=2))
        + "    ```\n"
    ]
    return "\n".join(parts)


def _judged(metrics: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for split, shown in _SPLITS.items():
        judged = metrics.get(split)
        if judged:
            families = ", ".join(judged["families"])
            rows.append([shown, _tau(judged["tau"]), _interval(*(judged["interval"] or (None, None))), families])
    return rows


def _beside(rows: Sequence[Mapping[str, Any]]) -> str:
    first = rows[0]
    ranked = sorted(rows, key=lambda row: -row["tau"])
    return (
        f"From `python -m benchmarks.{BENCHMARK}` ([all columns](numbers.md#{BENCHMARK})): "
        f"{first['programs']} programs of {first['families']} families, costs **{first['label']}**. "
        "Learned rankers are judged on families that they were trained without. "
        "*Better by*: how much higher the tau of the descriptor network is, program by program.\n\n"
        + table(_COLUMNS, (_ranker(row) for row in ranked))
    )


def _ranker(row: Mapping[str, Any]) -> list[str]:
    better = row.get("better_by")
    cells = [str(row["ranker"]), _tau(row["tau"]), _interval(row["tau_low"], row["tau_high"])]
    cells += [_tau(row.get("near")), _tau(row.get("random"))]
    cells.append("" if better is None else f"{better:.3f} {_interval(row['better_low'], row['better_high'])}")
    return cells


def _without_model(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return f"### {name}\n\n{_beside(rows)}"


def _tau(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({low:.3f} to {high:.3f})"


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
