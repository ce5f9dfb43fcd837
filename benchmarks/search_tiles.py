"""Tiles of XLA:CPU's tiled product: the best found against its own default tile, and against the library paths.

Run it as: python -m benchmarks.search_tiles --budget 50 --json search_tiles.json

All times are measured on one core, in one rotation per program.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import autotune
from autotune.evaluation import Evaluation, Measured
from autotune.hlo.reader import read_bytes
from benchmarks.common import parser, publish

PROGRAMS = {
    "dot 256 x 256 x 256": """HloModule dot
ENTRY main { a = f32[256,256] parameter(0) b = f32[256,256] parameter(1)
  ROOT d = f32[256,256] dot(a, b), lhs_contracting_dims={1}, rhs_contracting_dims={0} }
""",
    "dot + bias + tanh, 256 x 256 x 256": """HloModule dot_bias_tanh
ENTRY main { a = f32[256,256] parameter(0) b = f32[256,256] parameter(1) c = f32[256] parameter(2)
  d = f32[256,256] dot(a, b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  e = f32[256,256] broadcast(c), dimensions={1}
  f = f32[256,256] add(d, e)
  ROOT t = f32[256,256] tanh(f) }
""",
}


def main() -> None:
    """Run the searches."""
    arguments = parser(__doc__)
    arguments.add_argument("--budget", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    rows = []
    for name, text in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as folder:
            result = autotune.search(
                read_bytes(text.encode(), name),
                budget=options.budget,
                seed=options.seed,
                space="tile",
                database=Path(folder) / "evaluations.sqlite",
            )
        assert result.comparison is not None
        measured = [e for e in result.comparison.evaluations if isinstance(e.outcome, Measured)]
        tiles = [e for e in measured if e.config.family == "tiled"]
        own = result.comparison.of(result.space.references["tiled, XLA's own tile"])
        best = min(tiles, key=_seconds)
        assert own is not None
        libraries = {e.config.family: _seconds(e) for e in measured if e.config.family != "tiled"}
        rows.append(
            {
                "program": name,
                "best_tile": "{m}:{k}:{n} x {vector_bits} bit".format(**best.config.to_json()["tile"]),
                "best_tile_us": 1e6 * _seconds(best),
                "own_tile_us": 1e6 * _seconds(own),
                "speedup_over_own_tile": _seconds(own) / _seconds(best),
                **{f"{family}_us": 1e6 * seconds for family, seconds in libraries.items()},
                "best_library_over_best_tile": min(libraries.values()) / _seconds(best),
                "noise": result.noise,
            }
        )
    publish(f"tiles, budget {options.budget}, measured on one core", rows, options.json)


def _seconds(evaluation: Evaluation) -> float:
    assert isinstance(evaluation.outcome, Measured)
    return evaluation.outcome.seconds


if __name__ == "__main__":
    main()
