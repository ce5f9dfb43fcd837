"""Which networks can be described, and that the description is that of the network."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from cost_model.architecture import ARCHITECTURES, WIDEST, Architecture
from cost_model.errors import ArchitectureError
from cost_model.network import SageNetwork
from tests.cost_model import networks

GOOD = Architecture(18, 32, (64, 64, 128))


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("config_features", 19, r"config_features: expected one of \(18, 24\), found 19"),
        ("config_features", 0, "found 0"),
        ("in_channels", True, "in_channels and channels: expected whole numbers from 1 to 65536"),
        ("in_channels", 0, "found .0, 64"),
        ("in_channels", -32, "found .-32, 64"),
        ("in_channels", 32.0, "found .32.0, 64"),
        ("in_channels", "32", "found .'32', 64"),
        ("in_channels", WIDEST + 1, "found .65537, 64"),
        ("in_channels", 10**30, "found .1000000000"),
        ("channels", (), "at least one convolution"),
        ("channels", (64, True), "found .32, 64, True"),
        ("channels", (64, 0), "found .32, 64, 0"),
        ("channels", (64, None), "found .32, 64, None"),
        ("channels", (WIDEST + 1, 64), "found .32, 65537, 64"),
        ("feature_transform", "log", r"feature_transform: expected one of \('signed_log', 'relu_log'\), found 'log'"),
        ("feature_transform", None, "found None"),
        ("output_scale", math.nan, "output_scale: expected a positive number, found nan"),
        ("output_scale", math.inf, "found inf"),
        ("output_scale", 0.0, "found 0.0"),
        ("output_scale", -1e-3, "found -0.001"),
        ("output_scale", "1", "found '1'"),
        ("output_scale", True, "found True"),
        ("output_scale", 10**400, "found 1000"),
        ("config_features", 18.0, "found 18.0"),
        ("layout_embedding", -1, "layout_embedding: expected a whole number from 0 to 65536, found -1"),
        ("layout_embedding", True, "found True"),
        ("late_width", -1, "late_width: expected a whole number from 0 to 65536, found -1"),
        ("late_width", 1.0, "found 1.0"),
        ("modulo", 1, "modulo: expected a bool, found 1"),
        ("hops", -1, "hops: expected none, or a whole number from 0, found -1"),
        ("hops", 1.0, "found 1.0"),
        ("residual", "no", "residual: expected a bool, found 'no'"),
        ("channels", [64, 64], "channels: expected a tuple"),
        ("channels", None, "found None"),
        ("channels", 64, "found 64"),
    ],
)
def test_refuses(attribute: str, value: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        dataclasses.replace(GOOD, **{attribute: value})


def test_refuses_a_late_head_where_it_has_nothing_to_do() -> None:
    with pytest.raises(ArchitectureError, match="late_width: expected 0 beside change_width"):
        dataclasses.replace(GOOD, late_width=4, change_width=4)
    with pytest.raises(ArchitectureError, match="late_width: expected 0 in a model of tiles"):
        Architecture(24, 32, (64,), late_width=4)


def test_a_message_stays_short() -> None:
    with pytest.raises(ArchitectureError) as refusal:
        dataclasses.replace(GOOD, channels=(0,) * 100_000)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("architecture", [*ARCHITECTURES.values(), *networks.SMALL.values(), Architecture(24, 1, (1,))])
def test_parameter_shapes_are_those_of_the_network(architecture: Architecture) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SageNetwork(architecture).state_dict().items()}
    assert architecture.parameter_shapes == shapes
    assert architecture.parameters == sum(int(np.prod(shape)) for shape in shapes.values())


def test_parameter_shapes_by_hand() -> None:
    assert Architecture(18, 3, (3, 5)).parameter_shapes == {
        "node_feat_embedding.weight": (20, 140),
        "node_feat_embedding.bias": (20,),
        "node_opcode_embedding.weight": (120, 12),
        "input_shaping.weight": (3, 50),
        "input_shaping.bias": (3,),
        "convs.0.lin_l.weight": (3, 3),
        "convs.0.lin_l.bias": (3,),
        "convs.0.lin_r.weight": (3, 3),
        "convs.1.lin_l.weight": (5, 3),
        "convs.1.lin_l.bias": (5,),
        "convs.1.lin_r.weight": (5, 3),
        "output_shaping.weight": (1, 5),
        "output_shaping.bias": (1,),
    }
    # 2800 + 20 + 1440 + (150 + 3) + (9 + 3 + 9) + (15 + 5 + 15) + (5 + 1)
    assert Architecture(18, 3, (3, 5)).parameters == 4475


def test_published_architectures() -> None:
    xla, nlp, tile = (ARCHITECTURES[name] for name in ("layout:xla", "layout:nlp", "tile:xla"))
    assert (xla.in_channels, xla.channels) == (32, (64, 64, 128, 128, 256, 256))
    wide = (256, 256, 256, 256, 512, 512, 512, 512)
    assert (nlp.in_channels, nlp.channels) == (tile.in_channels, tile.channels) == (64, wide)
    assert (xla.output_scale, nlp.output_scale, tile.output_scale) == (1e-3, 1e-3, 1.0)
    assert (xla.config_features, nlp.config_features, tile.config_features) == (18, 18, 24)
    # where the README and the code differ, the README
    assert all(each.residual and each.feature_transform == "signed_log" for each in (xla, nlp, tile))
