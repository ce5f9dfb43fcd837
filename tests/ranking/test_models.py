"""Which models a search gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import AutotuneError
from autotune.ranking.models import choose_models
from cost_model import CostModel, base
from tests.cost_model.models import write_small


def _names(model: str | CostModel, kind: str) -> list[str]:
    return [each.name for each in choose_models(model, "tpu-v5e")(kind)]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of layouts and tiles ship for v5e, one of tiles for the CPU."""
    write_small(tmp_path / "layout-tpu-v5e.safetensors", "layout")
    for name in ("tile-tpu-v5e", "tile-cpu"):
        write_small(tmp_path / f"{name}.safetensors", "tile")
    monkeypatch.setattr(base, "PRETRAINED", tmp_path)


@pytest.mark.usefixtures("shipped")
def test_auto_is_what_ships_before_the_analytical_model() -> None:
    assert [each.name for each in choose_models("auto", "cpu")("tile")] == ["tile-cpu", "analytical:cpu"]
    assert [each.name for each in choose_models("auto", "cpu")("layout")] == ["analytical:cpu"]
    assert _names("auto", "layout") == ["layout-tpu-v5e", "analytical:tpu-v5e"]


@pytest.mark.usefixtures("shipped")
def test_what_is_learned_of_tiles_of_a_tpu_is_asked_by_name() -> None:
    assert _names("auto", "tile") == ["analytical:tpu-v5e"]
    assert _names("tile-tpu-v5e", "tile") == ["tile-tpu-v5e", "analytical:tpu-v5e"]


@pytest.mark.usefixtures("shipped")
def test_others_by_name() -> None:
    assert _names("analytical", "layout") == ["analytical:tpu-v5e"]
    assert _names("none", "layout") == []
    assert _names("layout-tpu-v5e", "layout") == ["layout-tpu-v5e", "analytical:tpu-v5e"]
    assert _names("layout-tpu-v5e", "tile") == ["analytical:tpu-v5e"]
    assert _names("analytical:cpu", "layout") == ["analytical:cpu", "analytical:tpu-v5e"]


def test_a_model_of_the_callers(tmp_path: Path) -> None:
    write_small(tmp_path / "mine.safetensors", "tile")
    model = CostModel.load(tmp_path / "mine.safetensors")
    assert _names(model, "tile") == [model.name, "analytical:tpu-v5e"]


def test_no_such_model() -> None:
    with pytest.raises(AutotuneError, match=r"cost model 'nonsense': .*expected one of"):
        choose_models("nonsense", "cpu")
