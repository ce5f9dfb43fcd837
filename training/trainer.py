"""Trains a model from a recipe and a data set: seeded, resumable, on one processor or several."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, Trainer

from cost_model.card import CONFIG_FEATURES, LabelKind, ModelCard, TrainingData
from cost_model.files import replace_file
from cost_model.learned import LearnedCostModel, network_of, weights_of
from training.callbacks import LAST, AtomicCheckpoints, Judge, Reporter, SaveCheckpoints, WriteDown
from training.data.collections import collection_of
from training.data.store import StoredGraph
from training.errors import TrainingError
from training.evaluation.ranking import RankingReport
from training.journal import TABLE, Journal
from training.module import RankingModule
from training.processes import check_processes, is_first_process, wait_for_first_process
from training.recipes import Recipe, RecipeError

RECIPE: Final = "recipe.json"
MODEL: Final = "model.safetensors"
PLOT: Final = "tau.png"

_ITS_OWN_COLUMNS: Final = ("loss", "learning_rate", "iterations_per_second", "tau/mean")


@dataclass(frozen=True)
class Schedule:
    """What happens beside the steps, in iterations.

    Attributes:
        checkpoint_every: a checkpoint is saved.
        judge_every: tau is computed.
        judge_limit: for at most so many configs of each validation program; None for all. At the end all count.
    """

    checkpoint_every: int = 1000
    judge_every: int = 5000
    judge_limit: int | None = 1000


@dataclass(frozen=True)
class Hardware:
    """What to train on.

    Attributes:
        accelerator: "cpu", "cuda" or "auto" (a GPU if there is one).
        devices: how many of each host; several are trained on with DDP, and each has its share of every iteration's
            slates.
        nodes: hosts. On each of them the same is started, and all share the folder of the training.
        workers: processes per device that prepare batches; None: one where there is a core to spare.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What came out.

    Attributes:
        model: the file of the model.
        report: how well it ranks the validation programs; None without any, or if nothing was left to do.
        iterations: made in all.
        resumed_at: the iteration at which this call went on; 0 if it started from scratch.
    """

    model: Path
    report: RankingReport | None
    iterations: int
    resumed_at: int


def train(
    recipe: Recipe,
    graphs: Sequence[StoredGraph],
    out: Path,
    *,
    validation: Sequence[StoredGraph] = (),
    label: LabelKind = "measured",
    schedule: Schedule | None = None,
    hardware: Hardware | None = None,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains a model, or goes on with a training that was interrupted.

    Args:
        recipe: how.
        graphs: on what; programs with labels, of the recipe's collection.
        out: the folder of everything that comes out: RECIPE, checkpoints, `training.journal.TABLE`, events for
            TensorBoard, PLOT and MODEL. If a training of the same recipe was interrupted there, this one goes on from
            its last checkpoint, exactly as that one would have.
        validation: programs that the model is judged on.
        label: what the costs of the programs are.
        schedule: when what happens.
        hardware: what to train on.
        reporter: told how it goes.

    Raises:
        TrainingError: no graphs, the folder holds something else, the loss diverged, or a device is missing.
        KeyboardInterrupt: the user interrupted it; a checkpoint was saved.
    """
    schedule, hardware = schedule or Schedule(), hardware or Hardware()
    check_processes(hardware.devices, hardware.nodes)
    checkpoint = _open_folder(out, recipe)
    resumed_at = _iterations_of(checkpoint) if checkpoint else 0
    if resumed_at >= recipe.iterations and (out / MODEL).is_file():
        return TrainingResult(out / MODEL, None, resumed_at, resumed_at)
    _check_devices(hardware)
    module = RankingModule(recipe, graphs, workers=_workers(hardware))
    reports: list[RankingReport] = []

    def keep(model: LearnedCostModel, report: RankingReport, iteration: int) -> None:
        model.save(out / MODEL)
        _draw(out, recipe)
        reports.append(report)

    first = is_first_process()
    columns = [*_ITS_OWN_COLUMNS, *(f"tau/{graph.name}" for graph in validation)]
    journal = Journal(out, columns, after=resumed_at) if first else None
    callbacks: list[Callback] = [WriteDown(journal, reporter if first else None)]
    if validation:
        callbacks.append(
            Judge(
                validation,
                every=schedule.judge_every,
                limit=schedule.judge_limit,
                build=lambda trained, iteration: _model(trained, graphs, label, iteration),
                journal=journal,
                finish=keep,
            )
        )
    callbacks.append(SaveCheckpoints(out, schedule.checkpoint_every))
    with _quiet():
        trainer = _trainer(recipe, hardware, callbacks)
        try:
            trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=True)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
    if first and not reports:
        _model(module, graphs, label, recipe.iterations).save(out / MODEL)
    return TrainingResult(out / MODEL, reports[-1] if reports else None, trainer.global_step, resumed_at)


def _open_folder(out: Path, recipe: Recipe) -> Path | None:
    """Makes the folder, or recognises a training of the same recipe in it.

    Returns:
        The checkpoint to go on from, if there is one.
    """
    path = out / RECIPE
    try:
        if not is_first_process():
            wait_for_first_process(path)
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(out.iterdir()):
                raise TrainingError(f"{out}: expected an empty folder or one of a training, found other files")
            replace_file(path, (json.dumps(recipe.to_json(), indent=2) + "\n").encode())
            return None
        before = Recipe.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{out}: cannot be used for a training: {error}") from None
    if before != recipe:
        raise RecipeError(
            f"{out}: holds a training of another recipe, which differs in {', '.join(_differences(before, recipe))}: "
            "name another folder, or start as that one was started"
        )
    checkpoint = out / LAST
    return checkpoint if checkpoint.is_file() else None


def _differences(before: Recipe, now: Recipe, limit: int = 5) -> list[str]:
    from training.recipes import flatten

    old, new = flatten(before.to_json()), flatten(now.to_json())
    changed = [f"{name} ({old[name]} there, {new[name]} now)" for name in new if old[name] != new[name]]
    return changed[:limit] + (["..."] if len(changed) > limit else [])


def _iterations_of(checkpoint: Path) -> int:
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception as error:  # on damaged files torch.load raises nearly everything there is
        raise TrainingError(
            f"{checkpoint}: expected a checkpoint of this tool, found {type(error).__name__}: remove it to start again"
        ) from None


def _workers(hardware: Hardware) -> int:
    """Preparing batches is worth a process when it does not take a core away from the training."""
    if hardware.workers is not None:
        return hardware.workers
    spare = len(os.sched_getaffinity(0)) - hardware.devices
    return max(0, min(4, spare // hardware.devices)) if _on_gpu(hardware) else 0


def _on_gpu(hardware: Hardware) -> bool:
    return hardware.accelerator == "cuda" or (hardware.accelerator == "auto" and torch.cuda.is_available())


def _trainer(recipe: Recipe, hardware: Hardware, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="cuda" if _on_gpu(hardware) else "cpu",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if hardware.devices * hardware.nodes > 1 else "auto",
        max_steps=recipe.iterations,
        max_epochs=-1,
        gradient_clip_val=recipe.optimisation.gradient_clip,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        deterministic="warn",
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _check_devices(hardware: Hardware) -> None:
    if _on_gpu(hardware) and hardware.devices > torch.cuda.device_count():
        raise TrainingError(
            f"devices: expected at most the {torch.cuda.device_count()} GPUs that PyTorch {torch.__version__} finds, "
            f"found {hardware.devices}: use fewer, or train on the processor (--device cpu)"
        )


def _model(module: RankingModule, graphs: Sequence[StoredGraph], label: LabelKind, iteration: int) -> LearnedCostModel:
    """A cost model with the weights of now."""
    recipe = module.recipe
    kind = collection_of(recipe.collection).kind
    card = ModelCard(
        name=f"{recipe.collection}, seed {recipe.seed}",
        architecture=recipe.architecture,
        space="tile" if kind == "tile" else "layout",
        target=recipe.collection,
        label_kind=label,
        training_data=(TrainingData(f"{recipe.collection}, train", graphs=len(graphs), configs=sum(map(len, graphs))),),
        recipe=recipe.to_json(),
        metrics={"iterations": iteration},
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    assert CONFIG_FEATURES[card.space] == recipe.architecture.config_features
    network = network_of(recipe.architecture, weights_of(module.network))
    return LearnedCostModel(network, card, device=str(module.device) if module.device.type == "cuda" else None)


def _draw(out: Path, recipe: Recipe) -> None:
    """Draws the journal; without matplotlib, or before there is anything to draw, not."""
    from autotune.errors import ToolchainError
    from training.history import read_history
    from training.plots import plot_history

    with contextlib.suppress(ToolchainError):
        plot_history(read_history(out / TABLE), out / PLOT, title=f"{recipe.collection}, seed {recipe.seed}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's remarks, which are about how it is used here, from the user, and its settings from the rest."""
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", module=r"torch\.utils\.data.*")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def describe(result: TrainingResult) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "model": str(result.model),
        "iterations": result.iterations,
        "resumed_at": result.resumed_at,
        "validation": result.report.to_json() if result.report else None,
    }
