"""Which process of a training this is."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import processes
from training.errors import TrainingError
from training.processes import check_processes, is_first_process, wait_for_first_process

VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),  # the first of the second host
        ({"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first(environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


def test_what_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    check_processes(99, 99)  # nobody has started any
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "4"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    check_processes(4, 2)
    with pytest.raises(TrainingError, match=r"expected 1 x 8 .* started 8, 4 of them .* use --nodes 2 --devices 4"):
        check_processes(8, 1)


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_WAIT_SECONDS", 0.0)
    with pytest.raises(TrainingError, match=r"recipe\.json: expected the first process .* choose an --out that all"):
        wait_for_first_process(tmp_path / "recipe.json")
    (tmp_path / "recipe.json").touch()
    wait_for_first_process(tmp_path / "recipe.json")
