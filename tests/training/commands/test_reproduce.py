"""The commands of the README's section "Reproduce the Kaggle result", run on miniature data of all five collections."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cost_model import ConfigBatch
from cost_model.architecture import ARCHITECTURES
from cost_model.learned import LearnedCostModel
from tests.cost_model.networks import SMALL, TILE, random_configs, random_graph
from tests.training.data_sets import write
from training.data.collections import COLLECTIONS
from training.recipes import Recipe, published

ITERATIONS = 2


def _commands(readme: str) -> list[str]:
    section = readme.split("## Reproduce the Kaggle result")[1].split("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("autotune ")]


def _write_miniature(data: Path) -> None:
    for number, name in enumerate(COLLECTIONS):
        tile = name == "tile:xla"
        for split in ("train", "valid", "test"):
            for program in range(2):
                graph = random_graph(10 * number + program, nodes=20, edges=30, configurable=3)
                configs: ConfigBatch = random_configs(TILE if tile else SMALL["narrow"], graph, 12, program)
                times = np.random.default_rng(program).integers(10**5, 10**6, 12).tolist()
                labels = {} if split == "test" else {"runtimes": times, "normalizers": [200_000] * 12 if tile else None}
                write(data / "npz", name, split, f"program_{program}", configs, graph=graph, **labels)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme(repo_root: Path, tmp_path: Path) -> None:
    _write_miniature(tmp_path / "data")
    commands = _commands((repo_root / "README.md").read_text())
    trained = [shlex.split(line)[2] for line in commands if line.startswith("autotune train ")]
    assert trained == list(COLLECTIONS)
    assert len(commands) == 7
    script = 'set -e\nautotune() {{ {} -m autotune.cli "$@"; }}\n{}\n'.format(
        shlex.quote(sys.executable),
        "\n".join(
            f"{line} --iterations {ITERATIONS} --device cpu" if line.startswith("autotune train ") else line
            for line in commands
        ),
    )
    environment = os.environ | {"DATA": str(tmp_path / "data"), "PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stderr

    for name in COLLECTIONS:
        model = LearnedCostModel.from_checkpoint(tmp_path / "runs" / name.replace(":", "-") / "model.safetensors")
        recipe = Recipe.from_json(model.card.recipe)
        assert recipe.to_json() == published(name).to_json() | {"iterations": ITERATIONS}
        assert model.card.architecture == ARCHITECTURES[":".join(name.split(":")[:2])]
    with (tmp_path / "submission.csv").open(newline="") as file:
        rows = {row["ID"]: row["TopConfigs"].split(";") for row in csv.DictReader(file)}
    assert rows.keys() == {f"{name}:program_{program}" for name in COLLECTIONS for program in range(2)}
    for identifier, configs in rows.items():
        assert len(configs) == (5 if identifier.startswith("tile:") else 12)
        assert set(map(int, configs)) <= set(range(12))
        assert len(set(configs)) == len(configs)
