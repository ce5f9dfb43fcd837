"""A recipe as Lightning runs it: the network, its loss, its optimiser and its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from cost_model.network import SageNetwork
from training.data.store import StoredGraph
from training.errors import TrainingError
from training.forward import batch_scores
from training.losses import diffmat_hinge, list_mle, mape, pairwise_hinge
from training.recipes import Loss, Recipe
from training.sampler import Remaining, SlateBatch, SlateDataset

CHECK_EVERY: Final = 100
"""Iterations between looks at the loss; each makes the host wait for a GPU."""

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class DivergedError(TrainingError):
    """The loss is not a number any more."""


class RankingModule(LightningModule):
    """Trains a network to rank configs.

    Args:
        recipe: how.
        graphs: on what.
        workers: processes that prepare batches; 0: the one that trains.
    """

    def __init__(self, recipe: Recipe, graphs: Sequence[StoredGraph], *, workers: int = 0) -> None:
        super().__init__()
        self.recipe = recipe
        self._graphs = graphs
        self._workers = workers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.network = SageNetwork(recipe.architecture)
        self._losses: list[Tensor] = []

    def train_dataloader(self) -> DataLoader[SlateBatch]:
        """The batches that are left; called after a checkpoint was read."""
        dataset = SlateDataset(self._graphs, self.recipe, rank=self.trainer.global_rank, world=self.trainer.world_size)
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=Remaining(self.trainer.global_step, len(dataset)),
            num_workers=self._workers,
            pin_memory=False,
            prefetch_factor=4 if self._workers else None,
        )

    def training_step(self, batch: SlateBatch, index: int) -> Tensor:
        """The loss of a batch."""
        scores = batch_scores(self.network, batch.plan, _DTYPES[self.recipe.precision], observe=True)
        loss = slate_loss(self.recipe.loss, scores.view(batch.targets.shape), batch.targets)
        self._losses.append(loss.detach())
        return loss

    def take_mean_loss(self) -> float:
        """The mean loss since the last call.

        Raises:
            DivergedError: it is not finite.
        """
        mean = float(torch.stack(self._losses).mean()) if self._losses else 0.0
        self._losses.clear()
        if not torch.isfinite(torch.tensor(mean)):
            raise DivergedError(
                f"iteration {self.trainer.global_step}: expected a finite loss, found {mean}: lower the learning rate "
                "(--set optimisation.learning_rate=0.0003) or clip gradients (--set optimisation.gradient_clip=100); "
                "the last checkpoint is from before"
            )
        return mean

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, and a learning rate that falls in steps."""
        how = self.recipe.optimisation
        head = list(self.network.output_shaping.parameters())
        body = [each for each in self.network.parameters() if all(each is not other for other in head)]
        groups = [
            {"params": body, "weight_decay": 0.0},
            {"params": head, "weight_decay": how.head_weight_decay},
        ]
        kind = torch.optim.AdamW if how.optimiser == "adamw" else torch.optim.Adam
        optimiser = kind(groups, lr=how.learning_rate, eps=how.epsilon)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, self.recipe.milestone_iterations(), gamma=how.decay)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def slate_loss(loss: Loss, scores: Tensor, targets: Tensor) -> Tensor:
    """The loss of a recipe.

    Args:
        loss: which.
        scores: predicted costs, float32[slates, slate_size].
        targets: what the configs cost, same shape.

    Returns:
        A scalar.
    """
    match loss.objective:
        case "mape+diffmat":
            hinge = diffmat_hinge(scores, targets, margin=loss.margin)
            return mape(scores, targets) + loss.scale * hinge
        case "diffmat":
            return loss.scale * diffmat_hinge(scores, targets, margin=loss.margin)
        case "list_mle":
            return list_mle(scores, targets, norm_limit=loss.norm_limit)
        case "pairwise_hinge":
            return loss.scale * pairwise_hinge(scores, targets, margin=loss.margin)
