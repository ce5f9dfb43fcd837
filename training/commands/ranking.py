"""The commands that judge and use trained models: `autotune evaluate` and `autotune submit`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.terminal import console
from training.commands.shared import Json, SkipBad, Store, Workers, open_with_bar, reported, wide_console
from training.errors import TrainingError

if TYPE_CHECKING:
    from cost_model import CostModel
    from training.commands.progress import CountProgress
    from training.data.store import Split
    from training.evaluation.predictions import Predictions

Device = Annotated[str, typer.Option(help="Where learned models compute: cpu, cuda or cuda:1.")]
Precision = Annotated[str, typer.Option(help="Of learned models: float32, or bfloat16 (faster on some processors).")]
SaveScores = Annotated[
    Path | None,
    typer.Option("--save-scores", metavar="FILE.npz", help="Also keep the scores.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(evaluate)
    app.command()(submit)


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT",
            help="A checkpoint, or a name such as analytical:tpu-v3. Several are judged together, as an ensemble.",
        ),
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="The data set: has `layout` or `tile`, `npz` or `npz_all`.")
    ],
    collection: Annotated[
        str | None, typer.Option(help="Such as layout:xla:random.", show_default="the one in the checkpoint")
    ] = None,
    split: Annotated[str, typer.Option(help="train or valid (published test splits have no runtimes).")] = "valid",
    indices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Judge these configs: JSON, by program, of positions in its file.",
            show_default="the official ones in DIR/eval_indices, if there",
        ),
    ] = None,
    all_configs: Annotated[
        bool, typer.Option("--all-configs", help="Judge all distinct configs, whatever indices there are.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Judge at most so many configs of a program.", show_default="all")
    ] = None,
    save_scores: SaveScores = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw tau per program (.png, .svg, .pdf).", show_default=False)
    ] = None,
    plot_scatter: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw runtimes against predicted ranks.", show_default=False),
    ] = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    skip_bad: SkipBad = False,
    store: Store = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Judge how well a cost model ranks the configs of measured programs."""
    from training import plots
    from training.commands.ranking_tables import render_report
    from training.evaluation.evaluate import predictions, report, score_graphs
    from training.evaluation.indices import check_indices, find_indices, read_indices
    from training.evaluation.predictions import check_writable

    with reported(as_json, interrupted="nothing was written"):
        if indices is not None and all_configs:
            raise TrainingError("--indices and --all-configs: expected one of them, found both")
        for path in (plot, plot_scatter):
            if path is not None:
                plots.check_plot(path)
        if save_scores is not None:
            check_writable(save_scores)
        models = _load(checkpoints, device, precision)
        name = collection or _common_collection(models)
        model = _together(models)
        opened = open_with_bar(data, name, split, store=store, workers=workers, skip_bad=skip_bad)
        official = None
        if indices is not None:
            official = read_indices(indices)
            check_indices(official, opened, indices)
        elif not all_configs:
            official = find_indices(data, opened.folder, name)
        with _scoring_bar(f"{name}, {split}") as progress:
            scored = list(score_graphs(model, opened, indices=official, limit=limit, progress=progress.update))
        result = report(model.name, split, scored)
        if save_scores is not None:
            predictions(model.name, split, scored).save(save_scores)
        if plot is not None:
            plots.plot_report(result, plot)
        if plot_scatter is not None:
            plots.plot_scatter(scored, plot_scatter)
    if as_json:
        typer.echo(json.dumps(result.to_json() | {"skipped": list(opened.skipped)}, indent=2))
        return
    wide_console().print(render_report(result))
    for what in opened.skipped:
        typer.echo(f"skipped: {what}")
    for path in (save_scores, plot, plot_scatter):
        if path is not None:
            typer.echo(f"written: {path}")


def submit(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="Checkpoints that say which collection they are for. Several for one collection are an ensemble.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Where to write the submission.")] = Path(
        "submission.csv"
    ),
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The data set; needed with checkpoints.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLLECTION=CHECKPOINT", help="A checkpoint for a collection (may be repeated).", show_default=False
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.npz", help="Scores that --save-scores kept (may be repeated).", show_default=False),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Check against a sample submission: the same ids.", show_default=False),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write it although programs are missing.")] = False,
    split: Annotated[str, typer.Option(help="The split that is ranked.")] = "test",
    save_scores: SaveScores = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    skip_bad: SkipBad = False,
    store: Store = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Rank the configs of all test programs and write the contest's submission file."""
    from training.commands.ranking_tables import render_submission
    from training.evaluation.predictions import Predictions, check_writable, config_id, merge
    from training.evaluation.submission import make_submission, order_ids, predict, read_sample

    with reported(as_json, interrupted="nothing was written"):
        for path in (out, save_scores):
            if path is not None:
                check_writable(path)
        wanted = read_sample(sample) if sample is not None else None
        parts = [_of_split(Predictions.load(path), split, path) for path in scores or ()]
        models = _models(checkpoints or (), checkpoint or (), device, precision)
        if not models and not parts:
            raise TrainingError("expected checkpoints or --scores, found neither")
        opened = _open_all(data, list(models), split, store=store, workers=workers, skip_bad=skip_bad)
        ids = [config_id(name, graph.name) for name, graphs in opened.items() for graph in graphs]
        # Before hours of scoring; what is there twice is found when everything is merged.
        order_ids([*ids, *(name for part in parts for name in part.scores)], sample=wanted, partial=partial)
        for name, model in models.items():
            with _scoring_bar(f"{name}, {split}") as progress:
                parts.append(predict(model, opened[name], split=split, progress=progress.update))
        merged = merge(parts)
        submission = make_submission(merged, sample=wanted, partial=partial)
        if save_scores is not None:
            merged.save(save_scores)
        submission.save(out)
    skipped = [each for graphs in opened.values() for each in graphs.skipped]
    if as_json:
        facts = {"file": str(out), "checked_against": None if sample is None else str(sample)}
        found = {"programs": submission.counts(), "models": dict(merged.models), "skipped": skipped}
        typer.echo(json.dumps(facts | found, indent=2))
        return
    wide_console().print(render_submission(submission.counts(), merged.models, skipped))
    checked = "not checked against a sample submission (--sample)"
    if sample is not None:
        checked = f"{'all ids are in' if partial else 'the same ids as in'} {sample}"
    typer.echo(f"written: {out} ({sum(submission.counts().values()):,} programs; {checked})")


def _open_all(
    data: Path | None,
    collections: Sequence[str],
    split: str,
    *,
    store: Path | None,
    workers: int | None,
    skip_bad: bool,
) -> dict[str, Split]:
    """The splits of several collections."""
    if not collections:
        return {}
    if data is None:
        raise TrainingError("expected --data DIR, the data set whose configs the checkpoints shall rank, found none")
    return {
        name: open_with_bar(data, name, split, store=store, workers=workers, skip_bad=skip_bad) for name in collections
    }


def _load(names: Sequence[str], device: str, precision: str) -> list[CostModel]:
    from cost_model import CostModel

    return [CostModel.load(name, device=device, precision=precision) for name in names]  # type: ignore[arg-type]


def _together(models: Sequence[CostModel]) -> CostModel:
    """One cost model, or the ensemble of several."""
    from cost_model.ensemble import EnsembleCostModel

    return models[0] if len(models) == 1 else EnsembleCostModel(models)


def _collection_of(model: CostModel) -> str:
    """The collection that a model was trained for.

    Raises:
        TrainingError: its card names none, or it has no card.
    """
    from training.data.collections import COLLECTIONS
    from training.data.manifest import OWN_NAME

    card = getattr(model, "card", None)
    if card is None or not (card.target in COLLECTIONS or OWN_NAME.fullmatch(card.target)):
        found = "a model without a card" if card is None else f"one for {card.target!r}"
        raise TrainingError(
            f"{model.name}: expected a checkpoint for one of {', '.join(COLLECTIONS)}, found {found}: "
            "name the collection (evaluate: --collection; submit: --checkpoint COLLECTION=CHECKPOINT)"
        )
    return str(card.target)


def _common_collection(models: Sequence[CostModel]) -> str:
    """The collection that all of these models were trained for.

    Raises:
        TrainingError: there is none.
    """
    collections = {model.name: _collection_of(model) for model in models}
    if len(set(collections.values())) > 1:
        found = ", ".join(f"{name} for {collection}" for name, collection in collections.items())
        raise TrainingError(f"expected checkpoints for one collection, found {found}: name it with --collection")
    return next(iter(collections.values()))


def _models(positional: Sequence[str], named: Sequence[str], device: str, precision: str) -> dict[str, CostModel]:
    """The model of every collection that has one, in the order of the collections."""
    from training.data.collections import COLLECTIONS

    models: dict[str, list[CostModel]] = {collection: [] for collection in COLLECTIONS}
    for model in _load(positional, device, precision):
        models[_collection_of(model)].append(model)
    for option in named:
        collection, separator, name = option.partition("=")
        if not separator or not name or collection not in COLLECTIONS:
            raise TrainingError(
                f"--checkpoint: expected COLLECTION=CHECKPOINT with one of {', '.join(COLLECTIONS)}, found {option!r}"
            )
        models[collection] += _load([name], device, precision)
    return {collection: _together(each) for collection, each in models.items() if each}


def _of_split(predictions: Predictions, split: str, path: Path) -> Predictions:
    if predictions.split != split:
        raise TrainingError(f"{path}: expected scores of the split {split!r}, found those of {predictions.split!r}")
    return predictions


def _scoring_bar(title: str) -> CountProgress:
    from training.commands.progress import CountProgress

    return CountProgress(console(stderr=True), title, doing="scoring", done="configs scored")
