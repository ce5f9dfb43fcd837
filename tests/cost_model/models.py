"""Small learned models with random weights, as cards and arrays; needs no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_model import Architecture, ModelCard, TrainingData
from cost_model.card import CONFIG_FEATURES, AnyArchitecture, Space
from cost_model.checkpoint import write_checkpoint
from cost_model.descriptors.architecture import DescriptorArchitecture


def small_card(space: Space = "layout", **changes: Any) -> ModelCard:
    """A card of a network with two convolutions, the second of which is as wide as its input."""
    values: dict[str, Any] = {
        "name": f"small-{space}",
        "architecture": Architecture(CONFIG_FEATURES[space], 4, (6, 6), output_scale=0.5),
        "space": space,
        "target": "cpu",
        "label_kind": "measured",
        "training_data": (TrainingData("made up", graphs=2, configs=30, families=("dot", "conv")),),
        "recipe": {"seed": 3, "schedule": [0.6, 0.7], "loss": {"name": "hinge", "margin": 0.1}},
        "metrics": {"kendall_tau": 0.75},
        "date": "2026-11-24",
    }
    return ModelCard(**values | changes)


def sage(card: ModelCard) -> Architecture:
    """The architecture of a card whose network reads the graph."""
    assert isinstance(card.architecture, Architecture)
    return card.architecture


def random_weights(architecture: AnyArchitecture, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights that keep the size of hidden values about the same from layer to layer."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * math.sqrt(2 / shape[-1])).astype(np.float32)
        for name, shape in architecture.parameter_shapes.items()
    }


def descriptor_card(space: Space = "layout", device: str = "tpu-v5e", **changes: Any) -> ModelCard:
    """A card of a descriptor network with two members."""
    architecture = DescriptorArchitecture(space, device, width=5, members=2)
    return small_card(space, kind="descriptors", architecture=architecture, **changes)


def write_small(path: Path, space: Space = "layout", *, seed: int = 0, **changes: Any) -> ModelCard:
    """Writes such a model to a file."""
    card = small_card(space, **changes)
    write_checkpoint(path, random_weights(card.architecture, seed), card)
    return card
