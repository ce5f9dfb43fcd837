"""Trainings that take a second: small networks on small programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cost_model import LayoutConfigs
from tests.cost_model.networks import random_graph
from tests.training.data_sets import write
from training.data.store import StoredGraph, open_split
from training.recipes import Recipe, override, published

COLLECTION = "layout:xla:random"
SMALL: dict[str, Any] = {
    "architecture.in_channels": 8,
    "architecture.channels": [8, 8],
    "slates": 4,
    "slate_size": 4,
    "loss.target_unit": 1e-3,
    "loss.margin": 0.1,
    "loss.scale": 10,
    "optimisation.learning_rate": 0.003,
}


def small_recipe(**changes: Any) -> Recipe:
    """The published recipe of xla layouts with a network of two narrow convolutions, for milliseconds."""
    return override(published(COLLECTION), SMALL | changes)


def write_programs(data: Path, *, programs: int = 2, configs: int = 40, fast: bool = False) -> None:
    """Programs in which a config is slow (or fast) where the first entries of its layouts are large."""
    for split, seed in (("train", 0), ("valid", 100)):
        for number in range(programs):
            graph = random_graph(seed + number, nodes=16, edges=24, configurable=4)
            random = np.random.default_rng(seed + number)
            layouts = np.full((configs, 4, 18), -1, np.float32)
            layouts[:, :, 0] = random.integers(0, 4, (configs, 4))
            total = layouts[:, :, 0].sum(axis=1)
            runtimes = 100_000 * (13 - total if fast else 1 + total) + random.integers(0, 1000, configs)
            write(
                data,
                COLLECTION,
                split,
                f"p{number}",
                LayoutConfigs(layouts),
                runtimes.astype(int).tolist(),
                graph=graph,
            )


def open_programs(data: Path, split: str = "train") -> tuple[StoredGraph, ...]:
    """The programs of `write_programs`."""
    return open_split(data, COLLECTION, split, store=data / "store", workers=1).graphs
