"""A program as the cost model sees it: the features of TpuGraphs, made from the fields of `HloModuleProto`.

Every instruction of every computation, in file order, is one node. Fields that most instructions have are read in one
sweep each and turned into columns at once; fields that few have are read only where they are present.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from autotune.errors import ProgramReadError
from cost_model import ProgramGraph, features
from protos import hlo_pb2, xla_data_pb2

if TYPE_CHECKING:
    from autotune.hlo.program import Program

Lists = Sequence[Sequence[int]]

# TpuGraphs cut programs for training at the ends of computations with these words in their names.
_SPLIT_WORDS = ("cluster", "while", "cond")

_CONFIGURABLE = np.array([features.OPCODE_IDS[name] for name in features.CONFIGURABLE_OPCODES], dtype=np.uint8)


def program_graph(program: Program | hlo_pb2.HloModuleProto | bytes) -> ProgramGraph:
    """Turns a program into a graph.

    Args:
        program: the program, its module, or the serialized module. Its configurable nodes are its convolution, dot and
            reshape instructions.

    Returns:
        The features, equal bit for bit to those of TpuGraphs for the same module.

    Raises:
        ProgramReadError: the bytes are no module, the module has no instructions, or one of them refers to another
            that does not exist.
    """
    module = _module(program)
    instructions = [instruction for computation in module.computations for instruction in computation.instructions]
    if not instructions:
        raise ProgramReadError(f"module {module.name!r}: expected at least one instruction, found none")
    counts = np.array([len(computation.instructions) for computation in module.computations], dtype=np.int64)
    nodes = _Nodes(module, instructions, counts)
    known = features.OPCODE_IDS
    opcodes = np.array([known.get(each.opcode, features.UNKNOWN_OPCODE) for each in instructions], dtype=np.uint8)
    return ProgramGraph(
        node_feat=_node_features(instructions, nodes),
        node_opcode=opcodes,
        edge_index=_edges(module, instructions, nodes),
        node_config_ids=np.flatnonzero(np.isin(opcodes, _CONFIGURABLE)).astype(np.int64),
        node_splits=_splits(module, counts),
    )


def _module(program: Program | hlo_pb2.HloModuleProto | bytes) -> hlo_pb2.HloModuleProto:
    if isinstance(program, hlo_pb2.HloModuleProto):
        return program
    if not isinstance(program, bytes):
        return program.proto
    try:
        return hlo_pb2.HloModuleProto.FromString(program)
    except DecodeError as error:
        raise ProgramReadError(f"{len(program)} bytes: expected a serialized HloModuleProto, found {error}") from None


class _Nodes:
    """Where every instruction stands: node index by (computation, instruction id).

    Instruction ids are unique within their computation; that they are unique within the module, too, was true of old
    XLA only, and operands stay within a computation.
    """

    def __init__(
        self, module: hlo_pb2.HloModuleProto, instructions: list[hlo_pb2.HloInstructionProto], counts: NDArray[np.int64]
    ) -> None:
        self._module = module
        self._instructions = instructions
        self.computation = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        ids = np.array([each.id for each in instructions], dtype=np.int64)
        self._ids, ranks = np.unique(ids, return_inverse=True)
        keys = self.computation * len(self._ids) + ranks
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        roots = [computation.root_id for computation in module.computations]
        full = np.flatnonzero(counts)
        self.roots = np.full(len(counts), -1, dtype=np.int64)
        self.roots[full] = self.find(full, np.array(roots, dtype=np.int64)[full], None)

    def find(
        self, computations: NDArray[np.int64], ids: NDArray[np.int64], users: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Node indices of instructions given by computation and id; `users` (nodes) serve the error message."""
        ranks = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        keys = computations * len(self._ids) + ranks
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        wrong = (self._ids[ranks] != ids) | (self._keys[places] != keys)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            if users is None:
                who = f"computation {self._module.computations[int(computations[first])].name!r} has a root"
            else:
                who = f"instruction {self._instructions[int(users[first])].name!r} has an operand"
            raise ProgramReadError(
                f"module {self._module.name!r}: {who} with id {ids[first]}, "
                "which is no instruction of the same computation; the file is damaged"
            )
        return self._order[places]


# ---- Node features --------------------------------------------------------------------------------------------------


def _node_features(instructions: list[hlo_pb2.HloInstructionProto], nodes: _Nodes) -> NDArray[np.float32]:
    result = np.zeros((len(instructions), features.NODE_FEATURES), dtype=np.float32)
    everywhere = np.arange(len(instructions))
    shapes = [each.shape for each in instructions]

    result[nodes.roots[nodes.roots >= 0], features.IS_ROOT] = 1
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


def _put_windows(result: NDArray[np.float32], instructions: list[hlo_pb2.HloInstructionProto]) -> None:
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


def _put_convolutions(result: NDArray[np.float32], instructions: list[hlo_pb2.HloInstructionProto]) -> None:
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


def _put_slices(result: NDArray[np.float32], instructions: list[hlo_pb2.HloInstructionProto]) -> None:
    everywhere = [each.slice_dimensions for each in instructions]
    present = [node for node, dimensions in enumerate(everywhere) if dimensions]
    owners = np.array(present, dtype=np.intp)
    slices = [everywhere[node] for node in present]
    _put(result, owners, features.SLICE_START, _pluck(slices, "start"))
    _put(result, owners, features.SLICE_STRIDE, _pluck(slices, "stride"))
    _put(result, owners, features.SLICE_LIMIT, _pluck(slices, "limit"))


def _put_paddings(result: NDArray[np.float32], instructions: list[hlo_pb2.HloInstructionProto]) -> None:
    present = [node for node, each in enumerate(instructions) if each.HasField("padding_config")]
    owners = np.array(present, dtype=np.intp)
    paddings = [instructions[node].padding_config.dimensions for node in present]
    _put(result, owners, features.PADDING_LOW, _pluck(paddings, "edge_padding_low"))
    _put(result, owners, features.PADDING_HIGH, _pluck(paddings, "edge_padding_high"))


def _pluck(messages: Sequence[Sequence[Any]], field: str) -> Lists:
    """One integer field of every message in every list."""
    return [[getattr(message, field) for message in each] for each in messages]


# ---- Edges and splits -----------------------------------------------------------------------------------------------


def _edges(
    module: hlo_pb2.HloModuleProto, instructions: list[hlo_pb2.HloInstructionProto], nodes: _Nodes
) -> NDArray[np.int64]:
    """Rows [user, producer]: distinct operands and the roots of called computations, sorted; int64[m, 2]."""
    users, ids = _flatten([each.operand_ids for each in instructions])
    producers = nodes.find(nodes.computation[users], ids, users)

    callers, called = _flatten([each.called_computation_ids for each in instructions])
    position = {computation.id: place for place, computation in enumerate(module.computations)}
    places = np.array([position.get(number, -1) for number in called.tolist()], dtype=np.int64)
    roots = np.where(places >= 0, nodes.roots[places], -1)
    if (roots < 0).any():
        first = int(np.flatnonzero(roots < 0)[0])
        raise ProgramReadError(
            f"module {module.name!r}: instruction {instructions[int(callers[first])].name!r} calls computation "
            f"{called[first]}, which is missing or empty; the file is damaged"
        )
    total = len(instructions)
    keys = np.unique(np.concatenate([users * total + producers, callers * total + roots]))
    return np.stack(np.divmod(keys, total), axis=1).astype(np.int64)


def _flatten(lists: Lists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All entries of all lists, and the list that each came from."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    values = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths), values


def _splits(module: hlo_pb2.HloModuleProto, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, the running count after each computation with a split word in its name, and the total; int64[k]."""
    running = np.cumsum(counts)
    cuts = [
        int(running[place])
        for place, computation in enumerate(module.computations)
        if any(word in computation.name for word in _SPLIT_WORDS)
    ]
    return np.array([0, *cuts, int(running[-1])], dtype=np.int64)
