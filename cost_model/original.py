"""Weights of the original 2nd-place code, as a network of ours.

Its parameters have the names of `Architecture.parameter_shapes`, so widths and the kind of config can be read off
their shapes. What shapes cannot tell has to be said: whether convolutions are residual, how features are transformed,
and the factor of the scores. `cost_model/architecture.py` has the published values.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from cost_model.architecture import NODE_WIDTH, OPCODE_WIDTH, Architecture, FeatureTransform
from cost_model.checkpoint import check_tensors, open_regular
from cost_model.errors import ArchitectureError, CheckpointError
from cost_model.learned import network_of
from cost_model.network import SageNetwork

_WRAPPERS: Final = ("model_state_dict", "state_dict", "model")
_LANDMARK: Final = "node_opcode_embedding.weight"
_ADVICE: Final = "this is no state dict of the original network"


def load_original(
    path: str | Path, *, residual: bool, feature_transform: FeatureTransform, output_scale: float
) -> SageNetwork:
    """Reads a state dict that the original code saved with `torch.save`.

    Only tensors and plain containers are unpickled (`weights_only=True`); anything that could run code is refused.

    Args:
        path: the file.
        residual: see `Architecture`; the code that made the submission had none in its xla models.
        feature_transform: see `FeatureTransform`.
        output_scale: 1e-3 for layout models, 1 for tile models.

    Returns:
        The network. To keep it, give it a card: `LearnedCostModel(network, card).save(...)`.

    Raises:
        CheckpointError: the file is missing or damaged, holds more than tensors, or tensors of another network.
    """
    path = Path(path)
    with open_regular(path) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old formats, which is why they are converted
                state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged files torch.load raises nearly everything there is
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"{path}: expected a state dict saved by torch.save, found {type(error).__name__}: {reason:.200}: save "
                "model.state_dict() alone, with the code that wrote the file"
            ) from error
    return network_from_state_dict(
        state,
        residual=residual,
        feature_transform=feature_transform,
        output_scale=output_scale,
        where=str(path),
    )


def network_from_state_dict(
    state: object,
    *,
    residual: bool,
    feature_transform: FeatureTransform,
    output_scale: float,
    where: str = "state dict",
) -> SageNetwork:
    """Makes a network from a state dict of the original code.

    Args:
        state: tensors by name; also inside a dict under "model_state_dict", "state_dict" or "model", and with a prefix
            common to all names, such as "module.".
        residual: see `Architecture`.
        feature_transform: see `FeatureTransform`.
        output_scale: see `Architecture`.
        where: what the state dict is called in messages.

    Returns:
        The network, with copies of the tensors as float32.

    Raises:
        CheckpointError: these are not the tensors of such a network.
    """
    tensors = _without_prefix(where, _unwrap(where, state))
    try:
        architecture = _infer(tensors, residual, feature_transform, output_scale)
    except ArchitectureError as error:
        raise CheckpointError(f"{where}: {error}: {_ADVICE}") from error
    check_tensors(where, architecture, {name: _describe(tensor) for name, tensor in tensors.items()}, advice=_ADVICE)
    weights = {name: tensor.detach().float().cpu() for name, tensor in tensors.items()}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{where}: {name}: expected finite weights, found others: the training diverged")
    return network_of(architecture, {name: tensor.numpy() for name, tensor in weights.items()})


def _unwrap(where: str, state: object) -> dict[str, Tensor]:
    """The tensors by name inside whatever a training loop has put around them."""
    for _ in _WRAPPERS:  # bounded: a hostile dict may hold itself
        if isinstance(state, Mapping):
            state = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{where}: expected a dict of tensors, found {type(state).__name__}: {_ADVICE}")
    for name, value in state.items():
        if not (isinstance(name, str) and _is_plain(value)):
            raise CheckpointError(
                f"{where}: expected names and dense tensors of floating point numbers, "
                f"found {type(value).__name__} {name!r:.80}: {_ADVICE}"
            )
    return dict(state)


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and value.device.type != "meta"
    )


def _without_prefix(where: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Takes "module." and the like off all names; the opcode embedding tells what it is."""
    landmark = next((name for name in tensors if name.endswith(_LANDMARK)), None)
    if landmark is None:
        raise CheckpointError(f"{where}: expected a tensor {_LANDMARK}, found none: {_ADVICE}")
    prefix = landmark.removesuffix(_LANDMARK)
    others = sorted(name for name in tensors if not name.startswith(prefix))
    if others:
        raise CheckpointError(f"{where}: expected names that begin with {prefix!r}, found {others[0]:.80}: {_ADVICE}")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _infer(
    tensors: Mapping[str, Tensor], residual: bool, feature_transform: FeatureTransform, output_scale: float
) -> Architecture:
    """The architecture with as many config columns, and convolutions as wide, as the tensors say.

    Raises:
        ArchitectureError: there is none.
    """
    rows, columns = _shape(tensors, "input_shaping.weight")
    channels: list[int] = []
    while (name := f"convs.{len(channels)}.lin_l.weight") in tensors:
        channels.append(_shape(tensors, name)[0])
    return Architecture(
        config_features=columns - NODE_WIDTH - OPCODE_WIDTH,
        in_channels=rows,
        channels=tuple(channels),
        residual=residual,
        feature_transform=feature_transform,
        output_scale=output_scale,
    )


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    shape = tuple(tensors[name].shape) if name in tensors else ()
    if len(shape) != 2:
        raise ArchitectureError(f"{name}: expected a matrix, found {list(shape) or 'none'}")
    return shape[0], shape[1]


def _describe(tensor: Tensor) -> str:
    """As `check_tensors` takes it: any floating point type will become float32."""
    return f"F32{list(tensor.shape)}"
