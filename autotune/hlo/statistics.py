"""What is in a program: counts, sizes, costs, and what could be changed about it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from autotune.errors import WorkerError
from autotune.hlo.modules import entry_computation, instructions
from autotune.hlo.program import Program
from autotune.hlo.types import leaves, shape_bytes, shape_text
from autotune.targets.isolation import run_in_child
from cost_model import features
from protos import hlo_pb2

_COST_TIME_LIMIT = 120.0
_LARGEST_WRITTEN_OUT = 10**4000
"""Python refuses to turn integers of more than 4,300 digits into text."""


@dataclass(frozen=True)
class Tensor:
    """A parameter or a result.

    Attributes:
        name: the parameter's name, or "result 0".
        shape: as HLO text writes it, such as "f32[8,128]".
        size: bytes without padding.
    """

    name: str
    shape: str
    size: int


@dataclass(frozen=True)
class ConfigurableNode:
    """An instruction whose tensors may be laid out in other ways.

    Attributes:
        index: of the node in the graph: instructions of all computations in file order.
        name: of the instruction.
        opcode: convolution, dot or reshape.
        output: shape of the result.
        inputs: shapes of the operands.
    """

    index: int
    name: str
    opcode: str
    output: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Costs:
    """XLA's own count of the work in a program.

    Attributes:
        flops: floating point operations.
        transcendentals: calls of functions such as exp or tanh.
        bytes_accessed: read and written by all instructions, before any fusion.
    """

    flops: float
    transcendentals: float
    bytes_accessed: float


@dataclass(frozen=True)
class ProgramStatistics:
    """What `autotune inspect` shows.

    Attributes:
        name: of the module.
        fingerprint: see `Program.fingerprint`.
        source: the file and its format.
        notes: what was done to the program while reading.
        computations: how many.
        instructions: how many, in all computations.
        opcodes: instructions by opcode, most frequent first.
        parameters: of the entry computation.
        results: the arrays that the entry computation returns.
        costs: None where XLA cannot count them.
        costs_missing: why there are none; "" if there are.
        configurable_nodes: convolutions, dots and reshapes.
        custom_calls: how often each target is called, most frequent first.
        replicas: copies of the program that run together.
        partitions: devices over which one copy is split.
    """

    name: str
    fingerprint: str
    source: str
    notes: tuple[str, ...]
    computations: int
    instructions: int
    opcodes: dict[str, int]
    parameters: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    costs: Costs | None
    costs_missing: str
    configurable_nodes: tuple[ConfigurableNode, ...]
    custom_calls: dict[str, int]
    replicas: int
    partitions: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the attributes under their names."""
        return dataclasses.asdict(self)


def statistics(program: Program) -> ProgramStatistics:
    """Counts what is in a program; XLA counts the costs in a child process meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        costs = executor.submit(_costs, program)
        return _statistics(program, program.fingerprint, costs)


def _statistics(
    program: Program, fingerprint: str, pending_costs: Future[tuple[Costs | None, str]]
) -> ProgramStatistics:
    module = program.proto
    everything = list(instructions(module))
    opcodes = Counter(instruction.opcode for instruction in everything)
    targets = Counter(i.custom_call_target for i in everything if i.opcode == "custom-call")
    costs, costs_missing = pending_costs.result()
    return ProgramStatistics(
        name=program.name,
        fingerprint=fingerprint,
        source=program.source,
        notes=program.notes,
        computations=len(module.computations),
        instructions=len(everything),
        opcodes=dict(opcodes.most_common()),
        parameters=_parameters(module),
        results=tuple(
            Tensor(f"result {index}", shape_text(shape), shape_bytes(shape))
            for index, shape in enumerate(leaves(module.host_program_shape.result))
        ),
        costs=costs,
        costs_missing=costs_missing,
        configurable_nodes=tuple(_configurable_nodes(module)),
        custom_calls=dict(targets.most_common()),
        replicas=max(1, module.device_assignment.replica_count),
        partitions=max(1, module.device_assignment.computation_count),
    )


def space_sizes(program: Program) -> dict[str, int | str]:
    """How many points each space of the program has.

    A target looks at the program as its compiler has it just before layout assignment; this is the program as read, so
    a search may find a few nodes more or less.

    Returns:
        By kind of space: the number of points, or text: why there is no choice, or the size of one too large to write.
    """
    from autotune.spaces.layout import LayoutSpace  # here, because spaces import this package
    from autotune.spaces.tile import GemmTileSpace, find_dot_kernel

    layout = LayoutSpace(program.proto).size
    kernel = find_dot_kernel(program.proto)
    sizes: dict[str, int | str] = {
        "layout": layout if layout > 1 else "no convolution, dot or reshape with a choice of layouts",
        "tile": kernel if isinstance(kernel, str) else GemmTileSpace(kernel).size,
    }
    return {
        kind: f"about 10^{math.log10(size):.0f} configs"
        if isinstance(size, int) and size > _LARGEST_WRITTEN_OUT
        else size
        for kind, size in sizes.items()
    }


def _parameters(module: hlo_pb2.HloModuleProto) -> tuple[Tensor, ...]:
    entry = entry_computation(module)
    parameters = sorted(
        (instruction for instruction in entry.instructions if instruction.opcode == "parameter"),
        key=lambda instruction: instruction.parameter_number,
    )
    return tuple(Tensor(i.name, shape_text(i.shape), shape_bytes(i.shape)) for i in parameters)


def _configurable_nodes(module: hlo_pb2.HloModuleProto) -> list[ConfigurableNode]:
    nodes = []
    index = 0
    for computation in module.computations:
        shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
        for instruction in computation.instructions:
            if instruction.opcode in features.CONFIGURABLE_OPCODES:
                inputs = tuple(shape_text(shapes[operand]) for operand in instruction.operand_ids)
                output = shape_text(instruction.shape)
                nodes.append(ConfigurableNode(index, instruction.name, instruction.opcode, output, inputs))
            index += 1
    return nodes


class _CostNames(NamedTuple):
    """What XLA's cost analysis calls the fields of `Costs`, in their order."""

    flops: str = "flops"
    transcendentals: str = "transcendentals"
    bytes_accessed: str = "bytes accessed"


def _costs(program: Program) -> tuple[Costs | None, str]:
    try:
        found: dict[str, float] = run_in_child(
            "autotune.hlo.jaxlib", "cost_analysis", program.module, time_limit=_COST_TIME_LIMIT
        )
    except WorkerError as error:
        return None, str(error).strip().splitlines()[0]
    values = [found.get(name, 0.0) for name in _CostNames()]
    if min(values) < 0:  # XLA's mark for a custom call whose work it does not know
        return None, "the program has custom calls whose work XLA does not know"
    return Costs(*values), ""
