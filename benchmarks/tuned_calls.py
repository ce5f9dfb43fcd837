"""What a tuned function costs to call, and whether it is as fast as its search said.

Run it as: python -m benchmarks.tuned_calls --json FILE

Two questions, each answered in fresh processes on one core, as the search measures:

- overhead: the time of a call of a tuned function beside one of plain `jax.jit`, interleaved, on a program so small
  that the call is all there is. The tuned program is the function's own program here, so nothing else differs.
- speed-up: a search tunes a function (the transformer block of the demo, forward and backward); then other processes
  time the tuned function and plain `jax.jit` in turns. Their ratio beside what the search reported.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import REPOSITORY, parser, publish

OVERHEAD = """
import json, statistics, sys, time
import jax, jax.numpy as jnp
from dataclasses import replace
import autotune
from autotune.frontends.jax import TunableFunction, capture
from autotune.database.tuned import TunedRecord
from autotune.evaluation import LabelKind
from autotune.tuned import tuned_stablehlo
from autotune.targets.base import TunedProgram

def small(weights, x):
    return x @ weights["a"] + weights["b"]

arguments = {"a": jnp.ones((4, 4)), "b": jnp.ones(4)}, jnp.ones((2, 4))
program = capture(small, arguments, {}).program
code, problem = tuned_stablehlo(TunedProgram(program.module))
assert not problem
record = TunedRecord(program.fingerprint, "layout", "?", "?", "cpu", LabelKind.MEASURED, True, 1.0, "its own", code)
tuned = TunableFunction(small, known={program.fingerprint: record})
plain = jax.jit(small)
assert "call_exported" in str(jax.make_jaxpr(tuned)(*arguments))

def time_100(function):
    started = time.perf_counter()
    for _ in range(100):
        function(*arguments)
    return (time.perf_counter() - started) / 100

for function in (plain, tuned):
    jax.block_until_ready(function(*arguments)); time_100(function)
times = [(time_100(plain), time_100(tuned)) for _ in range(200)]
json.dump({"plain": statistics.median(a for a, _ in times), "tuned": statistics.median(b for _, b in times),
           "added": statistics.median(b - a for a, b in times)}, sys.stdout)
"""

SPEED = """
import json, statistics, sys, time
import jax
import autotune
from benchmarks.tuned_calls import block
function, arguments = block()
tuned = autotune.jit(function, database=sys.argv[1], require_cached=True)
plain = jax.jit(function)
def timed(function):
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - started
for _ in range(20):
    timed(plain); timed(tuned)
pairs = [(timed(plain), timed(tuned)) for _ in range(int(sys.argv[2]))]
json.dump(statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs), sys.stdout)
"""


def block() -> tuple[Any, tuple[Any, ...]]:
    """The function of the demo's program, and random arguments of it."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from examples.export_transformer_block import arguments, transformer_block

    rng = np.random.default_rng(0)
    random = jax.tree.map(lambda each: jnp.asarray(rng.normal(size=each.shape) * 0.1, each.dtype), arguments())
    return transformer_block, random


def in_process(code: str, *arguments: str) -> Any:
    """Run code in a fresh process on one core and return the JSON that it prints."""
    core = sorted(os.sched_getaffinity(0))[-1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout)


def main() -> None:
    """Measure, print and write."""
    options = parser(__doc__)
    options.add_argument("--budget", type=int, default=30)
    options.add_argument("--processes", type=int, default=3)
    options.add_argument("--calls", type=int, default=2000)
    arguments = options.parse_args()
    rows: list[dict[str, Any]] = []
    overheads = [in_process(OVERHEAD) for _ in range(arguments.processes)]
    for name in ("plain", "tuned", "added"):
        values = [each[name] * 1e6 for each in overheads]
        what = "added by a tuned function" if name == "added" else f"call of the {name} function"
        rows.append({"what": f"{what}, us", "median": statistics.median(values), "of_processes": _list(values)})
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "evaluations.sqlite"
        import autotune

        function, inputs = block()
        result = autotune.tune(function, *inputs, budget=arguments.budget, database=database).result
        rows.append({"what": f"speed-up that the search reports (noise {result.noise:.1%})", "median": result.speedup})
        ratios = [in_process(SPEED, str(database), str(arguments.calls)) for _ in range(arguments.processes)]
        rows.append(
            {"what": "speed-up in fresh processes", "median": statistics.median(ratios), "of_processes": _list(ratios)}
        )
        agree = abs(statistics.median(ratios) / result.speedup - 1) <= result.noise
        rows.append({"what": f"within the noise: {'yes' if agree else 'no'}"})
    publish("Calling tuned functions", rows, arguments.json)


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
