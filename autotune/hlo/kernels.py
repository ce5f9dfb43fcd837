"""Taking an optimised TPU program apart: one small program per kernel, as the TpuGraphs data set has them.

A kernel is one instruction of a computation that runs (the entry, the body of a loop, ...) together with what it
calls. Its program has the instruction's operands as parameters, with the layouts that they have in the whole program.
What belongs to the surrounding program is left out: the memory that a value is kept in, source lines, sharding, the
compiler's decisions. The program has a schedule, so it is to be compiled with `run_backend_only`: then the kernel is
neither rewritten nor renamed (passes before that replace a forced `copy` by one of their own).

Alone, a kernel finds all operands in HBM, where the program may have had them in VMEM. The compiler then picks other
tiles for some, and other cycles for most; with VMEM assignment off (`xla_vf_vmem_memory_space_assignment=false`) both
are the same alone as in the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from autotune.hlo.fingerprint import fingerprint
from autotune.hlo.loops import count_executions
from autotune.hlo.modules import entry_computation
from autotune.hlo.optimised import is_optimised
from autotune.hlo.window_config import WindowConfig, read_window_config
from protos import hlo_pb2, xla_data_pb2

_PASSED_ON = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "add-dependency", "opt-barrier", "domain")
)
_CONTROL = frozenset(("while", "call", "conditional", "after-all", "partition-id", "replica-id", "infeed", "outfeed"))
"""Opcodes that run other computations, order them, or ask the outside world."""

_BUFFER_CALLS = frozenset(("AllocateBuffer", "ConcatBitcast"))
"""Custom calls by which the TPU compiler names pieces of memory."""

_COMMUNICATION = ("all-", "collective-", "reduce-scatter", "ragged-all-to-all", "send", "recv")
_ASYNCHRONOUS = ("-start", "-update", "-done")
"""The memory system's work, beside the kernels."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of an optimised program.

    Attributes:
        name: of the instruction, in the program and in `module`.
        opcode: of the instruction: "fusion", "copy", "convolution", ...
        module: the kernel alone, without a tile: the entry is the instruction of parameters.
        window: the tile that the compiler chose in the program, or None if this kind of kernel has none.
        executions: how often the kernel runs in one execution of the program (loops of unknown length count once).
    """

    name: str
    opcode: str
    module: hlo_pb2.HloModuleProto
    window: WindowConfig | None
    executions: int

    @cached_property
    def fingerprint(self) -> str:
        """Equal for kernels that are the same program, wherever they stand: 32 hexadecimal digits."""
        return fingerprint(self.module.SerializeToString(deterministic=True))


def split_kernels(optimised: hlo_pb2.HloModuleProto) -> list[Kernel]:
    """The kernels of a program, in the order of the file.

    Args:
        optimised: as the TPU compiler returns it, or just before memory space assignment (no kernel has a tile yet);
            not changed.

    Raises:
        ToolchainError: a tile is written in a form that is not known.
    """
    program = hlo_pb2.HloModuleProto()
    program.CopyFrom(optimised)
    counts = count_executions(program).counts
    windows = {i.id: read_window_config(i) for c in program.computations if c.id in counts for i in c.instructions}
    for computation in program.computations:
        _detach(computation)
    callees = {computation.id: computation for computation in program.computations}
    kernels = []
    for computation in program.computations:
        if computation.id not in counts:
            continue
        by_id = {instruction.id: instruction for instruction in computation.instructions}
        for instruction in computation.instructions:
            if _is_kernel(instruction):
                operands = [by_id[identity] for identity in instruction.operand_ids]
                module = _standalone(instruction, operands, callees)
                window, executions = windows[instruction.id], counts[computation.id]
                kernels.append(Kernel(instruction.name, instruction.opcode, module, window, executions))
    return kernels


def is_one_kernel(module: hlo_pb2.HloModuleProto) -> bool:
    """Whether a program is a kernel that a compiler has made: optimised, and one instruction of parameters.

    The kernels of TpuGraphs are such programs, and so are those of `split_kernels`.
    """
    if not is_optimised(module):
        return False
    working = [each for each in entry_computation(module).instructions if each.opcode != "parameter"]
    return len(working) == 1 and _is_kernel(working[0])


def _is_kernel(instruction: hlo_pb2.HloInstructionProto) -> bool:
    opcode = instruction.opcode
    if opcode in _PASSED_ON | _CONTROL or opcode.startswith(_COMMUNICATION) or opcode.endswith(_ASYNCHRONOUS):
        return False
    if opcode == "custom-call":
        return instruction.custom_call_target not in _BUFFER_CALLS
    # A counter of a loop or the like is not the vector unit's work.
    return opcode == "fusion" or bool(instruction.shape.dimensions or instruction.shape.tuple_shapes)


def _standalone(
    instruction: hlo_pb2.HloInstructionProto,
    operands: Iterable[hlo_pb2.HloInstructionProto],
    callees: dict[int, hlo_pb2.HloComputationProto],
) -> hlo_pb2.HloModuleProto:
    """The program of one instruction; an operand that is used twice is one parameter."""
    needed = _reached(instruction, callees)
    entry = hlo_pb2.HloComputationProto(name="main", id=max(needed, default=0) + 1)
    parameters: dict[int, int] = {}  # id of the operand -> id of the parameter
    for operand in operands:
        if operand.id not in parameters:
            number = len(parameters)
            parameter = entry.instructions.add(name=f"operand{number}", opcode="parameter", parameter_number=number)
            parameter.id = parameters[operand.id] = _identity(entry, number)
            parameter.shape.CopyFrom(operand.shape)
            entry.program_shape.parameters.add().CopyFrom(operand.shape)
            entry.program_shape.parameter_names.append(parameter.name)
    root = entry.instructions.add()
    root.CopyFrom(instruction)
    root.id = entry.root_id = _identity(entry, len(parameters))
    root.operand_ids[:] = [parameters[identity] for identity in instruction.operand_ids]
    entry.program_shape.result.CopyFrom(instruction.shape)
    module = hlo_pb2.HloModuleProto(
        name=f"kernel_{instruction.name}", entry_computation_name=entry.name, entry_computation_id=entry.id
    )
    module.computations.extend(computation for identity, computation in callees.items() if identity in needed)
    module.computations.append(entry)
    module.host_program_shape.CopyFrom(entry.program_shape)
    module.input_output_alias.SetInParent()  # XLA writes both even when they are empty; a file is read by that
    module.buffer_donor.SetInParent()
    schedule_in_file_order(module)
    return module


def schedule_in_file_order(module: hlo_pb2.HloModuleProto) -> None:
    """Give a module without a schedule the order of the file: the compiler's backend does not begin without one."""
    for computation in module.computations:
        if not computation.is_fusion_computation:
            order = [each.id for each in computation.instructions]
            module.schedule.sequences[computation.id].instruction_ids.extend(order)


def _identity(computation: hlo_pb2.HloComputationProto, number: int) -> int:
    """An instruction's id: XLA puts the computation's id in the upper half."""
    return computation.id << 32 | number


def _reached(
    instruction: hlo_pb2.HloInstructionProto, callees: dict[int, hlo_pb2.HloComputationProto]
) -> frozenset[int]:
    """Ids of the computations that an instruction calls, and that those call."""
    found: set[int] = set()
    waiting = list(instruction.called_computation_ids)
    while waiting:
        identity = waiting.pop()
        if identity not in found:
            found.add(identity)
            waiting += [called for i in callees[identity].instructions for called in i.called_computation_ids]
    return frozenset(found)


def _detach(computation: hlo_pb2.HloComputationProto) -> None:
    """Leave out what ties instructions to the program around them."""
    for shape in (*computation.program_shape.parameters, computation.program_shape.result):
        _drop_memory_space(shape)
    for instruction in computation.instructions:
        for name in ("metadata", "statistics_viz", "original_value", "sharding", "frontend_attributes"):
            instruction.ClearField(name)
        del instruction.control_predecessor_ids[:]
        if instruction.opcode != "custom-call" and instruction.fusion_kind != "kCustom":
            instruction.ClearField("backend_config")  # what the compiler decided, the tile among it
        _drop_memory_space(instruction.shape)
        for shape in instruction.operand_shapes_with_layout:
            _drop_memory_space(shape)
        if instruction.HasField("literal"):
            _drop_memory_space(instruction.literal.shape)


def _drop_memory_space(shape: xla_data_pb2.ShapeProto) -> None:
    if shape.HasField("layout"):
        shape.layout.memory_space = 0
    for part in shape.tuple_shapes:
        _drop_memory_space(part)
