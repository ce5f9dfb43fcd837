"""The tile of a TPU kernel: the `window_config` that the TPU compiler writes beside an instruction, and forcing one.

The compiler keeps its choice in the instruction's `backend_config`, which is JSON text in the proto. Bounds are major
first, in the order of the physical layout; the two minor-most dimensions count hardware tiles (8 x 128 elements of
float32), the others elements: an output bf16[256,512]{1,0:T(8,128)(2,1)} computed in one piece has the bounds (32, 4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autotune.errors import AutotuneError, ToolchainError
from autotune.hlo.modules import instructions
from protos import hlo_pb2

NO_ESTIMATE = 2**63 - 1
"""What the compiler writes as `estimated_cycles` when it has no estimate (the largest int64)."""

PENALTY = 2**60
"""What the compiler adds to the cycles of a tile that it would rather not take."""

_KEY = "window_config"
_KERNEL, _OUTPUT, _INPUT = "kernel_window_bounds", "output_window_bounds", "input_window_bounds"
_ITERATIONS, _CYCLES = "iteration_bounds", "estimated_cycles"
_DERIVED = (_INPUT, _ITERATIONS)
"""What the compiler derives from the other bounds; left over from another tile, it would contradict the forced one."""


@dataclass(frozen=True)
class WindowConfig:
    """The tile of one kernel, as the compiler wrote it.

    Attributes:
        kernel_bounds: of the convolution's kernel or the dot's right side; empty for other kernels.
        output_bounds: of the output.
        input_bounds: of the input; empty for other kernels than convolutions and dots.
        iteration_bounds: how often each loop over tiles runs.
        estimated_cycles: of one execution by the compiler's own model (never a time), or None where it has none.
        other: the remaining fields as they stand in the JSON text (`cost_model_type`, `buffering_level`, ...).
    """

    kernel_bounds: tuple[int, ...]
    output_bounds: tuple[int, ...]
    input_bounds: tuple[int, ...] = ()
    iteration_bounds: tuple[int, ...] = ()
    estimated_cycles: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict, hash=False)


class ForcedTile(NamedTuple):
    """A tile to force. The compiler does not check it (one larger than the tensor hangs it): take it from its own list.

    Attributes:
        output_bounds: of the output.
        kernel_bounds: of the convolution's kernel or the dot's right side; empty for other kernels.
        cycles: the compiler's estimate for this tile from that list; it is echoed in the result, not worked out anew.
    """

    output_bounds: tuple[int, ...]
    kernel_bounds: tuple[int, ...]
    cycles: int


@dataclass(frozen=True, order=True)
class TileCandidate:
    """One tile that the compiler considered; they sort by cycles. Bounds as in `WindowConfig`.

    Attributes:
        cycles: of one execution of the kernel by the compiler's own model; never a time.
        output_bounds: of the output.
        kernel_bounds: of the convolution's kernel or the dot's right side; empty for other kernels.
        vmem_bytes: scratchpad memory that it needs; None for kernels of which the compiler does not log it.
    """

    cycles: int
    output_bounds: tuple[int, ...]
    kernel_bounds: tuple[int, ...] = ()
    vmem_bytes: int | None = field(default=None, compare=False)


def read_window_config(instruction: hlo_pb2.HloInstructionProto) -> WindowConfig | None:
    """The tile that the compiler chose for an instruction, or None if it has none.

    Raises:
        ToolchainError: there is a window config in a form that is not known; the message names the instruction.
    """
    config = _backend_config(instruction)
    if _KEY not in config:
        return None
    fields = config[_KEY]
    if not isinstance(fields, dict):
        raise _unknown(instruction, f"its {_KEY} is {fields!r}, expected a JSON object")
    fields = dict(fields)
    bounds = {name: _bounds(instruction, name, fields.pop(name, [])) for name in (_KERNEL, _OUTPUT, *_DERIVED)}
    if not bounds[_OUTPUT]:
        raise _unknown(instruction, f"its {_KEY} has no {_OUTPUT}")
    cycles = _integer(instruction, _CYCLES, fields.pop(_CYCLES, str(NO_ESTIMATE)))
    return WindowConfig(
        kernel_bounds=bounds[_KERNEL],
        output_bounds=bounds[_OUTPUT],
        input_bounds=bounds[_INPUT],
        iteration_bounds=bounds[_ITERATIONS],
        estimated_cycles=None if cycles == NO_ESTIMATE else cycles,
        other=fields,
    )


def remove_window_config(instruction: hlo_pb2.HloInstructionProto) -> None:
    """Leave the choice of a tile to the compiler again: changes the instruction, keeps the rest of its config."""
    config = _backend_config(instruction)
    if config.pop(_KEY, None) is not None:
        instruction.backend_config = json.dumps(config).encode()


def force_tile(
    module: hlo_pb2.HloModuleProto,
    instruction_name: str,
    output_bounds: Sequence[int],
    kernel_bounds: Sequence[int],
    cycles: int,
) -> hlo_pb2.HloModuleProto:
    """Ask for a tile of one instruction. The compiler may still silently take another: compare what comes out.

    Args:
        module: one kernel (see `autotune.hlo.kernels`), or a program just before memory space assignment; either is
            then to be compiled with `run_backend_only`. Not changed.
        instruction_name: the fusion, convolution, copy, ... that is the kernel.
        output_bounds: see `ForcedTile`.
        kernel_bounds: see `ForcedTile`.
        cycles: see `ForcedTile`.

    Returns:
        A changed copy.

    Raises:
        AutotuneError: there is no such instruction, or a bound is not positive.
    """
    return apply_tiles(module, {instruction_name: (tuple(output_bounds), tuple(kernel_bounds), cycles)})


def apply_tiles(
    module: hlo_pb2.HloModuleProto,
    tiles: Mapping[str, ForcedTile | tuple[tuple[int, ...], tuple[int, ...], int]],
) -> hlo_pb2.HloModuleProto:
    """Ask for the tiles of several instructions of a program.

    A whole program takes tiles at one place: just before memory space assignment, where its fusions are final and no
    tile is chosen yet (the compiler's dump `Pre_memory_space_assignment.after_pipeline-start`). Compiled on from there
    with `run_backend_only`, the program without tiles becomes what the compiler makes of it in one go (the same tiles
    and cycles, tried on v3 and v5e), and kernels keep the names that they have in the optimised program.

    Args:
        module: see `force_tile`; not changed.
        tiles: output bounds, kernel bounds and estimated cycles by the name of the instruction.

    Returns:
        A changed copy; equal to `module` when `tiles` is empty.

    Raises:
        AutotuneError: there is no such instruction, or a bound is not positive.
    """
    result = hlo_pb2.HloModuleProto()
    result.CopyFrom(module)
    by_name = {instruction.name: instruction for instruction in instructions(result)}
    for name, tile in tiles.items():
        if name not in by_name:
            raise AutotuneError(
                f"module {module.name!r} has no instruction {name!r} to force a tile of; take names from the module "
                "that the tiles are applied to, they change from one stage of the compiler to the next"
            )
        _force(by_name[name], ForcedTile(*tile))
    return result


def _force(instruction: hlo_pb2.HloInstructionProto, tile: ForcedTile) -> None:
    bounds = (*tile.output_bounds, *tile.kernel_bounds)
    if not tile.output_bounds or min(bounds) < 1 or tile.cycles < 0:
        raise AutotuneError(
            f"{tile} of {instruction.name!r}: expected positive bounds of the output (and of the kernel, if any) and "
            "cycles of 0 or more; take a tile from the compiler's own candidates"
        )
    config = _backend_config(instruction)
    window = {key: value for key, value in config.get(_KEY, {}).items() if key not in _DERIVED}
    window[_OUTPUT] = [str(bound) for bound in tile.output_bounds]
    window[_KERNEL] = [str(bound) for bound in tile.kernel_bounds]
    window[_CYCLES] = str(tile.cycles)
    instruction.backend_config = json.dumps({**config, _KEY: window}).encode()


def _backend_config(instruction: hlo_pb2.HloInstructionProto) -> dict[str, Any]:
    """The config as a JSON object; {} without one, and for custom calls, whose config is their callee's own matter."""
    if not instruction.backend_config or instruction.opcode == "custom-call":
        return {}
    try:
        config = json.loads(instruction.backend_config)
    except ValueError as error:
        raise _unknown(instruction, f"its backend_config is not JSON text ({error})") from error
    if not isinstance(config, dict):
        raise _unknown(instruction, f"its backend_config is {type(config).__name__}, expected a JSON object")
    return config


def _bounds(instruction: hlo_pb2.HloInstructionProto, name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _unknown(instruction, f"its {_KEY}.{name} is {value!r}, expected a list of integers")
    return tuple(_integer(instruction, name, entry) for entry in value)


def _integer(instruction: hlo_pb2.HloInstructionProto, name: str, value: Any) -> int:
    """An int64 as JSON for protos writes it: a string of digits."""
    if not isinstance(value, str) or not value.removeprefix("-").isdecimal():
        raise _unknown(instruction, f"its {_KEY}.{name} holds {value!r}, expected digits in quotes")
    return int(value)


def _unknown(instruction: hlo_pb2.HloInstructionProto, problem: str) -> ToolchainError:
    return ToolchainError(
        f"{instruction.opcode} {instruction.name!r}: {problem}; window configs are read as libtpu 0.0.52 writes them, "
        "use that version (pip install 'xla-autotune[tpu]')"
    )
