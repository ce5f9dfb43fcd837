"""How fast programs become graphs: from a serialized module, and from HLO text.

Run it as: python -m benchmarks.featurize_speed --json featurize_speed.json

Columns (times are medians of several repetitions, in milliseconds):
    proto: serialized HloModuleProto -> arrays (`program_graph`).
    parse: HLO text -> serialized HloModuleProto, in XLA.
    text: the sum of the two: what it takes in the process that has the text.
    read_and_graph: `autotune.hlo.reader.read` and `program_graph` as a user calls them. Reading starts a child process,
        sends the program there and back and has XLA check it, which takes longer than the rest.
Targets: 100,000 instructions per second from protos, and every program from HLO text in less than a second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError
from autotune.hlo.graph import program_graph
from autotune.hlo.reader import read
from autotune.targets.isolation import Worker
from benchmarks.common import SHARED, parser, publish

TARGET_PER_SECOND = 100_000
TARGET_TEXT_MS = 1_000


def main() -> None:
    """Measure every program of a folder."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, default=SHARED / "data" / "hlo", help="folder of HLO texts (*.hlo)")
    arguments.add_argument("--repeats", type=int, default=7)
    options = arguments.parse_args()
    files = sorted(options.data.glob("*.hlo"))
    if not files:
        arguments.error(f"{options.data}: no *.hlo file there; name a folder with --data")
    rows = [_row(path, options.repeats) for path in files]
    accepted = [row for row in rows if "refused" not in row]
    rows.append(_total(accepted))
    publish(_verdict(accepted, rows[-1]), rows, options.json)


def _row(path: Path, repeats: int) -> dict[str, Any]:
    try:
        read_and_graph = _median(lambda: program_graph(read(path)), repeats)
    except AutotuneError as error:
        return {"program": path.stem, "refused": str(error).splitlines()[0].partition(". ")[0]}
    with Worker("benchmarks.featurize_speed") as worker:  # XLA may crash: its parser runs in a child here, too
        instructions, parse, proto = worker.call("measure", path.read_text(), repeats, time_limit=600.0)
    return _rates({"program": path.stem, "instructions": instructions}, parse, proto, read_and_graph)


def measure(text: str, repeats: int) -> tuple[int, float, float]:
    """In a child: the number of instructions, milliseconds to parse and milliseconds to make the graph."""
    from autotune.hlo import jaxlib  # in child processes only

    module = jaxlib.parse_hlo_text(text)
    instructions = len(program_graph(module))
    return (
        instructions,
        _median(lambda: jaxlib.parse_hlo_text(text), repeats),
        _median(lambda: program_graph(module), repeats),
    )


def _median(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds that one call takes."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _rates(row: dict[str, Any], parse: float, proto: float, read_and_graph: float) -> dict[str, Any]:
    return row | {
        "proto_ms": proto,
        "proto_per_second": round(1e3 * row["instructions"] / proto),
        "parse_ms": parse,
        "text_ms": parse + proto,
        "text_per_second": round(1e3 * row["instructions"] / (parse + proto)),
        "read_and_graph_ms": read_and_graph,
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("parse_ms", "proto_ms", "read_and_graph_ms")
    total = {"program": f"total of {len(rows)}", "instructions": sum(row["instructions"] for row in rows)}
    return _rates(total, *(sum(row[name] for row in rows) for name in names))


def _verdict(rows: list[dict[str, Any]], total: dict[str, Any]) -> str:
    slowest = max(rows, key=lambda row: float(row["text_ms"]))
    return (
        f"{total['proto_per_second']:,} instructions per second from protos (target {TARGET_PER_SECOND:,}); "
        f"slowest from text: {slowest['program']}, {slowest['text_ms']:.0f} ms (target {TARGET_TEXT_MS:,})"
    )


if __name__ == "__main__":
    main()
