"""The interface of every cost model: a graph and a batch of configs in, one score per config out."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cost_model.errors import GraphError, UnknownModelError
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph

if TYPE_CHECKING:
    from cost_model.scoring import Precision  # imports torch

PRETRAINED: Final = Path(__file__).parent / "pretrained"
"""The folder of the checkpoints that ship; the name of a model is that of its file without the ending."""

ENSEMBLE: Final = "ensemble:"
"""How the name of an ensemble begins; those of its members follow, with commas between them."""


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

    def without_rounding(self) -> CostModel:
        """A model of the same name whose scores are not rounded.

        Rounded ones call equal what is nearly so, as most configs are that hardly change a program, and a rank
        correlation rewards that. Who learns from scores wants what is left between them.
        """
        return self

    @staticmethod
    def load(name_or_path: str | Path, *, device: str | None = None, precision: Precision = "float32") -> CostModel:
        """Loads a cost model: the one place that knows them all.

        Args:
            name_or_path: "analytical" (the model of one CPU core), "analytical:" and the name of a device
                ("analytical:tpu-v5e"), the name of a checkpoint that ships with this package, or the path of any other
                checkpoint. A word is a path if it ends in ".safetensors", has a slash in it, or is a file here.
                "ensemble:" and several of these checkpoints, with commas between them, is the mean of their scores.
            device: where a learned model computes: "cpu", "cuda", "cuda:1"; None is "cpu". Analytical ones use numpy.
            precision: of a learned model's convolutions, see `cost_model.scoring.Scorer`.

        Returns:
            The model, ready to score.

        Raises:
            UnknownModelError: there is no model of that name, or no such file.
            CheckpointError: the checkpoint is damaged or needs a newer version of this tool.
            DeviceError: this machine has no such device.
        """
        # Imported here, because implementations import this module, and learned ones torch.
        from cost_model.analytical import AnalyticalCostModel
        from cost_model.devices import DEVICES

        name = str(name_or_path)
        kind, _, argument = name.partition(":")
        if kind == "analytical" and (argument or "cpu") in DEVICES:
            return AnalyticalCostModel(DEVICES[argument or "cpu"])
        if name.startswith(ENSEMBLE):
            from cost_model.ensemble import EnsembleCostModel

            return EnsembleCostModel.from_name(name, device=device, precision=precision)
        shipped = shipped_checkpoints()
        if name in shipped or _is_path(name):
            from cost_model.learned import LearnedCostModel

            return LearnedCostModel.from_checkpoint(
                shipped.get(name, Path(name)),
                name=name if name in shipped else None,
                device=device,
                precision=precision,
            )
        known = ", ".join(["analytical", *(f"analytical:{device}" for device in DEVICES), *shipped])
        raise UnknownModelError(f"cost model {name!r}: expected one of {known}, or the path of a checkpoint")


def shipped_checkpoints() -> dict[str, Path]:
    """The checkpoints that ship with this package, by name, in alphabetical order."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def _is_path(name: str) -> bool:
    return name.endswith(".safetensors") or os.sep in name or Path(name).is_file()


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
