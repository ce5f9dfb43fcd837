"""Several learned cost models as one: the mean of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model.base import ENSEMBLE, CostModel
from cost_model.errors import CardError
from cost_model.graph import ConfigBatch, ProgramGraph
from cost_model.learned import LearnedCostModel
from cost_model.scoring import Precision

_SEPARATOR: Final = ","


class EnsembleCostModel(CostModel):
    """The mean of the scores of models that differ in their seed.

    The plain mean, because a loss decides the unit of the scores (seconds, the margin of a hinge, the log-odds of
    ListMLE), so that seeds of one recipe spread alike. Means of standardised scores or of ranks would take any models,
    but the score of a config would then depend on the others in its batch, which no cost model may do. Nor are they
    better: three seeds of ListMLE after 400 iterations on alexnet (TpuGraphs `layout_alexnet`, all configs of
    valid.npz) had taus of .805, .824 and .694; the mean of their scores .802, of standardised ones .802, of ranks .773.

    Args:
        models: the members, at least two: learned models, trained with the same loss for the same space.

    Raises:
        CardError: fewer than two members, one that is not learned, or members whose scores cannot be added.
    """

    def __init__(self, models: Sequence[CostModel]) -> None:
        learned = [model for model in models if isinstance(model, LearnedCostModel)]
        if len(learned) < max(2, len(models)):
            found = ", ".join(model.name for model in models) or "none"
            raise CardError(f"ensemble: expected two or more learned cost models and no others, found {found}")
        for model in learned:
            _check_member(learned[0], model)
        self.models = tuple(learned)

    @classmethod
    def from_name(cls, name: str, *, device: str | None = None, precision: Precision = "float32") -> EnsembleCostModel:
        """Loads the members.

        Args:
            name: see `name`.
            device: see `CostModel.load`.
            precision: see `CostModel.load`.

        Raises:
            CardError: see the class.
            CheckpointError: see `CostModel.load`.
            DeviceError: see `CostModel.load`.
        """
        members = name.removeprefix(ENSEMBLE).split(_SEPARATOR)
        return cls([CostModel.load(member, device=device, precision=precision) for member in members])

    @property
    def name(self) -> str:
        """The names of the members, joined; `CostModel.load` takes them apart."""
        return ENSEMBLE + _SEPARATOR.join(model.name for model in self.models)

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Predicts a cost for each config; see `CostModel.score`.

        Raises:
            GraphError: the configs belong to another graph, or to the space that these models do not know.
            ScoreError: a network overflowed.
        """
        total = np.zeros(len(configs))
        for model in self.models:
            total += model.score(graph, configs)
        return (total / len(self.models)).astype(np.float32)

    def without_rounding(self) -> EnsembleCostModel:
        """See `CostModel.without_rounding`."""
        return EnsembleCostModel([model.without_rounding() for model in self.models])


def _check_member(first: LearnedCostModel, model: LearnedCostModel) -> None:
    if _SEPARATOR in model.name:
        raise CardError(f"ensemble: expected names without a comma, found {model.name!r}: rename the file")
    for what, wanted, found in (
        ("the space", first.card.space, model.card.space),
        ("the loss", first.card.recipe.get("loss"), model.card.recipe.get("loss")),
    ):
        if wanted != found:
            raise CardError(
                f"ensemble: expected {what} of {first.name!r}, {wanted}, found {found} of {model.name!r}: their scores "
                "have different units, so their mean means nothing"
            )
