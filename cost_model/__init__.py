"""What a config costs: graphs and configs in, scores out. Imports no compiler, no HLO and no search.

`CostModel.load("analytical:tpu-v5e").score(graph, configs)` gives float32[c]; lower is faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cost_model.analytical import AnalyticalCostModel
from cost_model.architecture import ARCHITECTURES, Architecture
from cost_model.base import CostModel
from cost_model.card import ModelCard, TrainingData
from cost_model.devices import DEVICES, DeviceDescription
from cost_model.errors import (
    ArchitectureError,
    CardError,
    CheckpointError,
    CostModelError,
    DeviceError,
    GraphError,
    ScoreError,
    UnknownModelError,
)
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs

if TYPE_CHECKING:
    from cost_model.learned import LearnedCostModel

__all__ = [
    "ARCHITECTURES",
    "DEVICES",
    "AnalyticalCostModel",
    "Architecture",
    "ArchitectureError",
    "CardError",
    "CheckpointError",
    "ConfigBatch",
    "CostModel",
    "CostModelError",
    "DeviceDescription",
    "DeviceError",
    "GraphError",
    "LayoutConfigs",
    "LearnedCostModel",
    "ModelCard",
    "ProgramGraph",
    "ScoreError",
    "TileConfigs",
    "TrainingData",
    "UnknownModelError",
]


def __getattr__(name: str) -> object:
    """Imports `LearnedCostModel` when somebody asks for it: it needs torch, which takes a second."""
    if name == "LearnedCostModel":
        from cost_model.learned import LearnedCostModel

        return LearnedCostModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
