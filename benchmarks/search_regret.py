"""How many evaluations does a search need? Best found against evaluations used, for several ways to search.

Run it as: python -m benchmarks.search_regret --programs DIR --target tpu:v5e --json search_regret.json

DIR holds programs of families that the cost model has not seen. Every config of a program is evaluated once and then
known to all ways and seeds, so that they see the same numbers; with --database FILE also to the next call of this
script, which goes on where one was interrupted.

- guided: what a search does by itself: on a TPU screening, on a CPU evolution, proposals chosen with the cost model.
- unguided: screening without a model.
- evolution: without a model.
- random: uniformly drawn configs, up to --random of them.
- tpe: Optuna's tree-structured Parzen estimator, a categorical choice per tensor.

Columns: the best cost relative to the default after 5, 10, 20, ... evaluations, the mean over seeds; measured on "cpu",
estimated by the compiler on "tpu:...". The last rows are geometric means over programs (beside_guided: the cost that a
way finds with --budget, relative to what guided search finds with it, and its 95 % bootstrap interval over programs),
and how often guided search at --budget is as good (within 0.1 %) as random search at --random.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.database import Database, EvaluationKey
from autotune.errors import AutotuneError
from autotune.evaluation import Evaluation
from autotune.hlo.reader import read
from autotune.ranking.models import choose_models
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.strategies import STRATEGIES
from autotune.targets import open_target
from autotune.targets.base import PreparedProgram, Target, TargetDescription, TunedProgram
from autotune.tuner import Tuner
from benchmarks.common import parser, publish
from cost_model.metrics import bootstrap_interval
from training.collecting.programs import find_sources

_SAME: Final = 1.001
"""Two costs closer than this are as good as each other."""

Search = Callable[["Known", PreparedProgram, Space, int, int], list[float]]
"""From a target, a program, its space, a budget and a seed to the cost of every evaluation, in order."""


class Known:
    """A target that evaluates every config once.

    Args:
        target: that does it.
        database: keeps them; None for memory alone.
    """

    def __init__(self, target: Target, database: Database | None = None) -> None:
        self._target = target
        self._database = database
        self._known: dict[tuple[str, str], Evaluation] = {}
        self.log: list[float] = []
        """Costs in the order in which they were asked for; infinite for failures."""

    @property
    def description(self) -> TargetDescription:
        """The target's."""
        return self._target.description

    @property
    def parallel(self) -> int:
        """The target's."""
        return self._target.parallel

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """What is known, and evaluations of the rest."""
        keys = [(prepared.program.fingerprint, config_id(config)) for config in configs]
        space = EvaluationKey.of(self.description, prepared.program, LayoutSpace(prepared.module.proto))
        for key, config in zip(keys, configs, strict=True):
            if self._database is not None and key not in self._known:
                recorded = self._database.latest(space, config, purpose="search")
                if recorded is not None:
                    self._known[key] = recorded
        new = [config for key, config in zip(keys, configs, strict=True) if key not in self._known]
        for evaluation in self._target.evaluate(prepared, new) if new else ():
            self._known[prepared.program.fingerprint, config_id(evaluation.config)] = evaluation
            if self._database is not None:
                self._database.record(space, evaluation)
        found = [self._known[key] for key in keys]
        if purpose == "search":
            self.log += [np.inf if each.cost is None else each.cost for each in found]
        return found

    def prepare(self, program: Any) -> PreparedProgram:
        """The target's."""
        return self._target.prepare(program)

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """The target's."""
        return self._target.space(prepared, kind)

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """The target's."""
        return self._target.realise(prepared, config)

    def close(self) -> None:
        """Nothing: the target belongs to someone else."""

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


def main() -> None:
    """Search every program in every way."""
    options = _options()
    rows: list[dict[str, Any]] = []
    with (
        open_target(options.target, time_limit=options.evaluation_time_limit) as target,
        Database.open(options.database) if options.database else Database.in_memory() as database,
    ):
        for source in find_sources([options.programs]):
            known = Known(target, database)
            try:
                prepared = known.prepare(read(source.path))
                space = known.space(prepared, "layout")
            except AutotuneError as error:
                print(f"left out: {source.name}: {error}", flush=True)
                continue
            for way in options.ways:
                if way == "unguided" and space.factors([space.default]) is None:
                    continue  # evolution once more
                budget = options.random if way == "random" else options.budget
                seeds = options.random_seeds or options.seeds if way == "random" else options.seeds
                found = [best_so_far(known, WAYS[way], prepared, space, budget, seed) for seed in range(seeds)]
                rows.append(_row(source.name, way, np.array(found)))
                print(rows[-1], flush=True)
    label = target.description.label.value
    rows += _means(rows, options)
    publish(f"best cost relative to the default, {options.target} ({label}), {options.seeds} seeds", rows, options.json)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--programs", type=Path, required=True, metavar="DIR")
    arguments.add_argument("--target", default="tpu:v5e")
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="to search; all if not given")
    arguments.add_argument("--budget", type=int, default=20)
    arguments.add_argument("--random", type=int, default=200, help="evaluations of random search")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--random-seeds", type=int, help="of random search, which is the dearest; as --seeds")
    arguments.add_argument("--database", type=Path, metavar="FILE", help="keep evaluations here")
    arguments.add_argument("--evaluation-time-limit", type=float, default=None, help="seconds for one config")
    return arguments.parse_args()


def best_so_far(
    known: Known, search: Search, prepared: PreparedProgram, space: Space, budget: int, seed: int
) -> list[float]:
    """The lowest cost after each evaluation; of a search that ends early the last one stands for the rest."""
    costs = search(known, prepared, space, budget, seed)[:budget]
    best = np.minimum.accumulate([1.0, *costs])[1:]
    return [float(each) for each in best] + [float(best[-1]) if len(best) else 1.0] * (budget - len(best))


def _tuner(strategy: str, model: str) -> Search:
    def search(known: Known, prepared: PreparedProgram, space: Space, budget: int, seed: int) -> list[float]:
        known.log.clear()
        models = choose_models(model, known.description.cost_model_device)(space.kind)
        with Database.in_memory() as database:
            Tuner(
                target=known,
                prepared=prepared,
                space=space,
                strategy=STRATEGIES[strategy](space),
                cost_models=models,
                graph=prepared.graph if models else None,
                database=database,
                budget=budget,
                seed=seed,
                reuse=False,
            ).run()
        return known.log[1:]  # without the default

    return search


def _tpe(known: Known, prepared: PreparedProgram, space: Space, budget: int, seed: int) -> list[float]:
    """Optuna's own defaults; a config that it asks for again costs an evaluation, as it would without a database."""
    import optuna

    assert isinstance(space, LayoutSpace)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choices = {f"{t.node}/{t.tensor}": (t, [None, *t.enumerate()]) for t in space.tensors}

    def cost(trial: optuna.Trial) -> float:
        orders = {}
        for name, (tensor, options) in choices.items():
            order = options[trial.suggest_categorical(name, list(range(len(options))))]
            if order is not None:
                orders[tensor.node, tensor.tensor] = order
        (evaluation,) = known.evaluate(prepared, [LayoutConfig.of(orders)])
        if evaluation.cost is None:
            raise optuna.TrialPruned
        return evaluation.cost

    known.log.clear()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(cost, n_trials=budget)
    return known.log


WAYS: Final[dict[str, Search]] = {
    "guided": _tuner("auto", "auto"),
    "unguided": _tuner("auto", "none"),
    "evolution": _tuner("evolutionary", "none"),
    "random": _tuner("random", "none"),
    "tpe": _tpe,
}


def _row(program: str, way: str, best: NDArray[np.float64]) -> dict[str, Any]:
    means = best.mean(axis=0)
    row: dict[str, Any] = {"program": program, "way": way}
    steps = [step for step in (5, 10, 20, 50, 100, 200, 500) if step <= len(means)]
    row |= {f"after_{step}": float(means[step - 1]) for step in steps}
    return row | {"last": float(means[-1]), "seeds": len(best)}


def _means(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Over programs."""
    result = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        columns = [name for name in own[0] if name.startswith("after_")]
        means = {name: float(np.exp(np.mean(np.log([row[name] for row in own])))) for name in columns}
        result.append(
            {"program": f"geometric mean of {len(own)}", "way": way, **means, **_beside_guided(rows, way, options)}
        )
    if not {"guided", "random"} <= {row["way"] for row in rows}:
        return result
    last = {(row["program"], row["way"]): row for row in rows}
    programs = list(dict.fromkeys(row["program"] for row in rows))
    reached = [last[name, "guided"]["last"] <= _SAME * last[name, "random"]["last"] for name in programs]
    text = f"guided at {options.budget} as good as random at {options.random}"
    return [*result, {"program": text, "way": f"{sum(reached)} of {len(programs)} programs"}]


def _beside_guided(rows: Sequence[dict[str, Any]], way: str, options: argparse.Namespace) -> dict[str, float]:
    """What another way finds with the same budget, relative to guided search, with its interval over programs."""
    step = f"after_{options.budget}"
    found = {(row["program"], row["way"]): row[step] for row in rows if step in row}
    ratios = [np.log(cost / found[name, "guided"]) for (name, of), cost in found.items() if of == way != "guided"]
    if not ratios:
        return {}
    low, high = bootstrap_interval(np.array(ratios), 0)
    values = {"beside_guided": np.mean(ratios), "beside_guided_low": low, "beside_guided_high": high}
    return {name: float(np.exp(value)) for name, value in values.items()}


if __name__ == "__main__":
    main()
