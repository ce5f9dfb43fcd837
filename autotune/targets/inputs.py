"""Inputs for a program: what each parameter needs, decided in the parent; the arrays, made in the child.

Random numbers alone will not do. Integers that end up as indices must be valid (and spread over the table, or every
look-up hits the cache); weights of dots and convolutions must not let activations overflow through fifty layers,
because a comparison of NaN with NaN proves nothing; variances must be positive.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotune.errors import UnsupportedProgramError
from autotune.hlo.modules import entry_computation
from autotune.hlo.types import element_type_name, leaves, numpy_dtype, shape_bytes
from protos import hlo_pb2, xla_data_pb2

_TRANSPARENT = frozenset(
    {"reshape", "transpose", "convert", "broadcast", "copy", "slice", "bitcast", "concatenate", "reverse", "pad"}
    | {"all-gather", "optimization-barrier", "opt-barrier", "custom-call"}
)
"""Opcodes through which a parameter keeps its meaning (an index stays an index, a weight stays a weight)."""

_INTEGER_ARITHMETIC = frozenset({"add", "clamp", "select", "maximum", "minimum", "compare"})
"""Opcodes through which an index still flows (jax wraps negative indices with compare, add and select)."""


@dataclass(frozen=True)
class InputSpec:
    """How to fill one array that the program takes (tuple parameters are flattened, in order).

    Attributes:
        dtype: name of a numpy or ml_dtypes dtype.
        dimensions: of the array.
        low, high: uniform over [low, high); for integers high is exclusive as well.
    """

    dtype: str
    dimensions: tuple[int, ...]
    low: float
    high: float

    @property
    def nbytes(self) -> int:
        """Size of the array in host memory."""
        return math.prod(self.dimensions) * numpy_dtype(self.dtype).itemsize


def input_specs(module: hlo_pb2.HloModuleProto) -> list[InputSpec]:
    """Decide how to fill every entry parameter.

    Raises:
        UnsupportedProgramError: a parameter is a token, opaque, or of a type that numpy cannot hold.
    """
    entry = entry_computation(module)
    users: dict[int, list[tuple[hlo_pb2.HloInstructionProto, int]]] = defaultdict(list)
    for instruction in entry.instructions:
        for position, operand in enumerate(instruction.operand_ids):
            users[operand].append((instruction, position))
    shapes = {instruction.id: instruction.shape for instruction in entry.instructions}
    parameters = sorted((i for i in entry.instructions if i.opcode == "parameter"), key=lambda i: i.parameter_number)
    specs = []
    for parameter in parameters:
        uses = list(_uses(parameter.id, users))
        for shape in leaves(parameter.shape):
            specs.append(_spec(parameter.name, shape, uses, shapes))
    return specs


def make_inputs(specs: list[InputSpec], seed: int) -> Iterator[NDArray[np.generic]]:
    """Fill the arrays, one at a time (the caller may hand each to the device before the next is made)."""
    for index, spec in enumerate(specs):
        rng = np.random.default_rng([seed, index])
        dtype = numpy_dtype(spec.dtype)
        if spec.dtype == "bool":
            yield rng.integers(0, 2, spec.dimensions).astype(dtype)
        elif _is_integer(spec.dtype):
            yield rng.integers(int(spec.low), int(spec.high), spec.dimensions).astype(dtype)
        elif dtype.kind == "c":
            parts = [rng.uniform(spec.low, spec.high, spec.dimensions) for _ in range(2)]
            yield (parts[0] + 1j * parts[1]).astype(dtype)
        else:
            values = rng.random(spec.dimensions, dtype=np.float32) * np.float32(spec.high - spec.low)
            yield (values + np.float32(spec.low)).astype(dtype)


def describe_bytes(count: int) -> str:
    """A size for people: 1.5 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def _is_integer(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


def _uses(
    start: int, users: dict[int, list[tuple[hlo_pb2.HloInstructionProto, int]]]
) -> Iterator[tuple[hlo_pb2.HloInstructionProto, int]]:
    """Every (instruction, operand position) that a parameter reaches through transparent instructions."""
    seen = {start}
    pending = [start]
    while pending:
        for instruction, position in users.get(pending.pop(), ()):
            yield instruction, position
            through = instruction.opcode in _TRANSPARENT or (
                instruction.opcode in _INTEGER_ARITHMETIC and _is_integral(instruction.shape)
            )
            if through and instruction.id not in seen:
                seen.add(instruction.id)
                pending.append(instruction.id)


def _is_integral(shape: xla_data_pb2.ShapeProto) -> bool:
    name = element_type_name(shape)
    return name[0] in "su" and name[1:].isdigit()


def _spec(
    parameter: str,
    shape: xla_data_pb2.ShapeProto,
    uses: list[tuple[hlo_pb2.HloInstructionProto, int]],
    shapes: dict[int, xla_data_pb2.ShapeProto],
) -> InputSpec:
    name = element_type_name(shape)
    try:
        dtype = numpy_dtype(name)
    except KeyError:
        raise UnsupportedProgramError(
            f"parameter {parameter!r} has element type {name}, for which no input can be made on this host"
        ) from None
    dimensions = tuple(shape.dimensions)
    if name == "pred" or dtype.kind == "b":
        return InputSpec("bool", dimensions, 0, 2)
    if _is_integral(shape):
        bounds = [bound for instruction, position in uses for bound in _index_bounds(instruction, position, shapes)]
        high = max(1, min(bounds)) if bounds else 2
        return InputSpec(dtype.name, dimensions, 0, min(high, _integer_limit(name)))
    fan_in = max((_fan_in(instruction, position, shapes) for instruction, position in uses), default=0)
    if fan_in:
        # Variance 1 / fan_in keeps the variance of what flows through (Glorot and Bengio, 2010).
        limit = math.sqrt(3.0 / fan_in) if math.prod(dimensions) > 1 else 1.0
        return InputSpec(dtype.name, dimensions, -limit, limit)
    return InputSpec(dtype.name, dimensions, 0.1, 1.0)


def _integer_limit(name: str) -> int:
    bits = int(name[1:])
    return 1 << (bits - 1 if name[0] == "s" else bits)


def _index_bounds(
    instruction: hlo_pb2.HloInstructionProto, position: int, shapes: dict[int, xla_data_pb2.ShapeProto]
) -> list[int]:
    """Exclusive upper bounds that make operand `position` a valid index of `instruction`."""
    operand = shapes[instruction.operand_ids[0]].dimensions if instruction.operand_ids else ()
    match instruction.opcode:
        case "gather" if position == 1:
            sizes = instruction.gather_slice_sizes
            dims = instruction.gather_dimension_numbers.start_index_map
            return [operand[dim] - sizes[dim] + 1 for dim in dims]
        case "scatter" if position == len(instruction.operand_ids) // 2:
            return [operand[dim] for dim in instruction.scatter_dimension_numbers.scatter_dims_to_operand_dims]
        case "dynamic-slice" if position >= 1:
            return [operand[position - 1] - instruction.dynamic_slice_sizes[position - 1] + 1]
        case "dynamic-update-slice" if position >= 2:
            update = shapes[instruction.operand_ids[1]].dimensions
            return [operand[position - 2] - update[position - 2] + 1]
        case _:
            return []


def _fan_in(instruction: hlo_pb2.HloInstructionProto, position: int, shapes: dict[int, xla_data_pb2.ShapeProto]) -> int:
    """How many products are summed for one output, where `position` is an operand of a dot or a convolution."""
    if instruction.opcode == "dot":
        numbers = instruction.dot_dimension_numbers
        operand = shapes[instruction.operand_ids[0]].dimensions
        return math.prod(operand[dim] for dim in numbers.lhs_contracting_dimensions)
    if instruction.opcode == "convolution" and position == 1:
        dimension = instruction.convolution_dimension_numbers
        kernel = shapes[instruction.operand_ids[1]].dimensions
        summed = (*dimension.kernel_spatial_dimensions, dimension.kernel_input_feature_dimension)
        return math.prod(kernel[d] for d in summed)
    return 0


def total_bytes(module: hlo_pb2.HloModuleProto) -> tuple[int, int]:
    """Bytes of the entry parameters and of the entry results."""
    program_shape = module.host_program_shape
    arguments = sum(shape_bytes(shape) for shape in program_shape.parameters)
    return arguments, shape_bytes(program_shape.result)
