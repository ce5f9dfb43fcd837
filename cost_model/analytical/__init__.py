"""The cost model without training: a roofline, the copies and the padding of layouts, the iterations of tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cost_model.analytical.layout_cpu import RoundTrips
from cost_model.analytical.layout_tpu import FollowedLayouts
from cost_model.analytical.roofline import base_seconds
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_cpu import cpu_tile_seconds
from cost_model.analytical.tile_tpu import tpu_tile_seconds
from cost_model.base import CostModel, check_fits
from cost_model.devices import DeviceDescription
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph

_CHUNK = 2048
"""Configs that are scored together: bounds the memory, which grows with configs times configurable nodes."""


@dataclass(frozen=True)
class _Prepared:
    """What a graph costs apart from its configs; worked out when first needed."""

    tensors: GraphTensors
    device: DeviceDescription

    @cached_property
    def base(self) -> float:
        return base_seconds(self.tensors, self.device)

    @cached_property
    def layout(self) -> RoundTrips | FollowedLayouts:
        kind = FollowedLayouts if self.device.follows_layouts else RoundTrips
        return kind(self.tensors, self.device)


class AnalyticalCostModel(CostModel):
    """Estimates seconds from the shapes in the graph and a dozen figures of the device.

    A layout config costs the roofline time of the program, plus the copies that its orders need, plus the padding that
    they add. A tile config costs the time of its loop over tiles: register tiles of a matrix product on a CPU, tiles of
    the scratchpad on a TPU. The unit is seconds; it ranks better than it predicts.

    Args:
        device: what the program runs on.
    """

    def __init__(self, device: DeviceDescription) -> None:
        self.device = device
        self._last: _Prepared | None = None

    @property
    def name(self) -> str:
        """The word "analytical:" and the name of the device."""
        return f"analytical:{self.device.name}"

    def score(self, graph: ProgramGraph, configs: ConfigBatch) -> NDArray[np.float32]:
        """Estimates seconds for each config; see `CostModel.score`."""
        check_fits(graph, configs)
        prepared = self._prepare(graph)
        if isinstance(configs, LayoutConfigs):
            parts = [
                prepared.layout.seconds(LayoutConfigs(configs.node_config_feat[start : start + _CHUNK]))
                for start in range(0, len(configs), _CHUNK)
            ]
            return (prepared.base + np.concatenate([np.zeros(0), *parts])).astype(np.float32)
        seconds = tpu_tile_seconds if self.device.follows_layouts else cpu_tile_seconds
        return seconds(prepared.tensors, configs, self.device).astype(np.float32)

    def _prepare(self, graph: ProgramGraph) -> _Prepared:
        """Keeps the last graph only: a search scores one graph many times."""
        if self._last is None or self._last.tensors.graph is not graph:
            self._last = _Prepared(GraphTensors(graph), self.device)
        return self._last
