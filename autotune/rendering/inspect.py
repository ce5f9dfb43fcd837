"""What is in a program, as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from autotune.hlo.features_file import FeaturesFile
    from autotune.hlo.statistics import ProgramStatistics, Tensor

_ROWS = 12
"""Rows of a long list that are shown; `--json` has them all."""


def render_statistics(facts: ProgramStatistics, sizes: Mapping[str, int | str]) -> RenderableType:
    """Tables of everything that `autotune inspect` knows.

    Args:
        facts: what is in the program.
        sizes: by kind of space, the number of its points or why there is no choice.
    """
    parts: list[RenderableType] = [_summary(facts, sizes)]
    parts += [Text(f"note: {note}") for note in facts.notes]
    opcodes = ", ".join(f"{opcode} {count:,}" for opcode, count in facts.opcodes.items())
    parts += [Text(), Text(f"opcodes: {opcodes}")]
    if facts.custom_calls:
        calls = ", ".join(f"{target or '(no name)'} {count:,}" for target, count in facts.custom_calls.items())
        parts.append(Text(f"custom calls: {calls}"))
    parts += [Text(), _tensors("parameters", facts.parameters), Text(), _tensors("results", facts.results)]
    if facts.configurable_nodes:
        nodes = _table("configurable nodes", "node", "opcode", "name", "output", "inputs")
        for node in facts.configurable_nodes[:_ROWS]:
            nodes.add_row(
                str(node.index), node.opcode, Text(node.name), Text(node.output), Text(", ".join(node.inputs))
            )
        parts += [Text(), nodes, *_rest(len(facts.configurable_nodes))]
    return Group(*parts)


def render_features(written: FeaturesFile) -> RenderableType:
    """What a features file holds."""
    table = _table(f"features written to {written.path}", "array", "type", "shape")
    for name, array in written.arrays.items():
        table.add_row(name, array.dtype.name, " x ".join(f"{size:,}" for size in array.shape))
    left_out = f" ({written.runs_left_out:,} that failed are left out)" if written.runs_left_out else ""
    runs = f"runs: {written.runs:,}" if written.runs else "no runs: the graph alone, without configs and runtimes"
    return Group(Text(), table, Text(runs + left_out))


def _summary(facts: ProgramStatistics, sizes: Mapping[str, int | str]) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = {
        "program": facts.name,
        "source": facts.source,
        "fingerprint": facts.fingerprint,
        "computations": f"{facts.computations:,}",
        "instructions": f"{facts.instructions:,}",
    }
    if facts.replicas * facts.partitions > 1:
        rows["devices"] = f"{facts.partitions:,} per replica, replicas: {facts.replicas:,}"
    if facts.costs is None:
        rows["operations"] = f"unknown: {facts.costs_missing}"
    else:
        rows["floating point operations"] = _count(facts.costs.flops)
        rows["transcendental functions"] = _count(facts.costs.transcendentals)
        rows["bytes accessed"] = _bytes(facts.costs.bytes_accessed)
    nodes = ", ".join(
        f"{sum(node.opcode == opcode for node in facts.configurable_nodes):,} {opcode}"
        for opcode in sorted({node.opcode for node in facts.configurable_nodes})
    )
    rows["configurable nodes"] = nodes or "none"
    rows |= {f"{kind} space": _points(size) for kind, size in sizes.items()}
    for label, value in rows.items():
        table.add_row(Text(label, style="bold"), Text(value))
    return table


def _tensors(title: str, tensors: tuple[Tensor, ...]) -> RenderableType:
    total = sum(tensor.size for tensor in tensors)
    table = _table(f"{title}: {len(tensors):,}, {_bytes(total)}", "name", "shape", "size")
    for tensor in tensors[:_ROWS]:
        table.add_row(Text(tensor.name), Text(tensor.shape), _bytes(tensor.size))
    return Group(table, *_rest(len(tensors)))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("size", "node") else "left", overflow="fold")
    return table


def _rest(count: int) -> Iterable[RenderableType]:
    return [Text(f"... and {count - _ROWS:,} more (--json shows all)")] if count > _ROWS else []


def _points(size: int | str) -> str:
    if isinstance(size, str):
        return size
    return f"{size:,} configs" if size < 10**9 else f"about 10^{math.log10(size):.0f} configs"


def _count(value: float) -> str:
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f}"


def _bytes(value: float) -> str:
    return f"{_count(value)}B" if value >= 1e3 else f"{value:.0f} B"
