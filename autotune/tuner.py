"""The loop: propose, filter, score, choose, evaluate, record, learn; at the end a fair comparison of the best few."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.database import Database, EvaluationKey
from autotune.errors import DefaultFailedError
from autotune.evaluation import Evaluation, Failed, LabelKind
from autotune.ranking import Standing, make_ranker
from autotune.recorded.kept import keep_program
from autotune.result import Comparison, SearchResult, noise_level
from autotune.spaces.base import Config, Space, config_id
from autotune.strategies.base import Guidance, Strategy
from autotune.targets.base import PreparedProgram, Target
from cost_model import CostModel, ProgramGraph

BATCH = 6
"""Configs chosen from one round of proposals, before the strategy learns and the model scores again."""

PROPOSALS = 384
"""Configs proposed and scored per round."""

_FINALISTS = 3
_UNCONFIRMED_GAIN = 0.1
"""Smallest gain that counts when there was no comparison at the end: the best of many short looks flatters itself."""


@dataclass(frozen=True)
class Progress:
    """The state of a search, for whoever shows it.

    Attributes:
        done: evaluations that count against the budget so far, reused ones included.
        budget: how many there may be.
        reused: how many came from the database.
        best_cost: of the best config so far relative to the default (1 = the default).
        failures: count by reason.
        ranking: how well proposals are ranked; None without a cost model.
        stage: what is going on, in words.
    """

    done: int
    budget: int
    reused: int
    best_cost: float
    failures: dict[str, int]
    ranking: Standing | None
    stage: str


@dataclass
class _State:
    known: dict[str, Evaluation] = field(default_factory=dict)
    reused: int = 0

    def evaluations(self) -> list[Evaluation]:
        return list(self.known.values())


class Tuner:
    """One search.

    Args:
        target: evaluates.
        prepared: the program, prepared by `target`.
        space: what may be changed.
        strategy: proposes.
        cost_models: choose among proposals, see `Ranker`; none to take them as they come, or where the strategy screens
            by what the evaluations teach alone.
        graph: what the models see of the program; needed with a cost model.
        database: keeps every evaluation; each is committed before the next one starts.
        budget: evaluations besides the default and the references, those in the database included.
        time_limit: seconds for the search (the comparison at the end is not cut short); None for no limit.
        seed: of the strategy's random numbers.
        reuse: whether evaluations in the database count.
        on_progress: called after every evaluation.
    """

    def __init__(
        self,
        *,
        target: Target,
        prepared: PreparedProgram,
        space: Space,
        strategy: Strategy,
        cost_models: Sequence[CostModel] = (),
        graph: ProgramGraph | None = None,
        database: Database,
        budget: int,
        time_limit: float | None = None,
        seed: int = 0,
        reuse: bool = True,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._target = target
        self._prepared = prepared
        self._space = space
        self._strategy = strategy
        self._model_name = cost_models[0].name if cost_models and self._guided else "none"
        self._ranker = make_ranker(cost_models, graph, space, strategy.guidance, estimated=self._estimated)
        self._database = database
        self._budget = budget
        self._time_limit = time_limit
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._reuse = reuse
        self._on_progress = on_progress
        self._key = EvaluationKey.of(target.description, prepared.program, space)
        self._state = _State()
        self._fixed = {config_id(config) for config in (space.default, *space.references.values())}

    def run(self) -> SearchResult:
        """Search until the budget, the time or the space is used up, or Ctrl-C; then compare the best with the default.

        Raises:
            DefaultFailedError: the default could not be evaluated.
        """
        started = time.monotonic()
        stopped = "interrupted"
        comparison: Comparison | None = None
        keep_program(self._database, self._target.description, self._prepared, self._space)
        try:
            self._reuse_known()
            self._evaluate_fixed()
            stopped = self._search(started)
            comparison = self._compare()
        except KeyboardInterrupt:
            self._report("interrupted")
        return self._result(comparison, stopped, time.monotonic() - started)

    # -- the stages -----------------------------------------------------------------------------------------------

    def _reuse_known(self) -> None:
        if not self._reuse:
            return
        for evaluation in self._database.evaluations(self._key, self._space.from_json, purpose="search"):
            if self._space.contains(evaluation.config):
                self._state.known[config_id(evaluation.config)] = evaluation
        self._state.reused = self._done()
        self._learn(self._state.evaluations())

    def _evaluate_fixed(self) -> None:
        """The default and the references are always evaluated, and cost no budget."""
        for config in (self._space.default, *self._space.references.values()):
            if config_id(config) not in self._state.known:
                self._report("evaluating the default")
                self._evaluate([config])
        default = self._state.known[config_id(self._space.default)]
        if isinstance(default.outcome, Failed):
            raise DefaultFailedError(
                f"the default config of program {self._prepared.program.name!r} could not be evaluated on "
                f"{self._target.description.name}: {default.outcome.reason.value}: {default.outcome.message}"
            )

    def _search(self, started: float) -> str:
        while True:
            if self._done() >= self._budget:
                return "budget used up"
            step = max(1, self._target.parallel)
            batch = self._choose(min(max(BATCH, step), self._budget - self._done()))
            if not batch:
                return "space used up"
            for start in range(0, len(batch), step):
                if self._time_limit is not None and time.monotonic() - started >= self._time_limit:
                    return "time limit reached"
                self._report("searching")
                self._evaluate(batch[start : start + step])

    def _choose(self, count: int) -> list[Config]:
        """New configs to evaluate: landmarks first, then what the ranking chooses of many proposals."""
        if self._guided:
            landmarks = [config for config in self._space.landmarks if self._is_new(config)]
            if landmarks:
                return landmarks[:count]
        pool: dict[str, Config] = {}
        for _ in range(4):  # a small space may need several rounds to show something new
            for config in self._strategy.propose(PROPOSALS, self._rng):
                if self._is_new(config) and self._space.contains(config):
                    pool.setdefault(config_id(config), config)
            if len(pool) >= count:
                break
        if len(pool) < count and self._space.size <= 10_000:
            for config in self._space.enumerate():
                if self._is_new(config):
                    pool.setdefault(config_id(config), config)
        candidates = list(pool.values())
        chosen = self._ranker.choose(candidates, count, self._rng) if self._ranker is not None and candidates else None
        if chosen is None:
            chosen = self._rng.permutation(len(candidates))[:count].tolist()
        return [candidates[index] for index in chosen]

    def _evaluate(self, configs: Sequence[Config]) -> None:
        known = self._recorded_meanwhile(configs)
        new = [config for config in configs if config_id(config) not in known]
        for evaluation in self._target.evaluate(self._prepared, new) if new else ():
            self._database.record(self._key, evaluation)
            known[config_id(evaluation.config)] = evaluation
        evaluations = [known[config_id(config)] for config in configs]
        self._state.known.update({config_id(each.config): each for each in evaluations})
        self._learn(evaluations)
        self._report("searching")

    def _recorded_meanwhile(self, configs: Sequence[Config]) -> dict[str, Evaluation]:
        """What another search has recorded since this one began: no config is evaluated twice on one device."""
        if not self._reuse:
            return {}
        found = (self._database.latest(self._key, config, purpose="search") for config in configs)
        recorded = {config_id(each.config): each for each in found if each is not None}
        self._state.reused += sum(1 for identity in recorded if identity not in self._fixed)
        return recorded

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        if self._ranker is not None:
            self._ranker.observe(evaluations)
        self._strategy.observe(evaluations)

    def _compare(self) -> Comparison | None:
        """Evaluate the finalists, the references and the default once more, together and for longer.

        The best of many noisy measurements is too good to be true; what is reported is this second look. Estimates
        have no noise, so they are not repeated.
        """
        if self._target.description.label is LabelKind.ESTIMATED:
            return None
        finalists = self._finalists()
        configs = list({config_id(c): c for c in (*finalists, *self._space.references.values())}.values())
        if not configs:
            return None
        earlier = self._earlier_comparison(configs)
        if earlier is not None:
            return earlier
        self._report("comparing the best with the default")
        evaluations = self._target.evaluate(self._prepared, [*configs, self._space.default], purpose="confirm")
        for evaluation in evaluations:
            self._database.record(self._key, evaluation)
        return Comparison(tuple(evaluations))

    def _finalists(self) -> list[Config]:
        """The best few, and the best of each family; programs that compile to the same code once."""
        default = self._state.known[config_id(self._space.default)]
        seen = {default.details.get("optimised_program")} - {None}
        finalists: list[Config] = []
        families: set[str] = set()
        for evaluation in sorted(self._succeeded(), key=_cost):
            program = evaluation.details.get("optimised_program")
            if config_id(evaluation.config) == config_id(self._space.default) or program in seen:
                continue
            if len(finalists) < _FINALISTS or evaluation.config.family not in families:
                finalists.append(evaluation.config)
                families.add(evaluation.config.family)
                if program is not None:
                    seen.add(program)
        return finalists

    def _earlier_comparison(self, configs: Sequence[Config]) -> Comparison | None:
        """The same comparison, if the database has it and nothing was evaluated since."""
        if not self._reuse or self._done() > self._state.reused:
            return None
        found = {
            config_id(evaluation.config): evaluation
            for evaluation in self._database.evaluations(self._key, self._space.from_json, purpose="confirm")
        }
        wanted = [config_id(config) for config in (*configs, self._space.default)]
        if not all(identity in found for identity in wanted):
            return None
        return Comparison(tuple(found[identity] for identity in wanted))

    # -- facts of the state ---------------------------------------------------------------------------------------

    def _done(self) -> int:
        return sum(1 for identity in self._state.known if identity not in self._fixed)

    def _is_new(self, config: Config) -> bool:
        identity = config_id(config)
        return identity not in self._state.known and identity not in self._fixed

    def _succeeded(self) -> list[Evaluation]:
        return [evaluation for evaluation in self._state.known.values() if evaluation.cost is not None]

    def _failures(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for evaluation in self._state.known.values():
            if isinstance(evaluation.outcome, Failed):
                counts[evaluation.outcome.reason.value] = counts.get(evaluation.outcome.reason.value, 0) + 1
        return counts

    def _report(self, stage: str) -> None:
        costs = [_cost(evaluation) for evaluation in self._succeeded()]
        self._on_progress(
            Progress(
                done=self._done(),
                budget=self._budget,
                reused=self._state.reused,
                best_cost=min(costs, default=1.0),
                failures=self._failures(),
                ranking=self._ranker.standing if self._ranker is not None else None,
                stage=stage,
            )
        )

    def _result(self, comparison: Comparison | None, stopped: str, seconds: float) -> SearchResult:
        default = self._state.known.get(config_id(self._space.default))
        if default is None:
            raise KeyboardInterrupt  # stopped before there was anything to report
        ranked = sorted(self._succeeded(), key=_cost)
        if comparison is not None:
            default = comparison.default(self._space.default) or default
            ranked = sorted((e for e in comparison.evaluations if e.cost is not None), key=_cost)
        candidates = [e for e in ranked if config_id(e.config) != config_id(self._space.default)]
        best = candidates[0] if candidates else default
        noise = noise_level(best)
        if comparison is None and not self._estimated:
            noise = max(noise, _UNCONFIRMED_GAIN)
        improved = best.cost is not None and 1.0 / best.cost > 1.0 + noise
        chosen = best if improved else default
        return SearchResult(
            prepared=self._prepared,
            target=self._target.description,
            space=self._space,
            strategy=self._strategy.name,
            cost_model=self._model_name,
            seed=self._seed,
            budget=self._budget,
            default=default,
            best=chosen,
            tuned=self._target.realise(self._prepared, chosen.config),
            runner_up=best,
            noise=noise,
            evaluations=tuple(self._state.evaluations()),
            comparison=comparison,
            scores=self._ranker.scores if self._ranker is not None else {},
            reused=self._state.reused,
            ranking=self._ranker.settle() if self._ranker is not None else None,
            stopped=stopped,
            seconds=seconds,
        )

    @property
    def _guided(self) -> bool:
        return self._strategy.guidance is not Guidance.NONE

    @property
    def _estimated(self) -> bool:
        return self._target.description.label is LabelKind.ESTIMATED


def _cost(evaluation: Evaluation) -> float:
    assert evaluation.cost is not None
    return evaluation.cost
