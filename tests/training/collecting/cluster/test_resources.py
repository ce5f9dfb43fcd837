"""What workers take, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from training.collecting.cluster.resources import Need, check_target, needs
from training.errors import ClusterError, TrainingError


def _node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


NODES = [_node(CPU=2.0, memory=1e9), _node(CPU=1.0, TPU=4.0), _node(alive=False, CPU=8.0), _node(CPU=0.5)]


@pytest.mark.parametrize("target", ["cpu", "tpu:v5e", "tpu:v5e:2x2"])
def test_a_core_each(target: str) -> None:
    assert needs(NODES, target) == [Need(1)] * 3


def test_a_worker_per_host_with_a_tpu_takes_all_of_it() -> None:
    assert needs(NODES, "tpu") == [Need(1, tpus=4)]


def test_fewer_or_more_than_there_is_room_for() -> None:
    assert needs(NODES, "cpu", limit=2) == [Need(1)] * 2
    assert needs(NODES, "cpu", limit=5) == [Need(1)] * 5
    assert needs(NODES, "tpu", limit=2) == [Need(1, tpus=4)] * 2


def test_a_cluster_without_room() -> None:
    with pytest.raises(
        ClusterError, match=r"target tpu: .* the resource TPU, found none in 1 nodes; start Ray on hosts"
    ):
        needs([_node(CPU=4.0)], "tpu")
    with pytest.raises(ClusterError, match=r"the resource CPU, found none in 2 nodes; start nodes with ray start"):
        needs([_node(TPU=4.0), _node(CPU=0.0)], "cpu")


@pytest.mark.parametrize("target", ["grpc://host:1", "replay:file"])
def test_targets_that_are_of_no_host(target: str) -> None:
    with pytest.raises(TrainingError, match=f"--ray with --target {target}: expected cpu, tpu or tpu:<generation>"):
        check_target(target)
