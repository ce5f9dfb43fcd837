"""Spaces, kernels and tiles as messages, and back: with them a client searches without a compiler of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from autotune.errors import SpaceError
from autotune.evaluation import Failed, Measured
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import ForcedTile, TileCandidate, WindowConfig
from autotune.remote.messages import (
    MessageError,
    failed_from_message,
    failed_to_message,
    measured_from_message,
    measured_to_message,
)
from autotune.spaces.base import Space
from autotune.spaces.layout import LayoutSpace
from autotune.spaces.tile import DotKernel, GemmTileSpace
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.targets.base import PreparedProgram, TiledProgram
from protos import hlo_pb2
from protos import measurement_pb2 as messages


def space_to_message(space: Space) -> messages.Space:
    """A space as a message, without the module that it is of.

    Raises:
        SpaceError: spaces of this kind have no message.
    """
    message = messages.Space()
    match space:
        case LayoutSpace():
            message.layout.places = space.places
        case GemmTileSpace(kernel=kernel):
            message.dot_tile.CopyFrom(messages.DotTileSpace(**vars(kernel)))
        case TpuTileSpace(kernel=kernel):
            message.kernel_tile.kernel.CopyFrom(kernel_to_message(kernel))
            message.kernel_tile.candidates.extend(_candidate_to_message(each) for each in space.candidates)
        case _:
            raise SpaceError(f"a measurement server cannot offer spaces of the class {type(space).__name__}")
    return message


def space_from_message(message: messages.Space, prepared: PreparedProgram) -> Space:
    """The inverse of `space_to_message`.

    Args:
        message: of a space of this program.
        prepared: whose module just before layout assignment has the nodes that layouts refer to.

    Raises:
        MessageError: the kind of the space is not known.
        SpaceError: there is nothing to choose from.
    """
    match message.WhichOneof("kind"):
        case "layout":
            return LayoutSpace(prepared.described, places=message.layout.places)
        case "dot_tile":
            tile = message.dot_tile
            return GemmTileSpace(DotKernel(tile.rows, tile.steps, tile.columns, tile.element_type))
        case "kernel_tile":
            tiles = message.kernel_tile
            return TpuTileSpace(
                kernel_from_message(tiles.kernel), [_candidate_from_message(each) for each in tiles.candidates]
            )
        case _:
            raise MessageError("expected a space of a known kind, found none; is the server of a newer version?")


def kernel_to_message(kernel: Kernel) -> messages.Kernel:
    """A kernel as a message."""
    message = messages.Kernel(
        name=kernel.name,
        opcode=kernel.opcode,
        module=kernel.module.SerializeToString(deterministic=True),
        executions=kernel.executions,
    )
    window = kernel.window
    if window is not None:
        message.window.CopyFrom(
            messages.Window(
                kernel_bounds=window.kernel_bounds,
                output_bounds=window.output_bounds,
                input_bounds=window.input_bounds,
                iteration_bounds=window.iteration_bounds,
                estimated_cycles=window.estimated_cycles,
                other=json.dumps(dict(window.other), sort_keys=True),
            )
        )
    return message


def kernel_from_message(message: messages.Kernel) -> Kernel:
    """The inverse of `kernel_to_message`.

    Raises:
        MessageError: it holds no module, or a window that is none.
    """
    try:
        module = hlo_pb2.HloModuleProto.FromString(message.module)
        other = json.loads(message.window.other) if message.HasField("window") else {}
    except Exception as error:  # DecodeError of whichever implementation protobuf has chosen, or no JSON
        raise MessageError(f"expected kernel {message.name!r} as a module, found something else ({error})") from None
    window = None
    if message.HasField("window"):
        found = message.window
        window = WindowConfig(
            tuple(found.kernel_bounds),
            tuple(found.output_bounds),
            tuple(found.input_bounds),
            tuple(found.iteration_bounds),
            found.estimated_cycles if found.HasField("estimated_cycles") else None,
            other,
        )
    return Kernel(message.name, message.opcode, module, window, message.executions)


def tiles_to_messages(tiles: Mapping[str, ForcedTile]) -> list[messages.ForcedTile]:
    """Tiles by the name of their kernel, as messages."""
    return [
        messages.ForcedTile(
            kernel=name, output_bounds=tile.output_bounds, kernel_bounds=tile.kernel_bounds, cycles=tile.cycles
        )
        for name, tile in tiles.items()
    ]


def tiles_from_messages(tiles: Iterable[messages.ForcedTile]) -> dict[str, ForcedTile]:
    """The inverse of `tiles_to_messages`."""
    return {
        tile.kernel: ForcedTile(tuple(tile.output_bounds), tuple(tile.kernel_bounds), tile.cycles) for tile in tiles
    }


def tiled_to_message(tiled: TiledProgram) -> messages.TiledProgram:
    """A program with tiles as a message."""
    message = messages.TiledProgram(module=tiled.module, asked=tiled.asked, held=tiled.held, cycles=tiled.cycles)
    match tiled.measured:
        case Measured() as measured:
            message.measured.CopyFrom(measured_to_message(measured))
        case Failed() as failed:
            message.failed.CopyFrom(failed_to_message(failed))
    return message


def tiled_from_message(message: messages.TiledProgram) -> TiledProgram:
    """The inverse of `tiled_to_message`.

    Raises:
        MessageError: the outcome makes no sense.
    """
    measured: Measured | Failed | None = None
    match message.WhichOneof("outcome"):
        case "measured":
            measured = measured_from_message(message.measured)
        case "failed":
            measured = failed_from_message(message.failed)
    return TiledProgram(message.module, tuple(message.asked), tuple(message.held), message.cycles, measured)


def _candidate_to_message(candidate: TileCandidate) -> messages.TileCandidate:
    return messages.TileCandidate(
        cycles=candidate.cycles,
        output_bounds=candidate.output_bounds,
        kernel_bounds=candidate.kernel_bounds,
        vmem_bytes=candidate.vmem_bytes,
    )


def _candidate_from_message(message: messages.TileCandidate) -> TileCandidate:
    vmem_bytes = message.vmem_bytes if message.HasField("vmem_bytes") else None
    return TileCandidate(message.cycles, tuple(message.output_bounds), tuple(message.kernel_bounds), vmem_bytes)
