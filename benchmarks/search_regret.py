"""How many evaluations does a search need? Best found against evaluations used, for several ways to search.

Run it as: python -m benchmarks.search_regret --programs DIR --target tpu:v5e --json search_regret.json

DIR holds programs of families that the cost model has not seen. Every config of a program is evaluated once and then
known to all ways and seeds, so that they see the same numbers; with --database FILE also to the next call of this
script, which goes on where one was interrupted.

- guided: what a search does by itself: on a TPU screening, on a CPU evolution, proposals chosen with the cost model.
- analytical: the same with the analytical model, where a learned one is what a search takes by itself.
- unguided: screening without a model.
- evolution: without a model.
- random: uniformly drawn configs, up to --random of them.
- tpe: Optuna's tree-structured Parzen estimator, a categorical choice per tensor, or per axis of a tile.

Columns: the best cost relative to the default after 5, 10, 20, ... evaluations, the mean over seeds; measured on "cpu",
estimated by the compiler on "tpu:...". The best of many measurements flatters itself, so on a target that measures, the
configs that any way holds for the best after so many evaluations are measured once more, all in one rotation and for
longer. These are the numbers in the table (1 where the default is faster than any layout, as a search then keeps the
default; the best tile stands beside the default as it is, which is a library's product); noise is what they cannot tell
from no difference. The last rows are geometric means over programs (beside_guided: the cost that a way finds with
--budget, relative to what guided search finds with it, and its 95 % bootstrap interval over programs), and how often
guided search at --budget is as good (within 0.1 %, or the noise) as random search at --random.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.database import Database, EvaluationKey
from autotune.errors import AutotuneError
from autotune.evaluation import Evaluation, LabelKind, Measured
from autotune.hlo.reader import read
from autotune.ranking.models import choose_models
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import ROWS, STEPS, TILED, VECTOR_BITS, VECTORS, TileConfig
from autotune.strategies import STRATEGIES
from autotune.targets import open_target
from autotune.targets.base import PreparedProgram, Target, TargetDescription, TunedProgram
from autotune.tuner import Tuner
from benchmarks.common import parser, publish
from cost_model.metrics import bootstrap_interval
from training.collecting.programs import Source, find_sources

if TYPE_CHECKING:
    import optuna

_SAME: Final = 0.001
"""Two costs closer than this are as good as each other."""

_STEPS: Final = (5, 10, 20, 50, 100, 200, 500)
"""Evaluations after which the best so far is shown."""

Search = Callable[["Known", PreparedProgram, Space, int, int], list[Evaluation]]
"""From a target, a program, its space, a budget and a seed to every evaluation besides the default's, in order."""


@dataclass(frozen=True, eq=False)
class Course:
    """What a search has found after each evaluation.

    Attributes:
        costs: the lowest so far, relative to the default; float64[budget].
        configs: the config that has it.
    """

    costs: NDArray[np.float64]
    configs: Sequence[Config]

    @property
    def steps(self) -> list[int]:
        """Those of `_STEPS` that it took, and its end."""
        return [step for step in _STEPS if step < len(self.costs)] + [len(self.costs)]


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
        self._space: Space | None = None
        self.log: list[Evaluation] = []
        """In the order in which they were asked for."""

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
        assert self._space is not None, "programs are prepared and their space is opened before they are searched"
        key_of_space = EvaluationKey.of(self.description, prepared.program, self._space)
        for key, config in zip(keys, configs, strict=True):
            if self._database is not None and key not in self._known:
                recorded = self._database.latest(key_of_space, config, purpose="search")
                if recorded is not None:
                    self._known[key] = recorded
        new = [config for key, config in zip(keys, configs, strict=True) if key not in self._known]
        for evaluation in self._target.evaluate(prepared, new) if new else ():
            self._known[prepared.program.fingerprint, config_id(evaluation.config)] = evaluation
            if self._database is not None:
                self._database.record(key_of_space, evaluation)
        found = [self._known[key] for key in keys]
        if purpose == "search":
            self.log += found
        return found

    def look_again(self, prepared: PreparedProgram, configs: Iterable[Config]) -> list[Evaluation]:
        """Evaluates configs in one rotation, for longer."""
        distinct = {config_id(each): each for each in configs}
        return self._target.evaluate(prepared, list(distinct.values()), purpose="confirm")

    def prepare(self, program: Any) -> PreparedProgram:
        """The target's."""
        return self._target.prepare(program)

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """The target's."""
        self._space = self._target.space(prepared, kind)
        return self._space

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
            try:
                rows += _search(source, Known(target, database), options)
            except AutotuneError as error:
                print(f"left out: {source.name}: {error}", flush=True)
    label = target.description.label.value
    rows += _means(rows, options)
    publish(
        f"best {options.space} relative to the default, {options.target} ({label}), {options.seeds} seeds",
        rows,
        options.json,
    )


def _search(source: Source, known: Known, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One program in every way."""
    prepared = known.prepare(read(source.path))
    space = known.space(prepared, options.space)
    models = choose_models("auto", known.description.cost_model_device)
    courses: dict[str, list[Course]] = {}
    for way in options.ways:
        if way == "unguided" and space.factors is None:
            continue  # evolution once more
        if way == "analytical" and len(models(space.kind)) == 1:
            continue  # guided once more
        budget = options.random if way == "random" else options.budget
        seeds = options.random_seeds or options.seeds if way == "random" else options.seeds
        courses[way] = [best_so_far(known, WAYS[way], prepared, space, budget, seed) for seed in range(seeds)]
    found, noise = second_look(known, prepared, space, courses)
    rows = [_row(source.name, way, courses[way], found[way], noise) for way in courses]
    for row in rows:
        print(row, flush=True)
    return rows


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--programs", type=Path, required=True, metavar="DIR")
    arguments.add_argument("--target", default="tpu:v5e")
    arguments.add_argument(
        "--space", choices=("layout", "tile"), default="layout", help="tile: of matrix products, cpu"
    )
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
) -> Course:
    """What a search has found after each evaluation; of one that ends early the end stands for the rest."""
    costs, configs = [_most(space)], [space.default]
    for evaluation in search(known, prepared, space, budget, seed)[:budget]:
        cost, config = evaluation.cost, evaluation.config
        if cost is None or cost >= costs[-1]:
            cost, config = costs[-1], configs[-1]
        costs.append(cost)
        configs.append(config)
    missing = budget + 1 - len(costs)
    return Course(np.array(costs[1:] + costs[-1:] * missing), configs[1:] + configs[-1:] * missing)


def _most(space: Space) -> float:
    """A layout that is slower than the default is not kept; a tile is, to show how far it is from the library."""
    return 1.0 if space.kind == "layout" else math.inf


def second_look(
    known: Known, prepared: PreparedProgram, space: Space, courses: Mapping[str, Sequence[Course]]
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """What the configs that searches have found after each of their steps cost, and the noise of that.

    Args:
        known: evaluated them.
        prepared: the program.
        space: that was searched.
        courses: of every way.

    Returns:
        Costs relative to the default by way, float64[courses, steps].
    """
    if known.description.label is LabelKind.ESTIMATED:
        costs = {way: [course.costs[np.array(course.steps) - 1] for course in own] for way, own in courses.items()}
        return {way: np.array(own) for way, own in costs.items()}, 0.0
    ends = {
        way: [[course.configs[step - 1] for step in course.steps] for course in own] for way, own in courses.items()
    }
    again = known.look_again(prepared, [*(c for own in ends.values() for end in own for c in end), space.default])
    cost = {config_id(each.config): min(_most(space), each.cost or math.inf) for each in again}
    noise = max((each.outcome.noise for each in again if isinstance(each.outcome, Measured)), default=0.0)
    return {way: np.array([[cost[config_id(c)] for c in end] for end in own]) for way, own in ends.items()}, noise


def _tuner(strategy: str, model: str) -> Search:
    def search(known: Known, prepared: PreparedProgram, space: Space, budget: int, seed: int) -> list[Evaluation]:
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
        fixed = {config_id(each) for each in (space.default, *space.references.values())}
        return [each for each in known.log if config_id(each.config) not in fixed]

    return search


def _tpe(known: Known, prepared: PreparedProgram, space: Space, budget: int, seed: int) -> list[Evaluation]:
    """Optuna's own defaults; a config that it asks for again costs an evaluation, as it would without a database."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    suggest = _layouts(space) if isinstance(space, LayoutSpace) else _tiles

    def cost(trial: optuna.Trial) -> float:
        config = suggest(trial)
        if not space.contains(config):
            raise optuna.TrialPruned
        (evaluation,) = known.evaluate(prepared, [config])
        if evaluation.cost is None:
            raise optuna.TrialPruned
        return evaluation.cost

    known.log.clear()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    # A tile that cannot be chosen costs nothing, and is none of the evaluations.
    study.optimize(cost, n_trials=None, callbacks=[lambda study, _: study.stop() if len(known.log) >= budget else None])
    return known.log


def _layouts(space: LayoutSpace) -> Callable[[optuna.Trial], Config]:
    choices = {f"{t.node}/{t.tensor}": (t, [None, *t.enumerate()]) for t in space.tensors}

    def suggest(trial: optuna.Trial) -> Config:
        orders = {}
        for name, (tensor, options) in choices.items():
            order = options[trial.suggest_categorical(name, list(range(len(options))))]
            if order is not None:
                orders[tensor.node, tensor.tensor] = order
        return LayoutConfig.of(orders)

    return suggest


def _tiles(trial: optuna.Trial) -> Config:
    axes = {"rows": ROWS, "steps": STEPS, "vectors": VECTORS, "vector_bits": VECTOR_BITS}
    return TileConfig(TILED, **{name: trial.suggest_categorical(name, values) for name, values in axes.items()})


WAYS: Final[dict[str, Search]] = {
    "guided": _tuner("auto", "auto"),
    "analytical": _tuner("auto", "analytical"),
    "unguided": _tuner("auto", "none"),
    "evolution": _tuner("evolutionary", "none"),
    "random": _tuner("random", "none"),
    "tpe": _tpe,
}


def _row(program: str, way: str, courses: Sequence[Course], found: NDArray[np.float64], noise: float) -> dict[str, Any]:
    means = found.mean(axis=0)
    row: dict[str, Any] = {"program": program, "way": way}
    row |= {f"after_{step}": float(mean) for step, mean in zip(courses[0].steps, means, strict=True) if step in _STEPS}
    return row | {"last": float(means[-1]), "seeds": len(found), "noise": noise}


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
    both = [(last[name, "guided"], last[name, "random"]) for name in programs]
    reached = [guided["last"] <= (1 + max(_SAME, random["noise"])) * random["last"] for guided, random in both]
    text = f"guided at {options.budget} as good as random at {options.random}"
    return [*result, {"program": text, "way": f"{sum(reached)} of {len(programs)} programs"}]


def _beside_guided(rows: Sequence[dict[str, Any]], way: str, options: argparse.Namespace) -> dict[str, float]:
    """What another way finds with the same budget, relative to guided search, with its interval over programs."""
    step = f"after_{options.budget}"
    found = {(row["program"], row["way"]): row[step] for row in rows if step in row}
    guided = {name: cost for (name, of), cost in found.items() if of == "guided"}
    ratios = [
        np.log(cost / guided[name]) for (name, of), cost in found.items() if of == way != "guided" and name in guided
    ]
    if not ratios:
        return {}
    low, high = bootstrap_interval(np.array(ratios), 0)
    values = {"beside_guided": np.mean(ratios), "beside_guided_low": low, "beside_guided_high": high}
    return {name: float(np.exp(value)) for name, value in values.items()}


if __name__ == "__main__":
    main()
