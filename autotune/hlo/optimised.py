"""Undoing what a compiler did to a program, where that is exact.

A program dumped after optimisation has fusions, tiled layouts, a schedule and copies between memories. Compiling that
once more would mostly tune the other compiler's choices. What is undone here computes the same values: a fusion is a
call, tiles and memory spaces say where values lie and not which they are, and a bitcast is a permutation of elements.
Anything that another compiler would not understand is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from autotune.errors import UnsupportedProgramError
from autotune.hlo import bitcast
from protos import hlo_pb2, xla_data_pb2

ADVICE = (
    "dump it before optimisation instead: `jax.jit(f).lower(*arguments).as_text()`, or run the program with "
    "XLA_FLAGS='--xla_dump_to=FOLDER --xla_dump_hlo_as_text' and take the file named before_optimizations"
)

_OPTIMISED_OPCODES = frozenset({"fusion", "copy-start", "copy-done", "bitcast", "async-start"})
_BACKEND_CALL_PREFIXES = ("__", "Eigen", "xla.gpu.")
_BACKEND_CALLS = frozenset({"tpu_custom_call", "AllocateBuffer", "ConcatBitcast"})
_START, _UPDATE, _DONE = "-start", "-update", "-done"


def is_optimised(module: hlo_pb2.HloModuleProto) -> bool:
    """Whether a compiler has been at work: a schedule, fusions, tiles, memory spaces."""
    if module.HasField("schedule") and module.schedule.sequences:
        return True
    return any(
        instruction.opcode in _OPTIMISED_OPCODES or _has_compiled_layout(instruction.shape)
        for computation in module.computations
        for instruction in computation.instructions
    )


def unfuse(module: hlo_pb2.HloModuleProto, source: str) -> tuple[hlo_pb2.HloModuleProto, tuple[str, ...]]:
    """A program that computes the same and that any compiler may optimise afresh.

    Args:
        module: an optimised program; not changed.
        source: what messages call it.

    Returns:
        The new module, and what was done in a few words each.

    Raises:
        UnsupportedProgramError: something in it has no exact equivalent.
    """
    result = hlo_pb2.HloModuleProto()
    result.CopyFrom(module)
    _refuse_inexact(result, source)
    done: Counter[str] = Counter()
    identities = _Identities(result)
    for computation in result.computations:
        _undo_copies(computation, source, done)
        _undo_bitcasts(computation, identities, source, done)
        for instruction in computation.instructions:
            if instruction.opcode == "fusion":
                instruction.opcode = "call"
                instruction.ClearField("fusion_kind")
                del instruction.output_operand_aliasing[:]
                done["fusions became calls"] += 1
            if instruction.opcode != "custom-call":
                instruction.ClearField("backend_config")  # the other compiler's notes to itself
        computation.is_fusion_computation = False
    if sum(_plain_layout(shape) for shape in _shapes(result)):
        done["tiles and memory spaces removed from layouts"] += 1
    if result.schedule.sequences:
        done["schedule removed"] += 1
    result.ClearField("schedule")
    del result.cross_program_prefetches[:]
    if not done:
        return result, ()
    words = [f"{what} ({count})" if "became" in what else what for what, count in done.items()]
    return result, (f"optimisations undone: {', '.join(words)}",)


def _refuse_inexact(module: hlo_pb2.HloModuleProto, source: str) -> None:
    problems: Counter[str] = Counter()
    for computation in module.computations:
        for instruction in computation.instructions:
            opcode, target = instruction.opcode, instruction.custom_call_target
            if opcode == "fusion" and instruction.fusion_kind == "kCustom":
                problems["custom fusion"] += 1
            elif opcode == "custom-call" and (target in _BACKEND_CALLS or target.startswith(_BACKEND_CALL_PREFIXES)):
                problems[f"custom call {target!r}"] += 1
            elif opcode.endswith((_START, _UPDATE, _DONE)) and not opcode.startswith(("copy-", "send-", "recv-")):
                problems[opcode] += 1
    if problems:
        listed = ", ".join(f"{count} x {what}" for what, count in problems.most_common(5))
        raise UnsupportedProgramError(
            f"{source}: an optimised program that cannot be un-fused exactly ({listed}); {ADVICE}"
        )


def _undo_copies(computation: hlo_pb2.HloComputationProto, source: str, done: Counter[str]) -> None:
    """copy-done(copy-start(x)) -> copy(x)."""
    starts = {i.id: i for i in computation.instructions if i.opcode == "copy-start"}
    if not starts:
        return
    after: dict[int, list[int]] = {}
    for instruction in computation.instructions:
        if instruction.opcode == "copy-done" and instruction.operand_ids[0] in starts:
            start = starts[instruction.operand_ids[0]]
            after.setdefault(start.id, []).append(instruction.id)
            instruction.opcode = "copy"
            instruction.operand_ids[:] = start.operand_ids
            instruction.control_predecessor_ids.extend(start.control_predecessor_ids)
            done["asynchronous copies became copies"] += 1
    kept = [instruction for instruction in computation.instructions if instruction.id not in starts]
    for instruction in kept:
        if any(identity in starts for identity in instruction.operand_ids):
            raise UnsupportedProgramError(
                f"{source}: {instruction.opcode} {instruction.name!r} uses a copy-start, where only copy-done is "
                f"expected, so the program cannot be un-fused exactly; {ADVICE}"
            )
        predecessors = list(instruction.control_predecessor_ids)
        if any(identity in starts for identity in predecessors):
            moved = [other for identity in predecessors for other in after.get(identity, [identity])]
            instruction.control_predecessor_ids[:] = dict.fromkeys(i for i in moved if i != instruction.id)
    _replace_instructions(computation, kept)


def _undo_bitcasts(
    computation: hlo_pb2.HloComputationProto, identities: _Identities, source: str, done: Counter[str]
) -> None:
    """bitcast(x) -> reshapes and transposes of x; the last of them keeps the name and the id."""
    if not any(instruction.opcode == "bitcast" for instruction in computation.instructions):
        return
    shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
    instructions = []
    for instruction in computation.instructions:
        if instruction.opcode == "bitcast":
            operand = shapes[instruction.operand_ids[0]]
            steps = None
            dynamic = any(operand.is_dynamic_dimension) or any(instruction.shape.is_dynamic_dimension)
            if operand.element_type == instruction.shape.element_type and not dynamic:
                steps = bitcast.steps(operand, instruction.shape)
            if steps is None:
                raise UnsupportedProgramError(
                    f"{source}: bitcast {instruction.name!r} changes the type of elements or cuts tiles, so it cannot "
                    f"be undone exactly; {ADVICE}"
                )
            instructions += _as_instructions(instruction, steps, identities)
            done["bitcasts became reshapes and transposes"] += 1
        instructions.append(instruction)
    _replace_instructions(computation, instructions)


def _as_instructions(
    last: hlo_pb2.HloInstructionProto, steps: list[bitcast.Step], identities: _Identities
) -> list[hlo_pb2.HloInstructionProto]:
    """Turns a bitcast into the last of the steps (a copy without any), and returns new instructions for the others."""
    added: list[hlo_pb2.HloInstructionProto] = []
    for step in steps[:-1]:
        new = hlo_pb2.HloInstructionProto(
            name=f"{last.name}.step{len(added)}",
            opcode=step.opcode,
            id=identities.new(last.id),
            operand_ids=[added[-1].id] if added else last.operand_ids,
            dimensions=step.permutation,
        )
        new.metadata.CopyFrom(last.metadata)
        new.shape.element_type = last.shape.element_type
        new.shape.dimensions[:] = step.dimensions
        new.shape.is_dynamic_dimension[:] = [False] * len(step.dimensions)
        new.shape.layout.minor_to_major[:] = reversed(range(len(step.dimensions)))
        added.append(new)
    last.opcode = steps[-1].opcode if steps else "copy"
    last.dimensions[:] = steps[-1].permutation if steps else ()
    if added:
        last.operand_ids[:] = [added[-1].id]
    return added


class _Identities:
    """New ids for instructions: unique in the module, and of the computation (its id stands in the upper half)."""

    def __init__(self, module: hlo_pb2.HloModuleProto) -> None:
        used = [instruction.id for computation in module.computations for instruction in computation.instructions]
        self._local = max(identity & 0xFFFFFFFF for identity in used)

    def new(self, neighbour: int) -> int:
        """An id in the computation of the instruction `neighbour`."""
        self._local += 1
        return neighbour & ~0xFFFFFFFF | self._local


def _replace_instructions(
    computation: hlo_pb2.HloComputationProto, instructions: Iterable[hlo_pb2.HloInstructionProto]
) -> None:
    new = hlo_pb2.HloComputationProto(instructions=instructions)
    del computation.instructions[:]
    computation.instructions.MergeFrom(new.instructions)


def _shapes(module: hlo_pb2.HloModuleProto) -> Iterable[xla_data_pb2.ShapeProto]:
    for program in (module.host_program_shape, *(computation.program_shape for computation in module.computations)):
        yield from program.parameters
        yield program.result
    for computation in module.computations:
        for instruction in computation.instructions:
            yield instruction.shape
            yield from instruction.operand_shapes_with_layout
            if instruction.HasField("literal"):
                yield instruction.literal.shape


def _has_compiled_layout(shape: xla_data_pb2.ShapeProto) -> bool:
    layout = shape.layout
    if layout.tiles or layout.memory_space or layout.split_configs:
        return True
    return bool(shape.tuple_shapes) and any(map(_has_compiled_layout, shape.tuple_shapes))


def _plain_layout(shape: xla_data_pb2.ShapeProto) -> bool:
    """Keep of a layout only the order of dimensions (and the size of packed elements); whether that changed it."""
    changed = False
    if shape.layout.tiles or shape.layout.memory_space or shape.layout.split_configs:
        del shape.layout.tiles[:]
        del shape.layout.split_configs[:]
        shape.layout.memory_space = 0
        changed = True
    for part in shape.tuple_shapes:
        changed |= _plain_layout(part)
    return changed
