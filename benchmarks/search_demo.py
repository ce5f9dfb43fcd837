"""Does a search on the demo program find more than noise? One row per seed, each with a database of its own.

Run it as: python -m benchmarks.search_demo --seeds 5 --budget 50 --json search_demo.json
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import autotune
from benchmarks.common import REPOSITORY, parser, publish


def main() -> None:
    """Run the searches."""
    arguments = parser(__doc__)
    arguments.add_argument("--program", type=Path, default=REPOSITORY / "examples" / "transformer_block.hlo")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--budget", type=int, default=50)
    arguments.add_argument("--strategy", default="evolutionary")
    options = arguments.parse_args()
    rows = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = autotune.search(
                options.program,
                budget=options.budget,
                seed=seed,
                strategy=options.strategy,
                database=Path(folder) / "evaluations.sqlite",
            )
        rows.append(
            {
                "seed": seed,
                "improved": result.improved,
                "speedup_measured": result.speedup,
                "noise": result.noise,
                "rank_correlation": result.rank_correlation,
                "failed": result.counts["failed"],
                "seconds": result.seconds,
            }
        )
    wins = sum(bool(row["improved"]) for row in rows)
    title = f"{options.program.name}, budget {options.budget}, {options.strategy}"
    publish(f"{title}: {wins} of {len(rows)} searches beat the default by more than the noise", rows, options.json)


if __name__ == "__main__":
    main()
