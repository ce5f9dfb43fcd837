"""A miniature collection as `autotune collect` makes them, without a compiler."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from autotune.evaluation import LabelKind
from cost_model.npz import TuningArrays, write_npz
from tests.cost_model.graphs import Node, layout_configs, make_graph
from training.data.manifest import Manifest

NAME = "layout-tpu-v5e"


def write_collection(root: Path) -> None:
    """Six families: four to learn from, one each to judge on."""
    for number, family in enumerate(["a", "b", "c", "d"]):
        _write_program(root / NAME, "train", f"{family}__small", 128 * (number + 1))
    _write_program(root / NAME, "valid", "e__small", 640)
    _write_program(root / NAME, "test", "f__small", 768)
    Manifest(NAME, LabelKind.ESTIMATED, "tpu:v5e", "TPU v5e:1x1, compiler only", "libtpu 0").write(root / NAME)


def _write_program(folder: Path, split: str, name: str, width: int) -> None:
    """Two dots whose cost is the number of tensors in an order that is not the default's."""
    graph = make_graph(
        Node("parameter", (128, width), order=(1, 0)),
        Node("parameter", (width, 128), order=(1, 0)),
        Node("dot", (128, 128), (0, 1), order=(1, 0)),
        Node("parameter", (128, 256), order=(1, 0)),
        Node("dot", (128, 256), (2, 3), order=(1, 0), root=True),
    )
    random = np.random.default_rng(width)
    configs: list[dict[tuple[int, int], tuple[int, ...]]] = [{}]
    costs = [1000]
    for _ in range(9):
        config: dict[tuple[int, int], tuple[int, ...]] = {
            (row, tensor): ((1, 0), (0, 1))[random.integers(2)]
            for row in range(2)
            for tensor in range(3)
            if random.random() < 0.6
        }
        configs.append(config)
        costs.append(1000 + 300 * sum(order == (0, 1) for order in config.values()) + len(costs))
    for part in (split, "records"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    arrays = TuningArrays(graph, layout_configs(graph, *configs), np.array(costs, np.int64))
    write_npz(folder / split / f"{name}.npz", arrays)
    ways = ["default", *("near" if number % 2 else "random" for number in range(9))]
    (folder / "records" / f"{name}.json").write_text(json.dumps({"ways": ways, "fingerprint": name}))
