"""An ensemble is the mean of its members, which must be comparable. (What every model must do: tests/contracts.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cost_model import CardError, CostModel, UnknownModelError
from cost_model.ensemble import EnsembleCostModel
from tests.cost_model.graphs import cpu_tiles, product_graph
from tests.cost_model.models import write_small


def _load(folder: Path, name: str, **changes: object) -> CostModel:
    write_small(folder / f"{name}.safetensors", "tile", **changes)  # type: ignore[arg-type]
    return CostModel.load(folder / f"{name}.safetensors")


def test_the_mean_of_the_members(tmp_path: Path) -> None:
    graph, tiles = product_graph(8, 4, 8), cpu_tiles((1, 1, 8), (4, 2, 8), (8, 4, 8))
    members = [_load(tmp_path, f"m{seed}", seed=seed) for seed in range(3)]
    ensemble = EnsembleCostModel(members)
    expected = np.mean([member.score(graph, tiles).astype(np.float64) for member in members], axis=0)
    np.testing.assert_allclose(ensemble.score(graph, tiles), expected, rtol=1e-6)
    assert ensemble.name == "ensemble:" + ",".join(str(tmp_path / f"m{seed}.safetensors") for seed in range(3))


def test_members_that_cannot_be_averaged(tmp_path: Path) -> None:
    first, other = _load(tmp_path, "first"), _load(tmp_path, "other", recipe={"loss": {"name": "list_mle"}})
    write_small(tmp_path / "layout.safetensors", "layout")
    layout = CostModel.load(tmp_path / "layout.safetensors")
    mistakes = {
        (): "two or more learned cost models and no others, found none",
        (first,): "two or more learned cost models and no others, found .*first",
        (first, first, CostModel.load("analytical")): "and no others, found .*first.*, analytical:cpu",
        (first, other): "expected the loss of .*first.*, found .*list_mle.* of .*other.*different units",
        (first, layout): "expected the space of .*first.*, tile, found layout of",
        (first, _load(tmp_path, "a,b")): "names without a comma, found .*a,b",
    }
    for members, message in mistakes.items():
        with pytest.raises(CardError, match=message):
            EnsembleCostModel(members)


def test_a_name_with_a_member_that_is_not_there(tmp_path: Path) -> None:
    write_small(tmp_path / "m.safetensors")
    with pytest.raises(UnknownModelError, match="'nobody'"):
        CostModel.load(f"ensemble:{tmp_path / 'm.safetensors'},nobody")
    with pytest.raises(CardError, match="two or more"):
        CostModel.load(f"ensemble:{tmp_path / 'm.safetensors'}")
