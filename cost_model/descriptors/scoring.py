"""The scores of a `DescriptorNetwork`, many configs at a time."""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from cost_model.base import check_fits
from cost_model.descriptors.base import Descriptors
from cost_model.descriptors.layout import LayoutDescriber
from cost_model.descriptors.network import DescriptorNetwork
from cost_model.descriptors.tile_cpu import CpuTileDescriber
from cost_model.descriptors.tile_tpu import TpuTileDescriber
from cost_model.devices import DEVICES, DeviceDescription
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph

_CHUNK: Final = 2048
"""Configs that are described together: bounds the memory."""

Describer = LayoutDescriber | TpuTileDescriber | CpuTileDescriber


class DescriptorScorer:
    """Scores batches of configs with the weights that a network has now.

    Args:
        network: the weights.
        device: where to compute.
    """

    def __init__(self, network: DescriptorNetwork, *, device: str | torch.device = "cpu") -> None:
        self._network = copy.deepcopy(network).to(device).eval()
        self._device = torch.device(device)
        self._last: tuple[ProgramGraph, Describer] | None = None

    @torch.inference_mode()
    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Scores configs.

        Args:
            graph: the program.
            configs: c configs of that program, of the network's space.

        Returns:
            Lower = faster; float32[c].

        Raises:
            GraphError: the configs do not belong to a graph like this.
        """
        check_fits(graph, configs)
        describer = self._describer(graph)
        parts = [
            self._network.score(*tensors_of(describe(describer, configs[start : start + _CHUNK]), self._device))
            for start in range(0, len(configs), _CHUNK)
        ]
        return np.concatenate([np.zeros(0, np.float32), *(part.cpu().numpy() for part in parts)])

    def _describer(self, graph: ProgramGraph) -> Describer:
        """Keeps the last one only: a search scores one graph many times."""
        if self._last is None or self._last[0] is not graph:
            architecture = self._network.architecture
            self._last = graph, describer_of(graph, architecture.space, DEVICES[architecture.device])
        return self._last[1]


def describer_of(graph: ProgramGraph, space: str, device: DeviceDescription) -> Describer:
    """What describes configs of a space of one graph."""
    if space == "layout":
        return LayoutDescriber(graph, device)
    return CpuTileDescriber(graph, device) if device.name == "cpu" else TpuTileDescriber(graph, device)


def describe(describer: Describer, configs: ConfigBatch) -> Descriptors:
    """The descriptors of configs of the describer's space."""
    if isinstance(describer, LayoutDescriber) != isinstance(configs, LayoutConfigs):
        raise TypeError(f"{type(describer).__name__}: cannot describe {type(configs).__name__}")
    return describer.describe(configs)  # type: ignore[arg-type]


Arguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def tensors_of(descriptors: Descriptors, device: torch.device) -> Arguments:
    """The arguments of `DescriptorNetwork.forward`."""
    found = descriptors
    items, shares, decisions, offsets, summary = (
        torch.from_numpy(each).to(device)
        for each in (found.items, found.shares, found.decisions, found.offsets, found.summary)
    )
    return items, shares, decisions, offsets, summary
