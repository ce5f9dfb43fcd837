"""The interface of every cost model: a graph and a batch of configs in, one score per config out."""

from __future__ import annotations

import abc

import numpy as np
from numpy.typing import NDArray

from cost_model.errors import GraphError, UnknownModelError
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph


class CostModel(abc.ABC):
    """Says which of many configs of one program is likely to be fast.

    Scores of one graph can be compared with each other: lower is faster. Scores of different graphs, of layout and
    tile configs, or of different models cannot. A model may give its scores a unit (the analytical model: seconds) but
    no caller may rely on it.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name under which `CostModel.load` finds this model."""

    @abc.abstractmethod
    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Predicts a cost for each config. The score of a config does not depend on the others in the batch.

        Args:
            graph: the program.
            configs: c configs of that program.

        Returns:
            Finite scores, lower = faster; float32[c].

        Raises:
            GraphError: the configs do not belong to a graph like this.
        """

    def rank(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.int64]:
        """Orders the configs from the fastest to the slowest; equal scores keep their order.

        Args:
            graph: the program.
            configs: c configs of that program.

        Returns:
            Positions in the batch, best first; int64[c].
        """
        return np.argsort(self.score(graph, configs), kind="stable").astype(np.int64)

    @staticmethod
    def load(name_or_path: str) -> CostModel:
        """Loads a cost model.

        Args:
            name_or_path: "analytical" (the model of one CPU core), "analytical:" and the name of a device
                ("analytical:tpu-v5e").

        Returns:
            The model, ready to score.

        Raises:
            UnknownModelError: there is no model of that name.
        """
        # Imported here, because implementations import this module.
        from cost_model.analytical import AnalyticalCostModel
        from cost_model.devices import DEVICES

        kind, _, argument = name_or_path.partition(":")
        if kind == "analytical" and (argument or "cpu") in DEVICES:
            return AnalyticalCostModel(DEVICES[argument or "cpu"])
        known = ", ".join(["analytical", *(f"analytical:{device}" for device in DEVICES)])
        raise UnknownModelError(f"cost model {name_or_path!r}: expected one of {known}")


def check_fits(graph: ProgramGraph, configs: ConfigBatch) -> None:
    """Checks that layout configs have one row per configurable node of the graph.

    Raises:
        GraphError: the numbers differ.
    """
    if isinstance(configs, LayoutConfigs) and configs.node_config_feat.shape[1] != len(graph.node_config_ids):
        raise GraphError(
            f"node_config_feat: expected {len(graph.node_config_ids)} configurable nodes as in the graph, "
            f"found {configs.node_config_feat.shape[1]}"
        )
