"""Several cost models as one: the mean of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model.base import CostModel
from cost_model.errors import UnknownModelError
from cost_model.graph import ConfigBatch, ProgramGraph

PREFIX: Final = "ensemble:"
_SEPARATOR: Final = ","


class EnsembleCostModel(CostModel):
    """The mean of the scores of several models, which are meant to be seeds of one recipe.

    Args:
        models: the members; at least two.

    Raises:
        UnknownModelError: there are fewer than two members.
    """

    def __init__(self, models: Sequence[CostModel]) -> None:
        if len(models) < 2:
            raise UnknownModelError(f"ensemble: expected at least two cost models, found {len(models)}")
        self.models = tuple(models)

    @property
    def name(self) -> str:
        """The names of the members, joined; `CostModel.load` takes them apart."""
        return PREFIX + _SEPARATOR.join(model.name for model in self.models)

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Predicts a cost for each config; see `CostModel.score`."""
        scores = np.mean([model.score(graph, configs) for model in self.models], axis=0, dtype=np.float64)
        return np.asarray(scores, np.float32)
