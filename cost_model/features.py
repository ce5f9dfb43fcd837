"""The names and columns of every feature: the one place that knows "column 28 is the product of the dimensions".

The columns are those of the TpuGraphs data set (arXiv 2308.13490), which made them from fields of XLA's
`HloInstructionProto`. They never change: arrays written years ago must mean the same today.

A repeated field of any length becomes a fixed number of columns, `ListColumns`: its first entries (0 where there are
fewer), and for most fields the sum and the product of ALL its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SCHEMA_VERSION: Final = 1
"""Written into checkpoints; raised when a column or an opcode changes its meaning (appending an opcode does not)."""


@dataclass(frozen=True)
class ListColumns:
    """The columns of one repeated field.

    Attributes:
        name: name of one entry of the field.
        start: first column.
        kept: how many leading entries have a column of their own.
        summarised: whether the sum and the product of all entries follow.
    """

    name: str
    start: int
    kept: int
    summarised: bool = True

    @property
    def entries(self) -> slice:
        """The columns of the leading entries."""
        return slice(self.start, self.start + self.kept)

    @property
    def sum(self) -> int:
        """The column of the sum of all entries."""
        return self.start + self.kept

    @property
    def product(self) -> int:
        """The column of the product of all entries."""
        return self.start + self.kept + 1

    @property
    def stop(self) -> int:
        """One past the last column."""
        return self.start + self.kept + (2 if self.summarised else 0)

    def names(self) -> Iterator[str]:
        """The name of every column, in order."""
        yield from (f"{self.name}_{entry}" for entry in range(self.kept))
        if self.summarised:
            yield f"{self.name}_sum"
            yield f"{self.name}_product"


# ---- Opcodes --------------------------------------------------------------------------------------------------------

_OPCODE_NAMES: Final = """
abs add add-dependency after-all all-reduce all-to-all atan2 batch-norm-grad batch-norm-inference batch-norm-training
bitcast bitcast-convert broadcast call ceil cholesky clamp collective-permute count-leading-zeros compare complex
concatenate conditional constant convert convolution copy copy-done copy-start cosine custom-call divide domain dot
dynamic-slice dynamic-update-slice exponential exponential-minus-one fft floor fusion gather get-dimension-size
set-dimension-size get-tuple-element imag infeed iota is-finite log log-plus-one and not or xor map maximum minimum
multiply negate outfeed pad parameter partition-id popcnt power real recv recv-done reduce reduce-precision
reduce-window remainder replica-id reshape reverse rng rng-get-and-update-state rng-bit-generator round-nearest-afz
rsqrt scatter select select-and-scatter send send-done shift-left shift-right-arithmetic shift-right-logical sign sine
slice sort sqrt subtract tanh trace transpose triangular-solve tuple tuple-select while cbrt all-gather
collective-permute-start collective-permute-done logistic dynamic-reshape all-reduce-start all-reduce-done
reduce-scatter all-gather-start all-gather-done opt-barrier async-start async-update async-done round-nearest-even
stochastic-convert tan
"""

OPCODES: Final[tuple[str, ...]] = ("unknown", *_OPCODE_NAMES.split())
"""Opcode by id. Append only: an id, once given, is for ever. Id 0 stands for every name that is not in the table."""

OPCODE_IDS: Final[dict[str, int]] = {name: number for number, name in enumerate(OPCODES) if number > 0}
"""Id by opcode name, without an entry for unknown names: use `OPCODE_IDS.get(name, UNKNOWN_OPCODE)`."""

UNKNOWN_OPCODE: Final = 0

EMBEDDED_OPCODES: Final = 120
"""Rows of the published network's opcode embedding: ids 0 to 119. The rule for any other id (120, `tan`, and whatever
is appended later) is that it is embedded as `UNKNOWN_OPCODE`; a row that training has never touched stays unused."""

PRODUCT_OPCODES: Final[tuple[str, ...]] = ("convolution", "dot")
CONFIGURABLE_OPCODES: Final[tuple[str, ...]] = (*PRODUCT_OPCODES, "reshape")
"""Opcodes of the nodes whose layouts may be chosen."""

# ---- Element types --------------------------------------------------------------------------------------------------

ELEMENT_TYPE_BYTES: Final[dict[str, int]] = {
    "INVALID": 0, "PRED": 1, "S8": 1, "S16": 2, "S32": 4, "S64": 8, "U8": 1, "U16": 2, "U32": 4, "U64": 8,
    "F16": 2, "F32": 4, "F64": 8, "BF16": 2, "C64": 8, "C128": 16, "TUPLE": 0, "OPAQUE_TYPE": 0, "TOKEN": 0,
}  # fmt: skip
"""Bytes of one element, in the order of the one-hot columns. Newer types (8 bits and less) have no column."""

ELEMENT_TYPES: Final[tuple[str, ...]] = tuple(ELEMENT_TYPE_BYTES)
"""Element types in the order of the one-hot columns, named as in XLA's `PrimitiveType`."""

# ---- Node features --------------------------------------------------------------------------------------------------

IS_ROOT: Final = 0
ALWAYS_ZERO: Final = 1
ELEMENT_TYPE: Final = slice(2, 2 + len(ELEMENT_TYPES))
SHAPE_DIMENSIONS: Final = ListColumns("shape_dimension", 21, 6)
TUPLE_SHAPES: Final = 29
PARAMETER_NUMBER: Final = 30
DIMENSIONS: Final = ListColumns("dimension", 31, 6, summarised=False)
WINDOW_SIZE: Final = ListColumns("window_size", 37, 6)
WINDOW_STRIDE: Final = ListColumns("window_stride", 45, 6)
WINDOW_PADDING_LOW: Final = ListColumns("window_padding_low", 53, 6)
WINDOW_PADDING_HIGH: Final = ListColumns("window_padding_high", 61, 6)
WINDOW_DILATION: Final = ListColumns("window_dilation", 69, 6)
WINDOW_BASE_DILATION: Final = ListColumns("window_base_dilation", 77, 6)
WINDOW_REVERSAL: Final = ListColumns("window_reversal", 85, 6, summarised=False)
WINDOW_REVERSAL_TRUE: Final = 91
WINDOW_REVERSAL_FALSE: Final = 92
INPUT_BATCH: Final = 93
INPUT_FEATURE: Final = 94
INPUT_SPATIAL: Final = ListColumns("convolution_input_spatial", 95, 4, summarised=False)
KERNEL_INPUT_FEATURE: Final = 99
KERNEL_OUTPUT_FEATURE: Final = 100
KERNEL_SPATIAL: Final = ListColumns("convolution_kernel_spatial", 101, 4, summarised=False)
OUTPUT_BATCH: Final = 105
OUTPUT_FEATURE: Final = 106
FEATURE_GROUP_COUNT: Final = 107
BATCH_GROUP_COUNT: Final = 108
SLICE_START: Final = ListColumns("slice_start", 109, 2)
SLICE_STRIDE: Final = ListColumns("slice_stride", 113, 2)
SLICE_LIMIT: Final = ListColumns("slice_limit", 117, 2)
DYNAMIC_SLICE_SIZES: Final = ListColumns("dynamic_slice_size", 121, 2)
PADDING_LOW: Final = ListColumns("padding_low", 125, 2)
PADDING_HIGH: Final = ListColumns("padding_high", 129, 2)
IS_STABLE: Final = 133
MINOR_TO_MAJOR: Final = ListColumns("minor_to_major", 134, 6, summarised=False)

NODE_FEATURES: Final = 140

NODE_FEATURE_NAMES: Final[tuple[str, ...]] = (
    "is_root",
    "always_zero",
    *(f"element_type_{name}" for name in ELEMENT_TYPES),
    *SHAPE_DIMENSIONS.names(),
    "tuple_shapes",
    "parameter_number",
    *DIMENSIONS.names(),
    *WINDOW_SIZE.names(),
    *WINDOW_STRIDE.names(),
    *WINDOW_PADDING_LOW.names(),
    *WINDOW_PADDING_HIGH.names(),
    *WINDOW_DILATION.names(),
    *WINDOW_BASE_DILATION.names(),
    *WINDOW_REVERSAL.names(),
    "window_reversal_true",
    "window_reversal_false",
    "convolution_input_batch",
    "convolution_input_feature",
    *INPUT_SPATIAL.names(),
    "convolution_kernel_input_feature",
    "convolution_kernel_output_feature",
    *KERNEL_SPATIAL.names(),
    "convolution_output_batch",
    "convolution_output_feature",
    "feature_group_count",
    "batch_group_count",
    *SLICE_START.names(),
    *SLICE_STRIDE.names(),
    *SLICE_LIMIT.names(),
    *DYNAMIC_SLICE_SIZES.names(),
    *PADDING_LOW.names(),
    *PADDING_HIGH.names(),
    "is_stable",
    *MINOR_TO_MAJOR.names(),
)
"""The name of every node column."""

MAXIMUM_RANK: Final = SHAPE_DIMENSIONS.kept
"""Tensors of more dimensions than this are known by the first ones, the sum and the product only."""

# ---- Config features ------------------------------------------------------------------------------------------------

OUTPUT_LAYOUT: Final = ListColumns("output_minor_to_major", 0, 6, summarised=False)
FIRST_INPUT_LAYOUT: Final = ListColumns("first_input_minor_to_major", 6, 6, summarised=False)
SECOND_INPUT_LAYOUT: Final = ListColumns("second_input_minor_to_major", 12, 6, summarised=False)

LAYOUT_TENSORS: Final = (OUTPUT_LAYOUT, FIRST_INPUT_LAYOUT, SECOND_INPUT_LAYOUT)
"""The tensors of a configurable node whose minor-to-major order may be chosen, in column order."""

LAYOUT_FEATURES: Final = 18
LAYOUT_FEATURE_NAMES: Final[tuple[str, ...]] = tuple(name for group in LAYOUT_TENSORS for name in group.names())
"""The name of every layout column. A layout is padded with `UNDECIDED`."""

UNDECIDED: Final = -1
"""A layout column that holds no dimension. Six of them: the compiler decides."""

KERNEL_BOUNDS: Final = ListColumns("kernel_bound", 0, 6)
OUTPUT_BOUNDS: Final = ListColumns("output_bound", 8, 6)
INPUT_BOUNDS: Final = ListColumns("input_bound", 16, 6)

TILE_BOUNDS: Final = (KERNEL_BOUNDS, OUTPUT_BOUNDS, INPUT_BOUNDS)
"""The parts of a tile config, in column order."""

CPU_TILE_LANES: Final = KERNEL_BOUNDS.start + 2
"""The column of a CPU tile that says how many elements a vector has."""

TILE_FEATURES: Final = 24
TILE_FEATURE_NAMES: Final[tuple[str, ...]] = tuple(name for group in TILE_BOUNDS for name in group.names())
"""The name of every tile column. Absent bounds are 0, their sum and product too."""
