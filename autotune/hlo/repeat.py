"""A program that runs a kernel many times in one launch, so that the launch is not what a clock sees.

    repeat(executions, operands..., initial outputs...):
        count = 0
        while count < executions:
            outputs = kernel(operands)
            count += 1
        return outputs

The number of executions is an argument, so one compilation serves any number and no compiler can unroll the loop. Each
turn replaces all outputs of the one before, so none can be left out.

What a whole compiler would do is to take the kernel, which computes the same in every turn, out of the loop. XLA:CPU
does even where an `opt-barrier` stands before it (tried: it removes barriers before its last look at loops). So a guard
writes the first element of an operand anew in each turn, in place and with the value that it has, which the compiler
cannot know. The TPU compiler's backend alone (`run_backend_only`) moves nothing out of a loop, and goes without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from autotune.errors import SpaceError
from autotune.hlo.kernels import schedule_in_file_order
from autotune.hlo.modules import entry_computation
from protos import hlo_pb2, xla_data_pb2
from protos.xla_data_pb2 import PRED, S32, TUPLE, ShapeProto

PLAIN: Final[Mapping[int, ShapeProto]] = MappingProxyType({})

Instruction = hlo_pb2.HloInstructionProto


def repeat(
    kernel: hlo_pb2.HloModuleProto, scalars: Mapping[int, ShapeProto] = PLAIN, *, guarded: bool = True
) -> hlo_pb2.HloModuleProto:
    """Wrap a kernel in the loop above.

    Args:
        kernel: a program that is one instruction of parameters (`autotune.hlo.kernels`), none of which is a tuple; its
            result may be one. Not changed.
        scalars: the shapes s32[] and pred[] by element type, with the layouts that the compiler wants; plain without.
        guarded: False only for a compiler's backend that moves nothing out of a loop.

    Returns:
        A program with a schedule. Its parameters: s32[] how often; the kernel's, in order; arrays like its outputs, in
        which nothing is kept. Its results: the outputs of the last execution, as a tuple even if there is only one.

    Raises:
        SpaceError: the kernel is not one instruction of arrays, or has no operand to guard it with.
    """
    entry = entry_computation(kernel)
    root = next(each for each in entry.instructions if each.id == entry.root_id)
    parameters = sorted(
        (each for each in entry.instructions if each.opcode == "parameter"), key=lambda each: each.parameter_number
    )
    outputs = list(root.shape.tuple_shapes) if root.shape.element_type == TUPLE else [root.shape]
    arrays = [*(each.shape for each in parameters), *outputs]
    if len(parameters) + 1 != len(entry.instructions) or any(each.element_type == TUPLE for each in arrays):
        raise SpaceError(f"kernel {root.name!r} cannot be run in a loop: it is not one instruction of plain arrays")
    if guarded and not (parameters and parameters[0].shape.dimensions):
        raise SpaceError(f"kernel {root.name!r} cannot be run in a loop: its first operand has no elements to write")
    count, condition = (scalars.get(kind, _plain_scalar(kind)) for kind in (S32, PRED))
    # The guard's element comes last.
    state = [count, count, *arrays, *([_first_element(parameters[0].shape)] if guarded else [])]

    module = hlo_pb2.HloModuleProto()
    module.CopyFrom(kernel)
    module.ClearField("schedule")
    del module.computations[:]
    module.computations.extend(each for each in kernel.computations if each.id != entry.id)
    first = max(each.id for each in kernel.computations) + 1
    body = _body(first, state, root, parameters, guarded)
    more = _condition(first + 1, state, condition)
    start = _entry(first + 2, state, len(parameters), guarded, (body.proto.id, more.proto.id))
    module.computations.extend(each.proto for each in (body, more, start))
    module.entry_computation_id, module.entry_computation_name = start.proto.id, start.proto.name
    module.host_program_shape.CopyFrom(start.proto.program_shape)
    schedule_in_file_order(module)
    return module


class _Builder:
    """A computation that is being written."""

    def __init__(self, name: str, identity: int) -> None:
        self.proto = hlo_pb2.HloComputationProto(name=name, id=identity)

    def add(
        self, name: str, opcode: str, shape: ShapeProto, operands: Sequence[Instruction] = (), **fields: Any
    ) -> Instruction:
        new = self.proto.instructions.add(
            name=f"{self.proto.name}.{name}", opcode=opcode, operand_ids=[each.id for each in operands], **fields
        )
        new.id = self.proto.id << 32 | len(self.proto.instructions)
        new.shape.CopyFrom(shape)
        if opcode == "parameter":
            self.proto.program_shape.parameters.add().CopyFrom(shape)
            self.proto.program_shape.parameter_names.append(new.name)
        return new

    def part(self, whole: Instruction, index: int) -> Instruction:
        return self.add(
            f"part{len(self.proto.instructions)}",
            "get-tuple-element",
            whole.shape.tuple_shapes[index],
            [whole],
            tuple_index=index,
        )

    def integer(self, name: str, shape: ShapeProto, value: int) -> Instruction:
        new = self.add(name, "constant", shape)
        new.literal.shape.CopyFrom(shape)
        new.literal.s32s.append(value)
        return new

    def tuple_of(self, name: str, parts: Sequence[Instruction]) -> Instruction:
        return self.add(name, "tuple", _tuple([each.shape for each in parts]), parts)

    def end(self, root: Instruction) -> _Builder:
        self.proto.root_id = root.id
        self.proto.program_shape.result.CopyFrom(root.shape)
        return self


def _body(
    identity: int, state: Sequence[ShapeProto], kernel: Instruction, parameters: Sequence[Instruction], guarded: bool
) -> _Builder:
    """(count, executions, operands, outputs) -> (count + 1, executions, operands, new outputs)."""
    body = _Builder("body", identity)
    before = body.add("state", "parameter", _tuple(state))
    count, executions = body.part(before, 0), body.part(before, 1)
    following = body.add("next", "add", state[0], [count, body.integer("one", state[0], 1)])
    operands = [body.part(before, 2 + place) for place in range(len(parameters))]
    guard = [body.part(before, len(state) - 1)] if guarded else []
    if guarded:
        place = [body.integer("place", state[0], 0)] * len(operands[0].shape.dimensions)
        operands[0] = body.add("written", "dynamic-update-slice", operands[0].shape, [operands[0], *guard, *place])
    by_parameter = {parameter.id: operand for parameter, operand in zip(parameters, operands, strict=True)}
    run = body.proto.instructions.add()
    run.CopyFrom(kernel)  # under its own name, by which its tile is found again
    run.id = identity << 32 | len(body.proto.instructions)
    run.operand_ids[:] = [by_parameter[each].id for each in kernel.operand_ids]
    outputs = [run]
    if kernel.shape.element_type == TUPLE:
        outputs = [body.part(run, index) for index in range(len(kernel.shape.tuple_shapes))]
    return body.end(body.tuple_of("result", [following, executions, *operands, *outputs, *guard]))


def _condition(identity: int, state: Sequence[ShapeProto], result: ShapeProto) -> _Builder:
    condition = _Builder("condition", identity)
    now = condition.add("state", "parameter", _tuple(state))
    parts = [condition.part(now, 0), condition.part(now, 1)]
    return condition.end(condition.add("more", "compare", result, parts, comparison_direction="LT"))


def _entry(identity: int, state: Sequence[ShapeProto], operands: int, guarded: bool, called: Sequence[int]) -> _Builder:
    entry = _Builder("repeat", identity)
    end = len(state) - guarded
    arguments = [
        entry.add(f"argument{number}", "parameter", shape, parameter_number=number)
        for number, shape in enumerate(state[1:end])
    ]
    parts = [
        # What the loop writes to (outputs, and the guarded operand) must not be an argument.
        entry.add(f"copy{number}", "copy", argument.shape, [argument])
        if number > operands or (guarded and number == 1)
        else argument
        for number, argument in enumerate(arguments)
    ]
    if guarded:
        element = entry.add("element", "slice", state[-1], [arguments[1]])
        for _ in element.shape.dimensions:
            element.slice_dimensions.add(start=0, limit=1, stride=1)
        parts.append(element)
    start = entry.tuple_of("start", [entry.integer("zero", state[0], 0), *parts])
    loop = entry.add("loop", "while", start.shape, [start], called_computation_ids=called)
    return entry.end(entry.tuple_of("result", [entry.part(loop, index) for index in range(2 + operands, end)]))


def _first_element(shape: ShapeProto) -> ShapeProto:
    """An array of the same type, rank and layout with one element."""
    element = ShapeProto()
    element.CopyFrom(shape)
    element.dimensions[:] = [1] * len(shape.dimensions)
    return element


def _plain_scalar(element_type: int) -> ShapeProto:
    shape = ShapeProto(element_type=element_type)  # type: ignore[arg-type]
    shape.layout.SetInParent()
    return shape


def _tuple(parts: Sequence[xla_data_pb2.ShapeProto]) -> ShapeProto:
    return ShapeProto(element_type=TUPLE, tuple_shapes=parts)
