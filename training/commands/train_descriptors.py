"""`autotune train --network descriptors`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from autotune.terminal import console
from training.commands.shared import open_with_bar, wide_console
from training.errors import TrainingError

if TYPE_CHECKING:
    from cost_model.card import TrainingData
    from training.data.store import Split
    from training.evaluation.ranking import RankingReport

_NETWORKS: Final = ("sage", "descriptors")


def uses_descriptors(collection: str, network: str | None) -> bool:
    """Whether a descriptor network is to be trained.

    Raises:
        TrainingError: there is no such network, or it cannot learn from that collection.
    """
    from training.data.collections import collection_of

    if network is not None and network not in _NETWORKS:
        raise TrainingError(f"--network: expected {' or '.join(_NETWORKS)}, found {network!r}")
    published = collection_of(collection).published
    if network == "descriptors" and published:
        raise TrainingError(
            f"--network descriptors: expected a collection of `autotune collect`, which says for which device it is, "
            f"found {collection}"
        )
    return network == "descriptors" or (network is None and not published)


def train_descriptor_model(
    collection: str,
    data: Path,
    out: Path,
    settings: Sequence[str],
    changes: Mapping[str, Any],
    store: Path | None,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Train, judge on the programs of other families (valid and test), and write `OUT/model.safetensors`.

    Args:
        collection: made by `autotune collect`.
        data: the data set.
        out: folder, made if missing.
        settings: "name=value" for fields of the recipe.
        changes: the same by name, None: not given.
        store: of the data.
        skip_bad: leave out damaged files.
        as_json: how to print.
    """
    from cost_model.descriptors.architecture import Space
    from training.collecting.programs import family_of
    from training.commands.progress import CountProgress
    from training.commands.ranking_tables import render_report
    from training.data.collections import available_splits, collection_of
    from training.descriptors import (
        default_recipe,
        describe_programs,
        descriptor_model,
        train_descriptors,
    )
    from training.evaluation.evaluate import evaluate_model
    from training.recipes import override, parse_setting
    from training.trainer import MODEL

    split = open_with_bar(data, collection, "train", store=store, workers=None, skip_bad=skip_bad)
    assert split.manifest is not None
    kind: Space = "tile" if collection_of(collection).kind == "tile" else "layout"
    recipe = override(
        default_recipe(kind, split.manifest.device),
        {name: value for name, value in changes.items() if value is not None} | dict(map(parse_setting, settings)),
    )
    title = f"{collection}, descriptors, seed {recipe.seed}"
    with CountProgress(console(stderr=True), title, doing="describing", done="programs described") as bar:
        seen: list[str] = []

        def described(name: str) -> None:
            seen.append(name)
            bar.update(len(seen), len(split), name)

        examples = describe_programs(split, recipe.architecture, described)
    with CountProgress(console(stderr=True), title, doing="training", done="iterations made") as bar:
        network = train_descriptors(
            recipe, examples, lambda done, total, loss: bar.update(done, total, f"loss {loss:.4g}")
        )
    label = split.manifest.label_kind
    model = descriptor_model(recipe, network, collection, label, _training_data(collection, split))
    reports: list[RankingReport] = []
    metrics: dict[str, object] = {}
    for name in ("valid", "test"):
        if (collection, name) in available_splits(data):
            judged = open_with_bar(data, collection, name, store=store, workers=None, skip_bad=skip_bad)
            reports.append(evaluate_model(model, judged, split=name))
            families = sorted({family_of(graph.name) for graph in judged})
            mean = reports[-1].mean("tau")
            interval = [mean.low, mean.high] if math.isfinite(mean.low) else None  # of a single program there is none
            tau = mean.value if math.isfinite(mean.value) else None
            metrics[name] = {"tau": tau, "interval": interval, "families": families}
    model = descriptor_model(recipe, network, collection, label, _training_data(collection, split), metrics)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out}: cannot be made: {error.strerror}") from None
    model.save(out / MODEL)
    if as_json:
        facts = {"model": str(out / MODEL), "reports": [report.to_json() for report in reports]}
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{title}: {recipe.architecture.parameters:,} parameters, {len(examples):,} programs")
    typer.echo(f"model: {out / MODEL}")
    for report in reports:
        wide_console().print(render_report(report))


def _training_data(collection: str, split: Split) -> TrainingData:
    from cost_model.card import TrainingData
    from training.collecting.programs import family_of

    families = tuple(sorted({family_of(graph.name) for graph in split}))
    return TrainingData(f"{collection}, {split.split}", len(split), sum(map(len, split)), families)
