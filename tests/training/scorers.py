"""Cost models whose scores a test chooses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch, CostModel, LayoutConfigs, ProgramGraph


class Chosen(CostModel):
    """Scores configs of `tests.training.data_sets.GRAPH` by their kind (layouts) or size (tiles).

    Args:
        scores: by kind or size; others score minus their kind.
    """

    def __init__(self, scores: Mapping[int, float] | None = None) -> None:
        self.scores = dict(scores or {})
        self.batches: list[int] = []

    @property
    def name(self) -> str:
        return "chosen"

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        layouts = isinstance(configs, LayoutConfigs)
        kinds = configs.node_config_feat[:, 0, 0] if layouts else configs.config_feat[:, 8]  # type: ignore[union-attr]
        self.batches.append(len(kinds))
        return np.array([self.scores.get(int(kind), -kind) for kind in kinds], np.float32)
