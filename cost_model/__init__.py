"""What a config costs: graphs and configs in, scores out. Imports no compiler, no HLO and no search.

`CostModel.load("analytical:tpu-v5e").score(graph, configs)` gives float32[c]; lower is faster.
"""

from __future__ import annotations

from cost_model.analytical import AnalyticalCostModel
from cost_model.base import CostModel
from cost_model.devices import DEVICES, DeviceDescription
from cost_model.errors import CheckpointError, CostModelError, DeviceError, GraphError, UnknownModelError
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs

__all__ = [
    "DEVICES",
    "AnalyticalCostModel",
    "CheckpointError",
    "ConfigBatch",
    "CostModel",
    "CostModelError",
    "DeviceDescription",
    "DeviceError",
    "GraphError",
    "LayoutConfigs",
    "ProgramGraph",
    "TileConfigs",
    "UnknownModelError",
]
