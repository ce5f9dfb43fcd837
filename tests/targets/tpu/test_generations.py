"""Names of topologies."""

from __future__ import annotations

import pytest

from autotune.errors import AutotuneError
from autotune.targets.tpu.generations import GENERATIONS, Topology, parse_topology
from cost_model import devices


def test_one_chip_and_several() -> None:
    assert parse_topology("v5e") == Topology(
        generation="v5e", shape="1x1", name="v5e:1x1", chips=1, devices=1, cost_model_device="tpu-v5e"
    )
    assert parse_topology("v4").name == "v4:1x1x1"
    cube = parse_topology("tpu7x:2x2x4")
    assert (cube.chips, cube.devices) == (16, 32)
    assert parse_topology("v3:2x2").devices == 8


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_is_known_to_the_analytical_model(generation: str) -> None:
    topology = parse_topology(generation)
    assert topology.chips == 1
    assert devices.DEVICES[topology.cost_model_device].name == topology.cost_model_device


@pytest.mark.parametrize("text", ["v7", "v7x", "v5litepod-1", "", "V5E", "1x1"])
def test_unknown_generation_names_the_known_ones(text: str) -> None:
    with pytest.raises(AutotuneError, match="expected one of v2, v3, v4, v5e, v5p, v6e, tpu7x"):
        parse_topology(text)


@pytest.mark.parametrize("text", ["v5e:", "v5e:2", "v5e:2x", "v5e:0x2", "v5e:2x2x2x2", "v5e:2x2 ", "v5e:axb"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(AutotuneError, match="expected a shape such as 1x1"):
        parse_topology(text)
