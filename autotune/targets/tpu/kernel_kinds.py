"""Kinds of kernels, and how far the compiler's cycles for one kind are from those for another.

The cycles of a kernel rank its tiles well (Kendall's tau .91 on a real TPU v3), but a cycle of a copy is not as long as
one of a convolution. So wherever cycles of kernels are added, they are added twice: as the compiler states them, and
weighed by kind.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from autotune.hlo.modules import fused_instructions
from cost_model.features import PRODUCT_OPCODES
from protos import hlo_pb2


class KernelKind(enum.Enum):
    """What a kernel is made around."""

    PRODUCT = "product"  # a convolution or dot, with whatever is fused to it
    COPY = "copy"  # moves data into another layout, and nothing else
    RANDOM = "random numbers"
    OTHER = "other"  # elementwise work, reductions, ...


WEIGHTS: Final[Mapping[KernelKind, float]] = MappingProxyType(
    {KernelKind.PRODUCT: 1.0, KernelKind.COPY: 0.52, KernelKind.RANDOM: 0.43, KernelKind.OTHER: 1.0}
)
"""Time per cycle, relative to a cycle of a product. Measured on a TPU v3: kernels of TpuGraphs at the tile that the
compiler chooses (`python -m benchmarks.kernel_weights`). Three products took .95 to 1.57 of the nominal time of their
cycles, a copy .61, a kernel that draws random numbers .51. These are few, and of one generation; of the others nothing
is measured. Two kernels of other work took 1.2 and 1.5, but only a microsecond, much of which may be their start: they
stay at 1."""

_MOVES: Final = frozenset({"copy", "transpose"})
_RANDOM: Final = frozenset({"rng", "rng-bit-generator"})
_NO_WORK: Final = frozenset({"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "iota"})


def kind_of(
    instruction: hlo_pb2.HloInstructionProto, computations: Mapping[int, hlo_pb2.HloComputationProto]
) -> KernelKind:
    """What kind of kernel an instruction is.

    Args:
        instruction: one that the compiler tiles.
        computations: of its module, by id.
    """
    opcodes = {inner.opcode for inner in fused_instructions(instruction, computations)} or {instruction.opcode}
    work = opcodes - _NO_WORK - {"fusion"}
    if work & set(PRODUCT_OPCODES):
        return KernelKind.PRODUCT
    if work & _RANDOM:
        return KernelKind.RANDOM
    if work and work <= _MOVES:
        return KernelKind.COPY
    return KernelKind.OTHER
