"""The cost model that learned: a network with its card, behind the interface of every cost model."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray

from cost_model.architecture import Architecture
from cost_model.base import CostModel
from cost_model.card import AnyArchitecture, ModelCard
from cost_model.checkpoint import Weights, read_checkpoint, write_checkpoint
from cost_model.descriptors.architecture import DescriptorArchitecture
from cost_model.descriptors.network import DescriptorNetwork
from cost_model.descriptors.scoring import DescriptorScorer
from cost_model.errors import CardError, DeviceError, GraphError, ScoreError
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph
from cost_model.network import SageNetwork
from cost_model.scoring import Precision, Scorer

Network = SageNetwork | DescriptorNetwork


class LearnedCostModel(CostModel):
    """Scores configs with a trained network.

    Its scores have no unit. It knows one space: a model of layouts refuses tiles, and the other way round.

    Args:
        network: the weights; not to be changed afterwards.
        card: what describes them.
        name: where `CostModel.load` finds this model; None: it has not been saved, and goes by the name in its card.
        device: where to compute: "cpu", "cuda", "cuda:1"; None is "cpu".
        precision: of the convolutions, see `Scorer`; a descriptor network has none and is float32 always.

    Raises:
        CardError: the card describes another architecture.
        DeviceError: this machine has no such device, or the precision is unknown.
    """

    def __init__(
        self,
        network: Network,
        card: ModelCard,
        *,
        name: str | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        if network.architecture != card.architecture:
            raise CardError(f"architecture: expected the network's {network.architecture}, found {card.architecture}")
        if precision not in get_args(Precision):
            raise DeviceError(f"precision: expected {' or '.join(get_args(Precision))}, found {precision!r}")
        self.network = network
        self.card = card
        self._name = name or card.name
        self._device = device
        where = _find_device(device)
        self._scorer: Scorer | DescriptorScorer
        if isinstance(network, DescriptorNetwork):
            self._scorer = DescriptorScorer(network, device=where)
        else:
            self._scorer = Scorer(network, device=where, precision=precision)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> LearnedCostModel:
        """Reads a model from a file.

        Args:
            path: the checkpoint.
            name: see the class; None is the absolute path.
            device: see the class.
            precision: see the class.

        Returns:
            The model, ready to score.

        Raises:
            CheckpointError: the file is missing, damaged, no checkpoint, or needs a newer version of this tool.
            DeviceError: this machine has no such device.
        """
        card, weights = read_checkpoint(path)
        network = network_of(card.architecture, weights)
        return cls(network, card, name=name or str(Path(path).absolute()), device=device, precision=precision)

    @property
    def name(self) -> str:
        """The shipped name, or the absolute path of the checkpoint; the name in the card if there is no checkpoint."""
        return self._name

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Predicts a cost for each config; see `CostModel.score`.

        Raises:
            GraphError: the configs belong to another graph, or to the space that this model does not know.
            ScoreError: the network overflowed; a wrong order would be worse than none.
        """
        found = "layout" if isinstance(configs, LayoutConfigs) else "tile"
        if found != self.card.space:
            raise GraphError(
                f"cost model {self.name!r}: expected {self.card.space} configs, found {found} configs: "
                f"use a model that was trained on {found}s, or an analytical one, which scores both"
            )
        with np.errstate(over="ignore"):  # what overflows is found below
            scores = self._scorer.score(graph, configs)
        wrong = np.flatnonzero(~np.isfinite(scores))
        if len(wrong):
            raise ScoreError(
                f"cost model {self.name!r}, graph of {len(graph)} nodes: expected finite scores, found "
                f"{scores[wrong[0]]} for config {wrong[0]} and {len(wrong)} of {len(scores)} in all: the graph's "
                "features are too far from those of the training data, so use an analytical model for it"
            )
        return scores

    def without_rounding(self) -> LearnedCostModel:
        """See `CostModel.without_rounding`."""
        if not isinstance(self.network, DescriptorNetwork):
            return self
        network = copy.deepcopy(self.network)
        network.get_buffer("resolution").zero_()
        return LearnedCostModel(network, self.card, name=self._name, device=self._device)

    def save(self, path: str | Path) -> None:
        """Writes weights and card to one file, from which `CostModel.load` makes an equal model.

        From now on the model's name is that path.

        Args:
            path: ends in ".safetensors".

        Raises:
            CheckpointError: the weights are not finite, or the file cannot be written.
        """
        write_checkpoint(path, weights_of(self.network), self.card)
        self._name = str(Path(path).absolute())


def weights_of(network: Network) -> Weights:
    """The parameters of a network by name, as a checkpoint holds them."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


@overload
def network_of(architecture: Architecture, weights: Weights) -> SageNetwork: ...
@overload
def network_of(architecture: DescriptorArchitecture, weights: Weights) -> DescriptorNetwork: ...
def network_of(architecture: AnyArchitecture, weights: Weights) -> Network:
    """A network with given parameters.

    Args:
        architecture: its shape and switches.
        weights: exactly its parameters; copied.
    """
    # Without memory at first: initial weights would be drawn in vain, from the caller's random numbers.
    with torch.device("meta"):
        network: Network
        if isinstance(architecture, DescriptorArchitecture):
            network = DescriptorNetwork(architecture)
        else:
            network = SageNetwork(architecture)
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()}, assign=True)
    return network.eval()


def _find_device(name: str | None) -> torch.device:
    """A device of this machine.

    Raises:
        DeviceError: there is none of that name.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", name or "cpu")
    if match is None:
        raise DeviceError(f"device: expected cpu, cuda or cuda:<number>, found {name!r}")
    if match[0] != "cpu" and int(match[1] or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {name!r}: expected one of the GPUs that PyTorch {torch.__version__} finds, "
            f"found {torch.cuda.device_count()}: use the device cpu, or install a driver and a PyTorch for CUDA"
        )
    return torch.device(match[0])
