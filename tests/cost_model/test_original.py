from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cost_model import (
    ARCHITECTURES,
    Architecture,
    CheckpointError,
    CostModel,
    LearnedCostModel,
    ProgramGraph,
    TileConfigs,
    UnknownModelError,
)
from cost_model.learned import weights_of
from cost_model.original import load_original, network_from_state_dict
from tests.cost_model.models import random_weights, small_card
from tests.cost_model.networks import plain_scores, random_configs, random_graph

CHOICES: dict[str, Any] = {"residual": False, "feature_transform": "relu_log", "output_scale": 1e-3}
ARCHITECTURE = Architecture(18, 4, (6, 6, 8), **CHOICES)


def _state(architecture: Architecture = ARCHITECTURE) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in random_weights(architecture).items()}


def _wrappings() -> dict[str, Callable[[dict[str, Tensor]], object]]:
    def renamed(prefix: str) -> Callable[[dict[str, Tensor]], object]:
        return lambda state: {prefix + name: tensor for name, tensor in state.items()}

    return {
        "none": lambda state: state,
        "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}},
        "state_dict": lambda state: {"state_dict": state, "hyper_parameters": {"hidden": 32}},
        "model": lambda state: {"model": state, "step": 400_000},
        "two": lambda state: {"model": {"state_dict": state}},
        "module": renamed("module."),
        "prefix model": renamed("model."),
        "two prefixes": renamed("_orig_mod.module."),
        "both": lambda state: {"state_dict": renamed("model.")(state)},
    }


@pytest.mark.parametrize("wrapping", _wrappings())
def test_wrappings(tmp_path: Path, wrapping: str) -> None:
    path = tmp_path / "model.pt"
    torch.save(_wrappings()[wrapping](_state()), path)
    network = load_original(path, **CHOICES)
    assert network.architecture == ARCHITECTURE
    found, expected = weights_of(network), random_weights(ARCHITECTURE)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "architecture",
    [Architecture(18, 32, (64, 64, 128), output_scale=1e-3), Architecture(24, 5, (7,), residual=False)],
)
def test_shapes_are_inferred(architecture: Architecture) -> None:
    network = network_from_state_dict(
        _state(architecture),
        residual=architecture.residual,
        feature_transform=architecture.feature_transform,
        output_scale=architecture.output_scale,
    )
    assert network.architecture == architecture


def test_the_old_format_of_torch_save(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "model.pth", _use_new_zipfile_serialization=False)
    assert load_original(tmp_path / "model.pth", **CHOICES).architecture == ARCHITECTURE


def test_other_types_become_float32() -> None:
    state = {name: tensor.to(torch.bfloat16) for name, tensor in _state().items()}
    weights = weights_of(network_from_state_dict(state, **CHOICES))
    assert all(np.array_equal(weights[name], tensor.float().numpy()) for name, tensor in state.items())


def test_tensors_are_copied() -> None:
    state = _state()
    network = network_from_state_dict(state, **CHOICES)
    expected = state["input_shaping.bias"].clone()
    state["input_shaping.bias"].zero_()
    assert torch.equal(network.input_shaping.bias, expected)


def test_golden_parity(tmp_path: Path, shared: Path) -> None:
    """Predictions of the original code on a real kernel, from a state dict through a checkpoint to scores."""
    case = json.loads((shared / "data/golden/network_parity.json").read_text())["cases"]["tile"]
    state = {}
    for number, name in enumerate(sorted(ARCHITECTURES["tile:xla"].parameter_shapes)):
        shape = ARCHITECTURES["tile:xla"].parameter_shapes[name]
        values = np.random.RandomState(number).standard_normal(shape) * np.sqrt(2 / shape[-1])
        state[name] = torch.tensor(values.astype(np.float32))
    torch.save({"model_state_dict": state}, tmp_path / "original.pt")
    network = load_original(tmp_path / "original.pt", residual=False, feature_transform="signed_log", output_scale=1.0)
    assert sum(parameter.numel() for parameter in network.parameters()) == case["params"]
    card = small_card("tile", architecture=network.architecture, target="tile:xla")
    LearnedCostModel(network, card).save(tmp_path / "ours.safetensors")
    with np.load(shared / "data" / case["graph"]) as arrays:
        nodes = len(arrays["node_feat"])
        graph = ProgramGraph(
            node_feat=arrays["node_feat"],
            node_opcode=arrays["node_opcode"].astype(np.uint8),
            edge_index=arrays["edge_index"],
            node_config_ids=np.zeros(0, np.int64),
            node_splits=np.array([0, nodes], np.int64),
        )
        configs = TileConfigs(arrays["config_feat"][case["configs"]])
    scores = CostModel.load(tmp_path / "ours.safetensors").score(graph, configs)
    # Rounding is relative to the terms of the sum, which are as large as the largest score.
    np.testing.assert_allclose(scores, case["prediction"], rtol=1e-4, atol=1e-5 * np.abs(case["prediction"]).max())


def test_scores_survive_the_conversion(tmp_path: Path) -> None:
    network = network_from_state_dict(_state(), **CHOICES)
    card = small_card(architecture=network.architecture, target="layout:xla:random")
    LearnedCostModel(network, card).save(tmp_path / "ours.safetensors")
    graph = random_graph()
    configs = random_configs(ARCHITECTURE, graph, 7)
    scores = CostModel.load(tmp_path / "ours.safetensors").score(graph, configs)
    np.testing.assert_allclose(scores, plain_scores(network, graph, configs), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("input_shaping.bias"), r"expected tensor input_shaping\.bias, found no such tensor"),
        (lambda s: s.pop("input_shaping.weight"), r"input_shaping\.weight: expected a matrix, found none"),
        (lambda s: s.pop("convs.1.lin_r.weight"), r"expected tensor convs\.1\.lin_r\.weight, found no such tensor"),
        (lambda s: s.pop("convs.1.lin_l.weight"), r"found also convs\.1\.lin_l\.bias and 4 more"),
        (lambda s: s.pop("node_opcode_embedding.weight"), r"expected a tensor node_opcode_embedding\.weight, found"),
        (lambda s: s.update({"head.weight": torch.zeros(3)}), r"found also head\.weight"),
        (lambda s: s.update({"input_shaping.weight": torch.zeros(4, 60)}), r"config_features: .*found 28"),
        (lambda s: s.update({"input_shaping.weight": torch.zeros(4)}), r"expected a matrix, found \[4\]"),
        (lambda s: s.update({"convs.0.lin_l.weight": torch.zeros(6, 5)}), r"expected F32\[6, 4\], found F32\[6, 5\]"),
        (lambda s: s.update({"convs.0.lin_l.weight": torch.zeros(0, 4)}), r"whole numbers from 1"),
        (lambda s: s.update({"input_shaping.bias": torch.full((4,), np.nan)}), r"expected finite weights"),
        (lambda s: s.update({"input_shaping.bias": torch.full((4,), 1e300, dtype=torch.float64)}), r"finite weights"),
        (lambda s: s.update({"input_shaping.bias": torch.zeros(4, dtype=torch.int64)}), r"floating point numbers"),
        (
            lambda s: s.update({"input_shaping.bias": torch.zeros(4, device="meta")}),
            r"expected names and dense tensors",
        ),
        (lambda s: s.update({"input_shaping.bias": torch.zeros(4).to_sparse()}), r"expected names and dense tensors"),
        (lambda s: s.update({"epoch": 3}), r"found int 'epoch'"),
        (lambda s: s.update({3: torch.zeros(1)}), r"found Tensor 3"),
        (lambda s: s.update({"module.x": s.pop("node_opcode_embedding.weight")}), r"expected a tensor node_opcode"),
        (
            lambda s: s.update({"model.node_opcode_embedding.weight": s.pop("node_opcode_embedding.weight")}),
            r"expected names that begin with 'model\.', found convs\.0",
        ),
    ],
)
def test_other_state_dicts_are_refused(change: Callable[[dict[Any, Any]], object], message: str) -> None:
    state = _state()
    change(state)
    with pytest.raises(CheckpointError, match=message) as e:
        network_from_state_dict(state, where="old.pt", **CHOICES)
    assert str(e.value).startswith("old.pt: ")


def test_things_that_are_no_state_dict() -> None:
    with pytest.raises(CheckpointError, match="state dict: expected a dict of tensors, found list"):
        network_from_state_dict([torch.zeros(1)], **CHOICES)
    with pytest.raises(CheckpointError, match="expected a tensor node_opcode_embedding"):
        network_from_state_dict({}, **CHOICES)
    itself: dict[str, object] = {}
    itself["model"] = itself
    with pytest.raises(CheckpointError, match="found dict 'model'"):
        network_from_state_dict(itself, **CHOICES)
    with pytest.raises(CheckpointError, match=r"output_scale: expected a positive number, found -1"):
        network_from_state_dict(_state(), **CHOICES | {"output_scale": -1.0})


class _Malicious:
    def __init__(self, created: Path) -> None:
        self.created = created

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.created,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_state_dict_is_not_run(tmp_path: Path, zipped: bool) -> None:
    path, created = tmp_path / "model.pt", tmp_path / "created"
    torch.save(_state() | {"extra": _Malicious(created)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"model.pt: expected a state dict saved by torch.save, found Unpickling"):
        load_original(path, **CHOICES)
    path.write_bytes(pickle.dumps(_Malicious(created)))
    with pytest.raises(CheckpointError, match="expected a state dict saved by"):
        load_original(path, **CHOICES)
    assert not created.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04N.", b"a text", b"\0" * 100])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.pt: expected a (state dict|dict)") as e:
        load_original(path, **CHOICES)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_files_cut_off(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "model.pt"
    torch.save(_state(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"model.pt: expected a state dict saved by torch.save"):
        load_original(path, **CHOICES)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="found no such file"):
        load_original(tmp_path / "none.pt", **CHOICES)
    with pytest.raises(CheckpointError, match="found a folder"):
        load_original(tmp_path, **CHOICES)
    with pytest.raises(CheckpointError, match="found a pipe, socket or device"):
        load_original("/dev/zero", **CHOICES)
