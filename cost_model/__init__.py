"""What a config costs: graphs and configs in, scores out. Imports no compiler, no HLO and no search."""

from __future__ import annotations

from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
