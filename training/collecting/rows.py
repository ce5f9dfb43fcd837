"""From evaluations to the rows of a file: configs that the compiler read back the same are one; what noise there is."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune.evaluation import Estimated, Evaluation, Failed, Measured
from autotune.hlo.tuning_data import SHORTEST_NANOSECONDS
from autotune.spaces.base import Config, config_id


@dataclass(frozen=True)
class Drawn:
    """An evaluated config.

    Attributes:
        evaluation: of it.
        way: how it was drawn: "near", "random", or "default" (the default and the references).
        again: its second measurement, where labels are to be made of both.
    """

    evaluation: Evaluation
    way: str
    again: Evaluation | None = None


@dataclass(frozen=True)
class Row:
    """One distinct config of a file.

    Attributes:
        config: the first one drawn of those that compile to the same program.
        way: how it was drawn.
        runtime: the median of theirs: ns if measured, cycles if estimated. (The smallest would make a program look
            faster the more configs compile to it.)
        merged: config ids of the others.
        costs: of its first and of its second measurement, relative to the default; () if it was measured once. Its
            runtime is then that of their geometric mean.
    """

    config: Config
    way: str
    runtime: int
    merged: tuple[str, ...] = ()
    costs: tuple[float, ...] = ()


def reference_seconds(drawn: Sequence[Drawn]) -> float:
    """The default's seconds: the median over the rotations in which it was measured; 0 for estimates."""
    times = [each.evaluation.outcome.default_seconds for each in drawn if isinstance(each.evaluation.outcome, Measured)]
    return statistics.median(times) if times else 0.0


def runtime(evaluation: Evaluation, default_seconds: float) -> int | None:
    """The label of a config; None for a failure.

    A host is faster at one time than at another. Every config was measured beside the default, so its label is the
    quotient of both, times what the default takes on the whole: measurements of two rotations can then be compared.

    Args:
        evaluation: of the config.
        default_seconds: see `reference_seconds`.

    Returns:
        Nanoseconds, or cycles of an estimate; at least what the format takes for a run.
    """
    match evaluation.outcome:
        case Measured(cost=cost):
            return max(SHORTEST_NANOSECONDS, round(cost * default_seconds * 1e9))
        case Estimated(cycles=cycles):
            return max(SHORTEST_NANOSECONDS, round(cycles))
        case Failed():
            return None


def merge(drawn: Sequence[Drawn]) -> list[Row]:
    """One row per program that the compiler made, in the order in which they were drawn; failures have none.

    Where the program itself was not kept (a TPU without a device), configs are one if the compiler recorded the same
    layouts and all its figures (cycles, copies, bytes, ...) agree; the layouts alone do not tell all. Of the default
    no layouts are recorded, so nothing is merged with it there.
    """
    default_seconds = reference_seconds(drawn)
    groups: dict[str, list[tuple[Drawn, int]]] = {}
    for each in drawn:
        label = runtime(each.evaluation, default_seconds)
        if label is not None:
            key = _read_back(each.evaluation) or f"config {config_id(each.evaluation.config)}"
            groups.setdefault(key, []).append((each, label))
    rows = []
    for group in groups.values():
        first = group[0][0]
        others = tuple(config_id(each.evaluation.config) for each, _ in group[1:])
        costs = _both_costs([each for each, _ in group])
        correction = math.sqrt(costs[1] / costs[0]) if costs else 1.0
        middle = statistics.median(label for _, label in group)
        label = max(SHORTEST_NANOSECONDS, round(correction * middle))
        rows.append(Row(first.evaluation.config, first.way, label, others, costs))
    return rows


def _both_costs(drawn: Sequence[Drawn]) -> tuple[float, ...]:
    """Medians of all first measurements and of the second ones; () without any of the second."""
    first = [each.evaluation.cost for each in drawn if each.evaluation.cost is not None]
    second = [each.again.cost for each in drawn if each.again is not None and each.again.cost is not None]
    return (statistics.median(first), statistics.median(second)) if second else ()


def noise(drawn: Sequence[Drawn], repeats: Sequence[Evaluation]) -> dict[str, Any] | None:
    """What separate measurements of one thing differ by; None for estimates, which have no noise.

    Args:
        drawn: all evaluations.
        repeats: second evaluations of some of them.

    Returns:
        default_between_rotations: largest over smallest of the default's time over all rotations, minus one.
        copies_of_default: median over the rotations of the same for the copies within one.
        same_program: median over pairs of configs with one program of larger over smaller cost, minus one.
        measured_twice: largest over the repeats of larger over smaller cost, minus one.
        measured_twice_median: the median of the same.
    """
    measured = [each.evaluation for each in drawn if isinstance(each.evaluation.outcome, Measured)]
    outcomes = [each.outcome for each in measured if isinstance(each.outcome, Measured)]
    if not outcomes:
        return None
    times = [outcome.default_seconds for outcome in outcomes]
    firsts: dict[object, float] = {}
    pairs = []
    for each, outcome in zip(measured, outcomes, strict=True):
        program = each.details.get("optimised_program")
        if program is not None and firsts.setdefault(program, outcome.cost) != outcome.cost:
            pairs.append(_excess(firsts[program], outcome.cost))
    costs = {config_id(each.config): each.cost for each in measured}
    again = [
        _excess(first, each.cost)
        for each in repeats
        if each.cost is not None and (first := costs.get(config_id(each.config))) is not None
    ]
    return {
        "default_between_rotations": max(times) / min(times) - 1,
        "copies_of_default": statistics.median(outcome.default_spread for outcome in outcomes),
        "same_program": statistics.median(pairs) if pairs else None,
        "same_program_pairs": len(pairs),
        "measured_twice": max(again) if again else None,
        "measured_twice_median": statistics.median(again) if again else None,
        "measured_twice_configs": len(again),
    }


def summary(drawn: Sequence[Drawn], rows: Sequence[Row]) -> dict[str, Any]:
    """Counts of what was drawn, what failed and why, what was merged; and the spread of the labels."""
    failed = [each.evaluation.outcome.reason.value for each in drawn if isinstance(each.evaluation.outcome, Failed)]
    return {
        "configs": len(drawn),
        "rows": len(rows),
        "rows_by_way": dict(Counter(row.way for row in rows)),
        "merged_duplicates": sum(len(row.merged) for row in rows),
        "failed": dict(Counter(failed)),
        "spread": spread(rows),
    }


def spread(rows: Sequence[Row]) -> float | None:
    """Largest over smallest label; None without labels."""
    labels = [row.runtime for row in rows]
    return max(labels) / min(labels) if labels else None


def _read_back(evaluation: Evaluation) -> str | None:
    """Equal for configs of which the compiler made the same; None if that is not known."""
    facts = evaluation.details
    if "optimised_program" in facts:
        return f"program {facts['optimised_program']}"
    if "layouts_taken" not in facts:
        return None
    # The other facts about layouts count what was asked for.
    kept = {key: value for key, value in facts.items() if key == "layouts_taken" or not key.startswith("layouts_")}
    return json.dumps(kept, sort_keys=True)


def _excess(first: float, second: float) -> float:
    return max(first, second) / min(first, second) - 1
