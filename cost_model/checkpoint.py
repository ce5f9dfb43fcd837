"""Checkpoints: one safetensors file that holds the weights of a network and, in its header, the model card.

One file, replaced in one step, so weights and card cannot be mixed up; safetensors, because reading it cannot run code.
The card stands at the start of the file and can be read with `head`. Needs no torch.

Source of the file format: https://github.com/huggingface/safetensors#format (8 bytes: length of the header, little
endian; the header: JSON; the weights).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from cost_model.architecture import Architecture
from cost_model.card import AnyArchitecture, ModelCard, parse_object
from cost_model.errors import CardError, CheckpointError, UnknownModelError
from cost_model.files import replace_file

Weights = Mapping[str, NDArray[np.float32]]
"""The parameters of a network by name, as in its architecture's `parameter_shapes`."""

SUFFIX: Final = ".safetensors"

LARGEST_HEADER: Final = 1 << 20
LARGEST_FILE: Final = 1 << 30
"""Bytes. The published networks have headers of 4 kB and files of 9 MB; larger claims are damaged or hostile."""

_LENGTH_BYTES: Final = 8
_DAMAGED: Final = "copy or download the file again"
_MISMATCH: Final = "card and weights do not belong together, so save the model again"
_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files begin that torch.save, numpy.savez (zip) or pickle itself have written."""


def write_checkpoint(path: str | Path, weights: Weights, card: ModelCard) -> None:
    """Writes a checkpoint; whoever reads at the same time finds the old file or the new one, complete.

    Args:
        path: ends in ".safetensors".
        weights: the parameters of `card.architecture`.
        card: what describes them.

    Raises:
        CheckpointError: the weights are not finite or not of that architecture, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise CheckpointError(f"{path}: expected a name that ends in {SUFFIX}, found {path.suffix or 'no ending'!r}")
    check_tensors(str(path), card.architecture, {name: _describe(array) for name, array in weights.items()})
    _check_finite(path, weights)
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    content = safetensors.numpy.save(arrays, metadata={"card": card.to_json()})
    header = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if header > LARGEST_HEADER or len(content) > LARGEST_FILE:
        raise CheckpointError(
            f"{path}: expected a card of up to {LARGEST_HEADER} bytes and a file of up to {LARGEST_FILE}, "
            f"found {header} and {len(content)}: shorten the card's recipe and metrics, or make the network smaller"
        )
    try:
        replace_file(path, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def read_checkpoint(path: str | Path) -> tuple[ModelCard, Weights]:
    """Reads a checkpoint. Nothing in the file is run, and no more is read than its card accounts for.

    Args:
        path: a file that `write_checkpoint` made.

    Returns:
        The card, and finite weights of exactly the shapes of its architecture.

    Raises:
        UnknownModelError: there is no such file.
        CheckpointError: the file is no checkpoint, is damaged, or needs a newer version of this tool.
    """
    path = Path(path)
    with open_regular(path) as file:
        try:
            start = _read_start(path, file)
            card = _check_header(path, start[_LENGTH_BYTES:], os.fstat(file.fileno()).st_size)
            content = start + file.read(4 * card.architecture.parameters)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        weights = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: expected tensors that fill the file, found {error}: {_DAMAGED}") from error
    _check_finite(path, weights)
    return card, weights


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading, but no folder, pipe or device, which may never end.

    Raises:
        UnknownModelError: there is no such file.
        CheckpointError: it cannot be opened or is not a regular file.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except FileNotFoundError:
        raise UnknownModelError(f"{path}: expected a checkpoint, found no such file: check the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path}: expected a checkpoint, found a path that cannot be opened: {reason}") from error
    found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
    raise CheckpointError(f"{path}: expected a file, found {found}: name the checkpoint itself")


def check_tensors(
    where: str, architecture: AnyArchitecture, found: Mapping[str, str], *, advice: str = _MISMATCH
) -> None:
    """Compares names, types and shapes of tensors with those of an architecture. Allocates nothing of their size.

    Args:
        where: the file or object they come from.
        architecture: what is expected.
        found: tensors by name, each described as "F32[20, 140]".
        advice: what to do, for the message.

    Raises:
        CheckpointError: a tensor is missing, additional, or of another type or shape.
    """
    if isinstance(architecture, Architecture) and len(architecture.channels) > len(found):
        # A card that lists a million convolutions is not worth a list of their names.
        raise CheckpointError(
            f"{where}: expected the tensors of {len(architecture.channels)} convolutions, found {len(found)} in all: "
            f"{advice}"
        )
    expected = {name: f"F32{list(shape)}" for name, shape in architecture.parameter_shapes.items()}
    if missing := expected.keys() - found.keys():
        raise CheckpointError(f"{where}: expected tensor {_some(missing)}, found no such tensor: {advice}")
    if additional := found.keys() - expected.keys():
        raise CheckpointError(f"{where}: expected {len(expected)} tensors, found also {_some(additional)}: {advice}")
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise CheckpointError(f"{where}: {name}: expected {wanted}, found {found[name]:.100}: {advice}")


def _read_start(path: Path, file: BinaryIO) -> bytes:
    """The header and the eight bytes before it.

    Raises:
        CheckpointError: the file does not begin as a safetensors file.
    """
    start = file.read(_LENGTH_BYTES + 1)
    if len(start) <= _LENGTH_BYTES:
        raise CheckpointError(f"{path}: expected a safetensors file, found only {len(start)} bytes: {_DAMAGED}")
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if not 2 <= length <= LARGEST_HEADER or start[_LENGTH_BYTES:] != b"{":
        # Looked at only here: the length of a good header may begin like a pickle.
        if start.startswith(_PICKLES):
            raise CheckpointError(
                f"{path}: expected a safetensors file, found a pickle (torch.save, numpy.savez). Reading one can run "
                "code, so it is refused: if you trust its origin and it holds a state dict of the original code, "
                "convert it with cost_model.original.load_original"
            )
        raise CheckpointError(
            f"{path}: expected a safetensors file with a JSON header of up to {LARGEST_HEADER} bytes, found {length} "
            f"as its length and {start[_LENGTH_BYTES:]!r} as its beginning: this is another kind of file, or damaged"
        )
    start += file.read(length - 1)
    if len(start) < _LENGTH_BYTES + length:
        raise CheckpointError(
            f"{path}: expected a header of {length} bytes, found {len(start) - _LENGTH_BYTES}: the file is cut off, "
            + _DAMAGED
        )
    return start


def _check_header(path: Path, header: bytes, size: int) -> ModelCard:
    """Reads the card, and compares what the header says of the tensors with it and with the size of the file.

    Raises:
        CheckpointError: the header is damaged, or file, header and card contradict each other.
    """
    try:
        tensors = parse_object(header.decode())
    except ValueError as error:
        raise CheckpointError(f"{path}: expected a JSON object as its header, found {error}: {_DAMAGED}") from error
    metadata = tensors.pop("__metadata__", None)
    text = metadata.get("card") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(
            f"{path}: expected a model card in the header, found none: other safetensors files are not cost models; "
            "save one with LearnedCostModel.save"
        )
    try:
        card = ModelCard.from_json(text)
    except CardError as error:
        raise CheckpointError(f"{path}: model card: {error}") from error
    check_tensors(str(path), card.architecture, {name: _describe_entry(entry) for name, entry in tensors.items()})
    expected = _LENGTH_BYTES + len(header) + 4 * card.architecture.parameters
    if size != expected:
        what = "the file is cut off" if size < expected else "something follows the weights"
        raise CheckpointError(f"{path}: expected {expected} bytes, found {size}: {what}, {_DAMAGED}")
    if size > LARGEST_FILE:
        raise CheckpointError(f"{path}: expected up to {LARGEST_FILE} bytes, found {size}: use a smaller network")
    return card


def _describe(array: NDArray[Any]) -> str:
    return f"{'F32' if array.dtype == np.float32 else array.dtype.name}{list(array.shape)}"


def _describe_entry(entry: object) -> str:
    return f"{entry.get('dtype')}{entry.get('shape')}" if isinstance(entry, dict) else repr(entry)


def _check_finite(path: Path, weights: Weights) -> None:
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{path}: {name}: expected finite weights, found {array[~np.isfinite(array)][0]}: "
                "the training diverged or the file is damaged"
            )


def _some(names: Iterable[str]) -> str:
    """A few of the names, for a message."""
    first, *others = sorted(names)
    return f"{first:.100}" + (f" and {len(others)} more" if others else "")
