"""What every instruction of a compiled program costs: the compiler's cycles, or a roofline. Never a time.

- The TPU compiler writes its own estimate beside each kernel (`autotune.targets.tpu.estimate`).
- XLA:CPU writes none, and a profile of one run would be noise. There the analytical cost model's roofline stands in:
  for each instruction the larger of its arithmetic and its traffic, at the published or measured peaks of the device.
  It knows nothing of caches or of the quality of the code, so it says where time ought to go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from autotune.hlo.graph import program_graph
from autotune.hlo.loops import count_executions
from autotune.hlo.modules import fused_instructions
from autotune.hlo.types import leaves, shape_bytes, shape_text
from autotune.report.explanation import CompiledProgram, InstructionCost
from autotune.targets.tpu.estimate import priced_instructions
from cost_model.analytical.roofline import node_seconds
from cost_model.analytical.tensors import GraphTensors
from cost_model.devices import DEVICES
from protos import hlo_pb2, xla_data_pb2

LISTED: Final = 120
"""Instructions that are kept; in most programs a dozen take nearly all."""

_MOVES: Final = frozenset({"copy", "transpose"})
_MAIN: Final = (
    "convolution", "dot", "custom-call", "sort", "gather", "scatter", "reduce", "reduce-window", "transpose", "copy",
    "dynamic-update-slice", "dynamic-slice", "concatenate", "exponential", "tanh", "divide", "add", "multiply",
    "maximum", "select", "broadcast", "convert", "slice", "pad", "reshape",
)  # fmt: skip
"""Opcodes that say what a fusion does, most telling first."""

Computations = Mapping[int, hlo_pb2.HloComputationProto]


def by_compiler(optimised: bytes) -> CompiledProgram:
    """The TPU compiler's cycles.

    Args:
        optimised: serialized HloModuleProto, as the compiler leaves it.
    """
    module = hlo_pb2.HloModuleProto.FromString(optimised)
    computations = {computation.id: computation for computation in module.computations}
    priced = priced_instructions(module)
    costs = [
        _instruction(
            each.instruction, computations, each.executions, None if each.cycles is None else float(each.cycles)
        )
        for each in priced
    ]
    moves = [(each.instruction, each.executions) for each in priced if each.instruction.opcode in _MOVES]
    return _program(costs, moves)


def by_roofline(optimised: bytes, device: str) -> CompiledProgram:
    """Seconds by the analytical model's roofline; an instruction has the cost of what it calls, if that is part of it.

    Args:
        optimised: serialized HloModuleProto, as the compiler leaves it.
        device: name of a device description, "cpu".
    """
    module = hlo_pb2.HloModuleProto.FromString(optimised)
    computations = {computation.id: computation for computation in module.computations}
    executions = count_executions(module).counts
    seconds = node_seconds(GraphTensors(program_graph(module)), DEVICES[device])
    starts = np.cumsum([0, *(len(computation.instructions) for computation in module.computations)])
    places = {computation.id: place for place, computation in enumerate(module.computations)}

    def inside(instruction: hlo_pb2.HloInstructionProto) -> float:
        if instruction.opcode in ("while", "call", "conditional"):
            return 0.0
        total = 0.0
        for callee in instruction.called_computation_ids:
            place = places[callee]
            total += float(seconds[starts[place] : starts[place + 1]].sum())
            total += sum(inside(inner) for inner in computations[callee].instructions)
        return total

    costs: list[InstructionCost] = []
    moves: list[tuple[hlo_pb2.HloInstructionProto, int]] = []
    for identity, times in executions.items():
        first = starts[places[identity]]
        for position, instruction in enumerate(computations[identity].instructions):
            cost = float(seconds[first + position]) + inside(instruction)
            if cost > 0:
                costs.append(_instruction(instruction, computations, times, cost))
            within = (inner for callee in _fused(instruction) for inner in computations[callee].instructions)
            moves += [(each, times) for each in (instruction, *within) if each.opcode in _MOVES]
    return _program(costs, moves)


def _program(
    costs: Iterable[InstructionCost], moves: Iterable[tuple[hlo_pb2.HloInstructionProto, int]]
) -> CompiledProgram:
    moves = list(moves)
    ordered = sorted(costs, key=lambda each: (each.cost is None, -(each.cost or 0.0)))
    rest = ordered[LISTED:]
    return CompiledProgram(
        total=sum(each.cost or 0.0 for each in ordered),
        instructions=tuple(ordered[:LISTED]),
        others=len(rest),
        others_cost=sum(each.cost or 0.0 for each in rest),
        unpriced=sum(each.cost is None for each in ordered),
        copies=sum(times for _, times in moves),
        copy_bytes=sum(times * shape_bytes(instruction.shape) for instruction, times in moves),
    )


def _instruction(
    instruction: hlo_pb2.HloInstructionProto, computations: Computations, executions: int, cost: float | None
) -> InstructionCost:
    return InstructionCost(
        name=instruction.name,
        opcode=instruction.opcode,
        work=_work(instruction, computations),
        operation=instruction.metadata.op_name,
        shape=_shape_with_order(instruction.shape),
        executions=executions,
        cost=None if cost is None else cost * executions,
    )


def _fused(instruction: hlo_pb2.HloInstructionProto) -> Iterable[int]:
    return instruction.called_computation_ids if instruction.opcode == "fusion" else ()


def _work(instruction: hlo_pb2.HloInstructionProto, computations: Computations) -> str:
    """The three most telling opcodes inside a fusion."""
    found = {inner.opcode for inner in fused_instructions(instruction, computations)}
    return ", ".join([opcode for opcode in _MAIN if opcode in found][:3])


def _shape_with_order(shape: xla_data_pb2.ShapeProto) -> str:
    if shape.element_type == xla_data_pb2.TUPLE:
        first = next(iter(leaves(shape)), None)
        return "()" if first is None else f"({_shape_with_order(first)}, ...)"
    return (
        f"{shape_text(shape)}{{{','.join(map(str, shape.layout.minor_to_major))}}}"
        if shape.dimensions
        else shape_text(shape)
    )
