"""The matrix products of a program, each as a small program of its own.

XLA brings every dot into the form [batch,] m x k times k x n before it chooses how to compute it, so that is the form
they have here; what stands around them is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from autotune.hlo.types import element_type_name
from protos import hlo_pb2, xla_data_pb2


class Product(NamedTuple):
    """Extents of a product [batch,] m x k times k x n.

    Attributes:
        batch: how many products; 1 for one without a batch dimension.
        m: rows of the left-hand side.
        k: contracted.
        n: columns of the right-hand side.
        element_type: of operands and result.
    """

    batch: int
    m: int
    k: int
    n: int
    element_type: xla_data_pb2.PrimitiveType

    @property
    def name(self) -> str:
        """Such as "f32-4x128x64x64"."""
        return f"{_type_name(self.element_type)}-{self.batch}x{self.m}x{self.k}x{self.n}"

    def program(self) -> Program:
        """The product of two parameters."""
        batch = (self.batch,) if self.batch > 1 else ()
        lhs, rhs, result = (
            _shape(self.element_type, (*batch, *sizes))
            for sizes in ((self.m, self.k), (self.k, self.n), (self.m, self.n))
        )
        module = hlo_pb2.HloModuleProto(name=self.name, entry_computation_name="main", entry_computation_id=1)
        entry = module.computations.add(name="main", id=1)
        for number, (name, shape) in enumerate((("lhs", lhs), ("rhs", rhs))):
            operand = entry.instructions.add(name=name, opcode="parameter", parameter_number=number, id=number)
            operand.shape.CopyFrom(shape)
            entry.program_shape.parameters.add().CopyFrom(shape)
            entry.program_shape.parameter_names.append(name)
        dot = entry.instructions.add(name="dot", opcode="dot", id=2, operand_ids=[0, 1])
        dot.shape.CopyFrom(result)
        numbers = dot.dot_dimension_numbers
        numbers.lhs_contracting_dimensions.append(len(batch) + 1)
        numbers.rhs_contracting_dimensions.append(len(batch))
        for dimension in range(len(batch)):
            numbers.lhs_batch_dimensions.append(dimension)
            numbers.rhs_batch_dimensions.append(dimension)
        entry.root_id = dot.id
        entry.program_shape.result.CopyFrom(result)
        module.host_program_shape.CopyFrom(entry.program_shape)
        return Program(self.name, module.SerializeToString(deterministic=True), f"{self.name} (a matrix product)")


def matrix_products(module: hlo_pb2.HloModuleProto) -> list[Product]:
    """The distinct products of a program, those with most operations first.

    Args:
        module: before optimisation. Dots whose operands and result are of different types are left out.
    """
    shapes = {instruction.id: instruction.shape for instruction in instructions(module)}
    found = {
        product
        for instruction in instructions(module)
        if instruction.opcode == "dot"
        for product in [_product(instruction, *(shapes[operand] for operand in instruction.operand_ids[:2]))]
        if product is not None
    }
    return sorted(found, key=lambda each: (-each.batch * each.m * each.k * each.n, each))


def _product(
    dot: hlo_pb2.HloInstructionProto, lhs: xla_data_pb2.ShapeProto, rhs: xla_data_pb2.ShapeProto
) -> Product | None:
    if not lhs.element_type == rhs.element_type == dot.shape.element_type:
        return None
    numbers = dot.dot_dimension_numbers
    batch = math.prod(lhs.dimensions[d] for d in numbers.lhs_batch_dimensions)
    k = math.prod(lhs.dimensions[d] for d in numbers.lhs_contracting_dimensions)
    m, n = (math.prod(operand.dimensions) // max(batch * k, 1) for operand in (lhs, rhs))
    return Product(batch, m, k, n, lhs.element_type) if min(batch, m, k, n) > 0 else None


def _shape(element_type: xla_data_pb2.PrimitiveType, sizes: tuple[int, ...]) -> xla_data_pb2.ShapeProto:
    shape = xla_data_pb2.ShapeProto(element_type=element_type, dimensions=sizes)
    shape.is_dynamic_dimension.extend([False] * len(sizes))
    shape.layout.minor_to_major.extend(reversed(range(len(sizes))))
    return shape


def _type_name(element_type: xla_data_pb2.PrimitiveType) -> str:
    return element_type_name(xla_data_pb2.ShapeProto(element_type=element_type))
