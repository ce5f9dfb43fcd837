"""A search's evaluations as a study of Optuna: what `autotune search --save-study` leaves, for optuna-dashboard.

One study per program, space, target, device and compiler, so that measured and estimated numbers never meet in one.
The value of a trial is its cost: seconds (or cycles) relative to those of the default in the same rotation, because
seconds of two rotations are not comparable; the seconds themselves are attributes of the trial.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from autotune.database.rows import EvaluationKey
from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation, Failed, LabelKind, Measured
from autotune.optuna_parameters import OTHER, Parameters
from autotune.optuna_storage import described, load_optuna, opened
from autotune.result import SearchResult, evaluation_json
from autotune.spaces.base import config_id
from cost_model.version import tool_version

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

IDENTITY: Final = "evaluation"
"""Attribute of a trial: a hash of config, purpose and outcome. What a study has already is not added again."""

_VALUES: Final = {
    LabelKind.MEASURED: ("time / default's time (measured)", "seconds"),
    LabelKind.ESTIMATED: ("cycles / default's cycles (estimated)", "compiler cycles"),
}
_LONGEST_NAME: Final = 200
"""Characters kept of a program's name: Optuna's tables have room for 512 in the name of a study."""

_SHOWN_FIRST: Final = (
    *("what", "kind", "purpose", "reason", "message"),
    *("seconds", "default_seconds", "spread", "cycles", "default_cycles", "score", "decisions"),
)
"""Attributes of a trial in the order in which the dashboard is to list them."""

_LONGEST_TEXT: Final = 4000
"""Characters kept of a compiler's message: MySQL has room for 64 KB."""


def save_study(result: SearchResult, storage: str | Path) -> list[str]:
    """Write the evaluations of a search as trials of Optuna, each once however often it is called.

    A config that failed is a failed trial with the reason. The final comparison, which is measured for longer, is there
    with the purpose "confirm".

    Args:
        result: of a search; tiles of its kernels become studies of their own.
        storage: URL of a database (`sqlite:///study.db`, `postgresql://...`), or a file: SQLite (.db) or Optuna's
            journal (.log).

    Returns:
        The names of the studies.

    Raises:
        ToolchainError: optuna is missing; run: pip install 'xla-autotune[optuna]'.
        AutotuneError: the storage cannot be written, holds something else, or has a study of that name that is not
            ours; or an evaluation is of another kind than the target's others.
    """
    with opened(storage) as study_storage:
        try:
            return [_save(each, name, study_storage) for name, each in _searches(result)]
        except AutotuneError:
            raise
        except Exception as error:  # of a database, of the file system
            raise AutotuneError(f"study storage {described(storage)}: cannot be written ({error})") from error


def _searches(result: SearchResult) -> Iterator[tuple[str, SearchResult]]:
    """The search of the program, then those of its kernels, by name."""
    name = result.prepared.program.name
    yield name[:_LONGEST_NAME], result
    if result.space.kind != "tile":  # else it is the same search once more
        for each in result.tiles:
            if each.result is not None:
                yield f"{name[:_LONGEST_NAME]} / {each.kernel.name[:_LONGEST_NAME]}", each.result


def _save(result: SearchResult, name: str, storage: BaseStorage) -> str:
    optuna = load_optuna()
    key = EvaluationKey.of(result.target, result.prepared.program, result.space)
    identity = _hash(*astuple(key))
    study_name = f"{name}, {result.space.kind}, {result.target.name} ({identity[:8]})"
    metric, unit = _VALUES[result.target.label]
    trials = list(_trials(result))
    study = optuna.create_study(storage=storage, study_name=study_name, direction="minimize", load_if_exists=True)
    if study.trials and study.user_attrs.get("key") != identity:
        raise AutotuneError(f"study {study_name!r}: it is not one that autotune has written; choose another storage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([metric])
    for attribute, value in _facts(result, identity, metric, unit).items():
        study.set_user_attr(attribute, value)
    there = {trial.user_attrs.get(IDENTITY) for trial in study.get_trials(deepcopy=False)}
    for trial in trials:
        if trial.user_attrs[IDENTITY] not in there:
            there.add(trial.user_attrs[IDENTITY])
            study.add_trial(trial)
    return study_name


def _facts(result: SearchResult, identity: str, metric: str, unit: str) -> dict[str, Any]:
    """What a study says of itself."""
    program, target = result.prepared.program, result.target
    return {
        "key": identity,
        "kind": target.label.value,
        "value": f"{metric}; 1 is the default, lower is faster",
        "unit": unit,
        "program": program.name,
        "fingerprint": program.fingerprint,
        "source": program.source,
        "space": result.space.kind,
        "space size": str(result.space.size),
        "target": target.name,
        "device": target.device_kind,
        "compiler": target.compiler_version,
        "verdict": result.verdict,
        "best config": config_id(result.best.config),
        "noise": result.noise,
        "cost model": result.cost_model,
        "strategy": result.strategy,
        "tool": f"xla-autotune {tool_version()}",
    } | ({"caveat": result.prepared.caveat} if result.prepared.caveat else {})


def _trials(result: SearchResult) -> Iterator[FrozenTrial]:
    """One per evaluation, those of the final comparison last.

    Raises:
        AutotuneError: an evaluation is of another kind than the target's others.
    """
    optuna, parameters = load_optuna(), Parameters(result.space)
    confirmed = result.comparison.evaluations if result.comparison is not None else ()
    for evaluation in (*result.evaluations, *confirmed):
        _check_kind(evaluation, result.target.label)
        params = parameters.of(evaluation.config)
        failed = isinstance(evaluation.outcome, Failed)
        yield optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
            value=evaluation.cost,
            params=params,
            distributions={name: parameters.distributions[name] for name in params},
            user_attrs=_attributes(evaluation, result, complete=OTHER not in params.values()),
        )


def _attributes(evaluation: Evaluation, result: SearchResult, *, complete: bool) -> dict[str, Any]:
    """What a trial says of its evaluation.

    Args:
        evaluation: of one config.
        result: of the search.
        complete: whether the parameters of the trial say all of the config; if not, it is an attribute.
    """
    facts = evaluation_json(evaluation)
    config, details = facts.pop("config"), facts.pop("details")
    facts.pop("relative_to_default", None)  # the value of the trial
    labels = {config_id(each): label for label, each in result.space.references.items()}
    labels[config_id(result.space.default)] = "the default"
    if (label := labels.get(facts["config_id"])) is not None:
        facts["what"] = label
    score = result.scores.get(facts["config_id"])
    if score is not None and math.isfinite(score):
        facts["score"] = float(score)
    facts |= {f"detail: {name}": value for name, value in details.items()}
    if not complete:
        facts["config"] = json.dumps(config, sort_keys=True)
    facts |= {"decisions": len(result.space.explain(evaluation.config)), IDENTITY: _identity(evaluation)}
    first = {name: facts[name] for name in _SHOWN_FIRST if name in facts}
    return {name.replace("_", " "): _plain(value) for name, value in (first | facts).items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it: Optuna keeps no others."""
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, (int, type(None))):
        return value
    return float(value) if math.isfinite(value) else str(value)


def _identity(evaluation: Evaluation) -> str:
    outcome = evaluation.outcome
    if isinstance(outcome, Failed):
        said = [outcome.reason.name, outcome.message]
    else:  # the database gives Python's numbers back, whatever they were
        said = [repr(float(number)) for number in astuple(outcome)]
    return _hash(config_id(evaluation.config), evaluation.purpose, evaluation.kind, *said)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _check_kind(evaluation: Evaluation, label: LabelKind) -> None:
    match label, evaluation.outcome:
        case (_, Failed()) | (LabelKind.MEASURED, Measured()) | (LabelKind.ESTIMATED, Estimated()):
            return
    raise AutotuneError(
        f"config {config_id(evaluation.config)}: expected an evaluation that is {label.value}, found one that is "
        f"{evaluation.kind}; the two do not go into one study"
    )
