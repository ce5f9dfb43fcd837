"""What the TPU compiler says a whole program costs, read from the optimised program: an estimate, never a time.

The compiler writes `estimated_cycles` beside every kernel that it tiles. Their sum is what programs are compared by:
kernels run one after the other on a core. A cycle of one kind of kernel is not as long as one of another, so there is a
second sum, weighed by kind (`kernel_kinds`): a gain that is none when weighed is doubtful. Both leave out what has no
estimate (collectives, custom kernels, reshapes that move data) and the time spent waiting for asynchronous copies, both
of which are counted here instead.

How often a computation runs:
- the entry once; a called computation once per call;
- of a conditional's branches the one with the most cycles, and no other;
- the body of a while loop as often as the loop turns. The TPU compiler writes no trip count, so `autotune.hlo.loops`
  works it out of the counter; a loop whose count it cannot find counts as one turn and is named in the details;
- computations inside fusions, reductions and asynchronous instructions not at all: they are part of an instruction.

Every count and every number of bytes is for one run of the program: a copy in a loop of 32 turns is 32 copies.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.hlo.loops import Executions, count_executions
from autotune.hlo.types import leaves
from autotune.hlo.window_config import read_window_config
from autotune.targets.tpu.kernel_kinds import WEIGHTS, kind_of
from autotune.targets.tpu.memory import HBM, VMEM, bytes_in
from protos import hlo_pb2, xla_data_pb2, xla_pb2

Instruction = hlo_pb2.HloInstructionProto
Computations = Mapping[int, hlo_pb2.HloComputationProto]
"""By id."""

_SMALL = 8 * 128
"""Elements of one hardware tile of float32: work on less (loop counters, scalars) is not worth a remark."""

_PASSED_ON = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"})
_RUNS_OTHERS = frozenset({"while", "call", "conditional"})
_BESIDE_KERNELS = frozenset({"copy-start", "copy-done", "async-start", "async-update", "async-done"})
_NO_WORK = _PASSED_ON | _RUNS_OTHERS | _BESIDE_KERNELS
_NO_WORK_CALLS = frozenset({"AllocateBuffer", "ConcatBitcast"})
_SLICES = frozenset({"slice", "dynamic-slice"})
_IN_PLACE = frozenset({"dynamic-update-slice", "scatter"})


@dataclass(frozen=True)
class Figures:
    """The compiler's figures for one computation, without what it calls, or for a whole program.

    Attributes:
        cycles: sum over the kernels, in cycles of the compiler's model; comparable for one target only.
        weighed_cycles: the same, each kernel weighed by its kind.
        kernels: instructions that the compiler tiled.
        unknown: instructions that work on more than one hardware tile and have no estimate; `cycles` leaves them out.
        unknown_bytes: read and written by them.
        copies: `copy` instructions (those inside fusions are part of a kernel and not seen).
        copy_bytes: written by them, tiles padded.
        asynchronous_copies: `copy-start`, and asynchronous slices: moves between HBM and VMEM beside the kernels.
        asynchronous_copy_bytes: written by them.
        transposes: `transpose` instructions.
        transpose_bytes: written by them.
        vmem_bytes: lower bound of what VMEM must hold at once: the largest sum, over instructions, of the arrays in
            VMEM that one reads and writes and of its scratch memory. (v2 and v3 keep no array there, v4 keeps its own
            in another memory, S(3): on those it is the scratch memory alone.)
    """

    cycles: int
    weighed_cycles: float
    kernels: int
    unknown: int
    unknown_bytes: int
    copies: int
    copy_bytes: int
    asynchronous_copies: int
    asynchronous_copy_bytes: int
    transposes: int
    transpose_bytes: int
    vmem_bytes: int


@dataclass(frozen=True)
class CompilerEstimate(Figures):
    """The compiler's figures for one run of a whole program.

    Attributes:
        argument_bytes: of the program's arguments in HBM, tiles padded.
        result_bytes: of its results in HBM that do not take the place of an argument.
        unknown_loops: names of while loops whose number of turns is not known, counted as one turn.
    """

    argument_bytes: int
    result_bytes: int
    unknown_loops: tuple[str, ...] = ()

    @property
    def hbm_bytes(self) -> int:
        """Arguments and results. Temporaries come on top: the optimised program does not say where they lie."""
        return self.argument_bytes + self.result_bytes

    def hides_more_than(self, other: CompilerEstimate) -> bool:
        """Whether more work than in `other` goes without an estimate: fewer cycles then do not mean a faster program.

        It happens: a layout can turn a free bitcast into a reshape that moves data, which the compiler does not price,
        and attention into a custom kernel.
        """
        return self.unknown_bytes > other.unknown_bytes or len(self.unknown_loops) > len(other.unknown_loops)

    def to_details(self) -> dict[str, float | str]:
        """The figures by name, as an evaluation keeps them."""
        details: dict[str, float | str] = {
            name: float(value) for name, value in dataclasses.asdict(self).items() if name != "unknown_loops"
        }
        details["hbm_bytes"] = float(self.hbm_bytes)
        if self.unknown_loops:
            details["loops_counted_once"] = ", ".join(self.unknown_loops)
        return details


def estimate(compiled: xla_pb2.HloModuleProtoWithConfig) -> CompilerEstimate:
    """Read the compiler's figures.

    Args:
        compiled: what the compiler returned (`TpuCompiler.compile`, parsed).

    Raises:
        ToolchainError: an estimate is written in a form that is not known.
    """
    module = compiled.hlo_module
    executions, figures, runs = _executed(module)

    def total(name: str) -> Any:
        return sum(executions.counts[identity] * getattr(figures[identity], name) for identity in runs)

    summed = [f.name for f in dataclasses.fields(Figures) if f.name != "vmem_bytes"]
    return CompilerEstimate(
        **{name: total(name) for name in summed},
        argument_bytes=sum(bytes_in(shape, HBM) for shape in module.host_program_shape.parameters),
        result_bytes=_result_bytes(module),
        vmem_bytes=max(figures[identity].vmem_bytes for identity in runs),
        unknown_loops=executions.unknown_loops,
    )


@dataclass(frozen=True)
class PricedInstruction:
    """An instruction that runs, and what the compiler says it costs.

    Attributes:
        instruction: as it stands in the module.
        executions: in one run of the program.
        cycles: of one execution; None for work without an estimate.
    """

    instruction: Instruction
    executions: int
    cycles: int | None


def priced_instructions(module: hlo_pb2.HloModuleProto) -> list[PricedInstruction]:
    """The instructions whose cycles `estimate` adds up, and those whose work it leaves out, in the order of the file.

    Args:
        module: as the compiler leaves it.

    Raises:
        ToolchainError: an estimate is written in a form that is not known.
    """
    executions, _, runs = _executed(module)
    priced = []
    for computation in module.computations:
        if computation.id not in runs:
            continue
        shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
        for instruction in computation.instructions:
            window = read_window_config(instruction)
            if window is not None or _works(instruction, shapes):
                own = None if window is None else window.estimated_cycles
                priced.append(PricedInstruction(instruction, executions.counts[computation.id], own))
    return priced


def _executed(module: hlo_pb2.HloModuleProto) -> tuple[Executions, dict[int, Figures], frozenset[int]]:
    """How often computations are executed, the figures of one execution of each, and which of them count."""
    executions = count_executions(module)
    computations = {computation.id: computation for computation in module.computations}
    figures = {identity: _figures_of(computations[identity], computations) for identity in executions.counts}
    cycles = {identity: executions.counts[identity] * own.cycles for identity, own in figures.items()}
    return executions, figures, _run(module.entry_computation_id, computations, cycles)


def _figures_of(computation: hlo_pb2.HloComputationProto, computations: Computations) -> Figures:
    """Of one execution of one computation, without what it calls."""
    shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
    windows = {i.id: read_window_config(i) for i in computation.instructions}
    estimates = {identity: window.estimated_cycles for identity, window in windows.items() if window}
    unknown = [
        instruction
        for instruction in computation.instructions
        if (estimates[instruction.id] is None if instruction.id in estimates else _works(instruction, shapes))
    ]
    copies = [i.shape for i in computation.instructions if i.opcode == "copy"]
    transposes = [i.shape for i in computation.instructions if i.opcode == "transpose"]
    moves = _asynchronous_moves(computation, computations)
    return Figures(
        cycles=sum(cycles for cycles in estimates.values() if cycles is not None),
        weighed_cycles=sum(
            WEIGHTS[kind_of(instruction, computations)] * cycles
            for instruction in computation.instructions
            if (cycles := estimates.get(instruction.id))
        ),
        kernels=len(estimates),
        unknown=len(unknown),
        unknown_bytes=sum(_bytes([i.shape, *(shapes[o] for o in set(i.operand_ids))]) for i in unknown),
        copies=len(copies),
        copy_bytes=_bytes(copies),
        asynchronous_copies=len(moves),
        asynchronous_copy_bytes=_bytes(moves),
        transposes=len(transposes),
        transpose_bytes=_bytes(transposes),
        vmem_bytes=max((_vmem_bytes(i, shapes) for i in computation.instructions), default=0),
    )


def _run(identity: int, computations: Computations, cycles: Mapping[int, int]) -> frozenset[int]:
    """Ids of the computation and of those that run with it: of a conditional's branches the dearest only.

    Args:
        identity: of the computation.
        computations: by id.
        cycles: of all executions of a computation, by id. (The TPU compiler gives each call a computation of its own.)
    """
    found = {identity}
    for instruction in computations[identity].instructions:
        if instruction.opcode in _RUNS_OTHERS:
            callees = [_run(callee, computations, cycles) for callee in instruction.called_computation_ids]
            if instruction.opcode == "conditional":
                callees = [max(callees, key=lambda branch: sum(cycles[callee] for callee in branch))]
            found.update(*callees)
    return frozenset(found)


def _works(instruction: Instruction, shapes: Mapping[int, xla_data_pb2.ShapeProto]) -> bool:
    """Whether an instruction without an estimate does anything that counts."""
    if instruction.opcode in _NO_WORK or instruction.opcode.endswith("-done"):
        return False
    if instruction.opcode == "custom-call" and instruction.custom_call_target in _NO_WORK_CALLS:
        return False
    touched = [instruction.shape, *(shapes[operand] for operand in instruction.operand_ids)]
    return any(math.prod(leaf.dimensions) > _SMALL for shape in touched for leaf in leaves(shape))


def _asynchronous_moves(
    computation: hlo_pb2.HloComputationProto, computations: Computations
) -> list[xla_data_pb2.ShapeProto]:
    """What is written: copy-start has (destination, source, context), async-start ((sources), destination, ...)."""
    moves = []
    for instruction in computation.instructions:
        if instruction.opcode == "copy-start":
            moves.append(instruction.shape.tuple_shapes[0])
        elif instruction.opcode == "async-start":
            callee = computations[instruction.called_computation_ids[0]]
            if any(inner.opcode in _SLICES for inner in callee.instructions if inner.id == callee.root_id):
                moves.append(instruction.shape.tuple_shapes[1])
    return moves


def _bytes(shapes: Iterable[xla_data_pb2.ShapeProto]) -> int:
    return sum(bytes_in(leaf, leaf.layout.memory_space) for shape in shapes for leaf in leaves(shape))


def _result_bytes(module: hlo_pb2.HloModuleProto) -> int:
    result = module.host_program_shape.result
    total = bytes_in(result, HBM)
    for alias in module.input_output_alias.entries:
        shape = result
        for index in alias.output_shape_index:
            shape = shape.tuple_shapes[index]
        total -= bytes_in(shape, HBM)
    return total


def _vmem_bytes(instruction: Instruction, shapes: Mapping[int, xla_data_pb2.ShapeProto]) -> int:
    """Bytes that VMEM holds while the instruction runs, at least."""
    if instruction.opcode in _NO_WORK or instruction.opcode.endswith(("-start", "-done")):
        return 0
    read = sum(bytes_in(shapes[operand], VMEM) for operand in set(instruction.operand_ids))
    written = bytes_in(instruction.shape, VMEM)
    notes = _compiler_notes(instruction)
    in_place = instruction.opcode in _IN_PLACE or bool(
        instruction.output_operand_aliasing or notes.get("aliasing_operands", {}).get("lists")
    )
    used = notes.get("used_scoped_memory_configs", [])
    scratch = max((int(part["size"]) for part in used if int(part["memory_space"]) == VMEM), default=0)
    return scratch + (max(read, written) if in_place else read + written)


def _compiler_notes(instruction: Instruction) -> dict[str, Any]:
    """The compiler's notes beside an instruction; those of a custom call are for its callee and may be anything."""
    if not instruction.backend_config or instruction.opcode == "custom-call":
        return {}
    notes: dict[str, Any] = json.loads(instruction.backend_config)  # `read_window_config` has checked it
    return notes
