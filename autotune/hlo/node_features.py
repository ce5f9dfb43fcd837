"""The features of instructions, worked out once for every kind of instruction in a program.

Large programs repeat themselves: but for names, operands and metadata, the 43,714 instructions of a Mixtral are of
1,400 kinds. To tell kinds apart takes a small part of the time that reading every field of every instruction would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from cost_model import features
from protos import hlo_pb2, xla_data_pb2

Instructions = Sequence[hlo_pb2.HloInstructionProto]

_FIELDS = frozenset(
    {
        "opcode",
        "shape",
        "parameter_number",
        "dimensions",
        "window",
        "convolution_dimension_numbers",
        "slice_dimensions",
        "dynamic_slice_sizes",
        "padding_config",
        "feature_group_count",
        "batch_group_count",
        "is_stable",
    }
)
"""All that features are made of: no other field can be read below."""


def node_features(module: bytes) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Makes the columns of every node that depend on its instruction alone.

    Args:
        module: a serialized HloModuleProto that is known to be intact.

    Returns:
        `node_feat`, float32[n, 140], with `IS_ROOT` still 0, and `node_opcode`, uint8[n].
    """
    kinds, kind_of_node = _kinds(module)
    known = features.OPCODE_IDS
    opcodes = np.array([known.get(each.opcode, features.UNKNOWN_OPCODE) for each in kinds], dtype=np.uint8)
    return _features(kinds)[kind_of_node], opcodes[kind_of_node]


# ---- Kinds ----------------------------------------------------------------------------------------------------------


def _kinds(module: bytes) -> tuple[list[hlo_pb2.HloInstructionProto], NDArray[np.int64]]:
    """One instruction of each kind, with `_FIELDS` only, and the position of every node's kind in that list."""
    reduced = _REDUCED_MODULE.FromString(module)
    reduced.DiscardUnknownFields()
    positions: dict[bytes, int] = {}
    kind_of_node = [
        positions.setdefault(instruction.SerializeToString(), len(positions))
        for computation in reduced.computations
        for instruction in computation.instructions
    ]
    kinds = [hlo_pb2.HloInstructionProto.FromString(kind) for kind in positions]
    return kinds, np.array(kind_of_node, dtype=np.int64)


def _reduced_module() -> Any:
    """A message class that reads the bytes of an HloModuleProto and knows no more of its instructions than `_FIELDS`.

    On the wire a field is a number without a name, so any message that has the wanted fields may read the bytes; what
    it does not know is dropped in one call.
    """
    instruction = descriptor_pb2.DescriptorProto()
    hlo_pb2.HloInstructionProto.DESCRIPTOR.CopyToProto(instruction)
    package = f"{hlo_pb2.DESCRIPTOR.package}.reduced"
    file = descriptor_pb2.FileDescriptorProto(name=f"{__name__}.proto", package=package, syntax="proto3")
    file.dependency.extend(each.name for each in hlo_pb2.DESCRIPTOR.dependencies)
    file.message_type.add(name="Instruction", field=[each for each in instruction.field if each.name in _FIELDS])
    for name, parent, field, child in (
        ("Computation", hlo_pb2.HloComputationProto, "instructions", "Instruction"),
        ("Module", hlo_pb2.HloModuleProto, "computations", "Computation"),
    ):
        file.message_type.add(name=name).field.add(
            name=field,
            number=parent.DESCRIPTOR.fields_by_name[field].number,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            type_name=f".{package}.{child}",
        )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Module"))


_REDUCED_MODULE = _reduced_module()


# ---- Columns --------------------------------------------------------------------------------------------------------


def _features(instructions: Instructions) -> NDArray[np.float32]:
    result = np.zeros((len(instructions), features.NODE_FEATURES), dtype=np.float32)
    everywhere = np.arange(len(instructions))
    shapes = [each.shape for each in instructions]

    types = _ELEMENT_TYPE_COLUMN[np.minimum([each.element_type for each in shapes], len(_ELEMENT_TYPE_COLUMN) - 1)]
    result[everywhere[types >= 0], types[types >= 0]] = 1
    result[:, features.TUPLE_SHAPES] = [len(each.tuple_shapes) for each in shapes]
    result[:, features.PARAMETER_NUMBER] = [each.parameter_number for each in instructions]
    result[:, features.FEATURE_GROUP_COUNT] = [each.feature_group_count for each in instructions]
    result[:, features.BATCH_GROUP_COUNT] = [each.batch_group_count for each in instructions]
    result[:, features.IS_STABLE] = [each.is_stable for each in instructions]

    _put(result, everywhere, features.SHAPE_DIMENSIONS, [each.dimensions for each in shapes])
    _put(result, everywhere, features.MINOR_TO_MAJOR, [each.layout.minor_to_major for each in shapes])
    _put(result, everywhere, features.DIMENSIONS, [each.dimensions for each in instructions])
    _put(result, everywhere, features.DYNAMIC_SLICE_SIZES, [each.dynamic_slice_sizes for each in instructions])
    _put_windows(result, instructions)
    _put_convolutions(result, instructions)
    _put_slices(result, instructions)
    _put_paddings(result, instructions)
    return result


def _element_type_columns() -> NDArray[np.int64]:
    """The one-hot column of every `PrimitiveType` by its number; -1 where there is none. The last entry is a -1."""
    numbers = {
        name: xla_data_pb2.PrimitiveType.Value("PRIMITIVE_TYPE_INVALID" if name == "INVALID" else name)
        for name in features.ELEMENT_TYPES
    }
    columns = np.full(max(numbers.values()) + 2, -1, dtype=np.int64)
    for position, name in enumerate(features.ELEMENT_TYPES):
        columns[numbers[name]] = features.ELEMENT_TYPE.start + position
    return columns


_ELEMENT_TYPE_COLUMN = _element_type_columns()


def _put(
    result: NDArray[np.float32], owners: NDArray[np.intp], columns: features.ListColumns, lists: Iterable[Sequence[int]]
) -> None:
    """Fills the columns of one repeated field.

    Sums and products run over all entries in 64-bit integers (which wrap, as in C++) before they become float32. The
    product of an empty list is 1, for nodes of every kind.

    Args:
        result: the node features, changed in place.
        owners: nodes that may have entries.
        columns: the field's columns.
        lists: the entries, one list per owner.
    """
    lists = list(lists)
    if columns.summarised:
        result[:, columns.product] = 1
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    total = int(lengths.sum())
    if total == 0:
        return
    values = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=total)
    starts = np.cumsum(lengths) - lengths
    for entry in range(min(columns.kept, int(lengths.max()))):
        long_enough = lengths > entry
        result[owners[long_enough], columns.start + entry] = values[starts[long_enough] + entry]
    if columns.summarised:
        full = lengths > 0
        result[owners[full], columns.sum] = np.add.reduceat(values, starts[full])
        result[owners[full], columns.product] = np.multiply.reduceat(values, starts[full])


_WINDOW_FIELDS = (
    (features.WINDOW_SIZE, "size"),
    (features.WINDOW_STRIDE, "stride"),
    (features.WINDOW_PADDING_LOW, "padding_low"),
    (features.WINDOW_PADDING_HIGH, "padding_high"),
    (features.WINDOW_DILATION, "window_dilation"),
    (features.WINDOW_BASE_DILATION, "base_dilation"),
    (features.WINDOW_REVERSAL, "window_reversal"),
)


def _put_windows(result: NDArray[np.float32], instructions: Instructions) -> None:
    present = [node for node, each in enumerate(instructions) if each.HasField("window")]
    owners = np.array(present, dtype=np.intp)
    windows = [instructions[node].window.dimensions for node in present]
    for columns, field in _WINDOW_FIELDS:
        _put(result, owners, columns, _pluck(windows, field))
    reversed_counts = [sum(dimension.window_reversal for dimension in window) for window in windows]
    result[owners, features.WINDOW_REVERSAL_TRUE] = reversed_counts
    result[owners, features.WINDOW_REVERSAL_FALSE] = [
        len(window) - count for window, count in zip(windows, reversed_counts, strict=True)
    ]


def _put_convolutions(result: NDArray[np.float32], instructions: Instructions) -> None:
    present = [node for node, each in enumerate(instructions) if each.HasField("convolution_dimension_numbers")]
    owners = np.array(present, dtype=np.intp)
    numbers = [instructions[node].convolution_dimension_numbers for node in present]
    result[owners, features.INPUT_BATCH] = [each.input_batch_dimension for each in numbers]
    result[owners, features.INPUT_FEATURE] = [each.input_feature_dimension for each in numbers]
    result[owners, features.KERNEL_INPUT_FEATURE] = [each.kernel_input_feature_dimension for each in numbers]
    result[owners, features.KERNEL_OUTPUT_FEATURE] = [each.kernel_output_feature_dimension for each in numbers]
    result[owners, features.OUTPUT_BATCH] = [each.output_batch_dimension for each in numbers]
    result[owners, features.OUTPUT_FEATURE] = [each.output_feature_dimension for each in numbers]
    _put(result, owners, features.INPUT_SPATIAL, [each.input_spatial_dimensions for each in numbers])
    _put(result, owners, features.KERNEL_SPATIAL, [each.kernel_spatial_dimensions for each in numbers])


def _put_slices(result: NDArray[np.float32], instructions: Instructions) -> None:
    everywhere = [each.slice_dimensions for each in instructions]
    present = [node for node, dimensions in enumerate(everywhere) if dimensions]
    owners = np.array(present, dtype=np.intp)
    slices = [everywhere[node] for node in present]
    _put(result, owners, features.SLICE_START, _pluck(slices, "start"))
    _put(result, owners, features.SLICE_STRIDE, _pluck(slices, "stride"))
    _put(result, owners, features.SLICE_LIMIT, _pluck(slices, "limit"))


def _put_paddings(result: NDArray[np.float32], instructions: Instructions) -> None:
    present = [node for node, each in enumerate(instructions) if each.HasField("padding_config")]
    owners = np.array(present, dtype=np.intp)
    paddings = [instructions[node].padding_config.dimensions for node in present]
    _put(result, owners, features.PADDING_LOW, _pluck(paddings, "edge_padding_low"))
    _put(result, owners, features.PADDING_HIGH, _pluck(paddings, "edge_padding_high"))


def _pluck(messages: Sequence[Sequence[Any]], field: str) -> list[list[int]]:
    """One integer field of every message in every list."""
    return [[getattr(message, field) for message in each] for each in messages]
