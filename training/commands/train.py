"""The command that makes models: `autotune train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.terminal import console
from training.commands.shared import Json, SkipBad, Store, open_with_bar, reported, wide_console

if TYPE_CHECKING:
    from cost_model.card import LabelKind
    from training.data.store import StoredGraph
    from training.recipes import Recipe


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(train)


def train(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Such as layout:xla:random, or tile:xla.")],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="The data set: has `layout` or `tile`, `npz` or `npz_all`.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for model, checkpoints and logs; an interrupted one goes on.")
    ],
    network: Annotated[
        str | None,
        typer.Option(
            help="sage: reads the graph, as published. descriptors: reads hand-made columns, and carries over to "
            "programs of other families (collections of `autotune collect` only).",
            show_default="sage for the published collections, else descriptors",
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option(help="readme or code: the published description, or what the published code did.")
    ] = "readme",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a field of the recipe, such as loss.margin=0.1 (may be repeated; a wrong name lists all).",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the optimiser.", show_default="400,000, as published; of descriptors 600"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial weights and batches.")] = 0,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 (faster on GPUs and some processors).")] = (
        "float32"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs (or processes on the cpu) of each host that share each batch.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Hosts that share each batch; start the same on each (torchrun, or Slurm).")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes per device that prepare batches.", show_default="as cores allow"),
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Iterations between checkpoints.")] = 1000,
    judge_every: Annotated[int, typer.Option(min=1, help="Iterations between looks at the validation programs.")] = (
        5000
    ),
    judge_limit: Annotated[
        int, typer.Option(min=2, help="Configs of each program that are looked at then (at the end all are).")
    ] = 1000,
    skip_bad: SkipBad = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Train a cost model on a TpuGraphs collection, or go on with a training that was interrupted."""
    from training.commands.train_descriptors import train_descriptor_model, uses_descriptors

    with reported(as_json, interrupted="nothing was written"):
        if uses_descriptors(collection, network):
            changes = {"iterations": iterations, "seed": seed}
            train_descriptor_model(collection, data, out, settings or [], changes, store, skip_bad, as_json)
            return
    from training.commands.tables import render_training
    from training.processes import is_first_process
    from training.trainer import Hardware, Schedule, describe
    from training.trainer import train as run

    first = is_first_process()
    with reported(as_json, interrupted=f"a checkpoint is in {out}; the same command goes on from there"):
        recipe = _recipe(collection, variant, settings or [], iterations=iterations, seed=seed, precision=precision)
        hardware = Hardware(_accelerator(device), devices, nodes, workers)
        graphs, validation, label = _programs(data, recipe, store=store, skip_bad=skip_bad)
        with _Bar(f"{collection}, seed {recipe.seed}", quiet=not first) as bar:
            result = run(
                recipe,
                graphs,
                out,
                validation=validation,
                label=label,
                schedule=Schedule(checkpoint_every, judge_every, judge_limit),
                hardware=hardware,
                reporter=bar,
            )
    if not first:
        return
    if as_json:
        typer.echo(json.dumps(describe(result), indent=2))
    else:
        wide_console().print(render_training(recipe, len(graphs), result))


def _recipe(collection: str, variant: str, settings: list[str], **options: Any) -> Recipe:
    """The published recipe with what the user changed."""
    from typing import get_args

    from training.recipes import RecipeError, Variant, override, parse_setting, published

    if variant not in get_args(Variant):
        raise RecipeError(f"--variant: expected {' or '.join(get_args(Variant))}, found {variant!r}")
    changes = {name: value for name, value in options.items() if value is not None}
    recipe = override(published(collection, variant), changes | dict(map(parse_setting, settings)))  # type: ignore[arg-type]
    if recipe.collection != collection:
        raise RecipeError(f"--set collection={recipe.collection}: the collection is the command's argument")
    return recipe


def _accelerator(device: str) -> str:
    from training.errors import TrainingError

    if device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device: expected auto, cpu or cuda, found {device!r}")
    return device


def _programs(
    data: Path, recipe: Recipe, *, store: Path | None, skip_bad: bool
) -> tuple[list[StoredGraph], list[StoredGraph], LabelKind]:
    """What to train on, what to judge the model on (nothing, without a validation split), and what the labels are."""
    from training.data.collections import available_splits, left_out_of_training
    from training.errors import TrainingDataError

    name = recipe.collection
    opened = open_with_bar(data, name, "train", store=store, workers=None, skip_bad=skip_bad)
    graphs = [graph for graph in opened if not left_out_of_training(name, "train", graph.name)]
    if not graphs:
        left = ", ".join(graph.name for graph in opened) or "none"
        raise TrainingDataError(
            f"{opened.folder}: expected programs to train {name} on, found only ones that are left out ({left}): "
            "their published labels are damaged; get the whole collection"
        )
    label: LabelKind = "measured" if opened.manifest is None else opened.manifest.label_kind
    if (name, "valid") not in available_splits(data):
        return graphs, [], label
    return graphs, list(open_with_bar(data, name, "valid", store=store, workers=None, skip_bad=skip_bad)), label


class _Bar:
    """Shows how far the training is."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        from training.commands.progress import CountProgress

        self._quiet = quiet
        self._progress = CountProgress(console(stderr=True), title, doing="training", done="iterations made")

    def advance(self, iteration: int, total: int, numbers: Any) -> None:
        """Some iterations were made."""
        rate, loss = numbers["iterations_per_second"], numbers["loss"]
        self._progress.update(iteration, total, f"loss {loss:.4g}, {rate:.1f} a second")

    def __enter__(self) -> _Bar:
        if not self._quiet:
            self._progress.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if not self._quiet:
            self._progress.__exit__(*exception)
