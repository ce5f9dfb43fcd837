"""What happens beside the steps of a training: numbers written down, models judged, checkpoints saved."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from cost_model.files import replace_file
from cost_model.learned import LearnedCostModel
from training.data.store import StoredGraph
from training.errors import TrainingError
from training.evaluation.evaluate import evaluate_model
from training.evaluation.ranking import RankingReport
from training.journal import Journal
from training.module import CHECK_EVERY, RankingModule

LAST: Final = "last.ckpt"


class Reporter(Protocol):
    """Told how a training goes; rank 0 alone."""

    def advance(self, iteration: int, total: int, numbers: Mapping[str, float]) -> None:
        """Some iterations were made; the numbers are those of the journal."""
        ...


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there, also if the machine stops while one is written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Puts a checkpoint in place in one step."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            replace_file(Path(path), content.getvalue())
        except OSError as error:
            raise TrainingError(f"{path}: the checkpoint cannot be written: {error.strerror or error}") from None


class SaveCheckpoints(Callback):
    """Saves the state of the training every so many iterations, and when it is interrupted.

    Args:
        folder: where to; the file is LAST.
        every: iterations.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._path = folder / LAST
        self._every = every

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Saves when it is time. Also at the very end, so that a finished training is known as one."""
        if trainer.global_step % self._every == 0 or trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint(self._path)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Saves when the user interrupts. With several processes not: the others may be anywhere."""
        if isinstance(exception, KeyboardInterrupt) and trainer.world_size == 1 and trainer.global_step:
            trainer.save_checkpoint(self._path)


class WriteDown(Callback):
    """Records loss, learning rate and speed every `CHECK_EVERY` iterations.

    Args:
        journal: where to; None on all ranks but the first, which only check the loss.
        reporter: see `Reporter`.
    """

    def __init__(self, journal: Journal | None, reporter: Reporter | None) -> None:
        self._journal = journal
        self._reporter = reporter
        self._since = (0, time.perf_counter())

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Starts the clock."""
        self._since = (trainer.global_step, time.perf_counter())

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Looks at the loss when it is time."""
        iteration = trainer.global_step
        if iteration % CHECK_EVERY and iteration != trainer.max_steps:
            return
        loss = cast(RankingModule, module).take_mean_loss()
        (before, then), now = self._since, time.perf_counter()
        self._since = (iteration, now)
        if self._journal is None:
            return
        numbers = {
            "loss": loss,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "iterations_per_second": (iteration - before) / max(now - then, 1e-9),
        }
        self._journal.record(iteration, numbers)
        if self._reporter is not None:
            self._reporter.advance(iteration, int(trainer.max_steps), numbers)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Closes the files."""
        self.teardown(trainer, module, "fit")

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Closes the files."""
        if self._journal is not None:
            self._journal.close()


class Judge(Callback):
    """Judges the model on validation graphs every so many iterations, and at the end.

    Args:
        graphs: the programs.
        every: iterations.
        limit: configs of each program at most, until the end, when all count.
        build: makes a cost model of the network as it is now; on the first rank alone.
        journal: where to write tau of every program; None on other ranks.
        finish: told of every report, with the model that it is of.
    """

    def __init__(
        self,
        graphs: Sequence[StoredGraph],
        *,
        every: int,
        limit: int | None,
        build: Callable[[RankingModule, int], LearnedCostModel],
        journal: Journal | None,
        finish: Callable[[LearnedCostModel, RankingReport, int], None],
    ) -> None:
        self._graphs = graphs
        self._every = every
        self._limit = limit
        self._build = build
        self._journal = journal
        self._finish = finish

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Judges when it is time."""
        iteration = trainer.global_step
        last = iteration == trainer.max_steps
        if iteration % self._every and not last:
            return
        if self._journal is not None:
            model = self._build(cast(RankingModule, module), iteration)
            report = evaluate_model(model, self._graphs, limit=None if last else self._limit)
            taus = {f"tau/{graph.name}": graph.tau for graph in report.graphs}
            self._journal.record(iteration, {**taus, "tau/mean": report.mean("tau").value})
            self._finish(model, report, iteration)
        trainer.strategy.barrier()
