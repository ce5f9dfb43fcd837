"""Features of programs: against values worked out by hand and, where it is there, against the published data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.errors import ProgramReadError
from autotune.hlo.graph import program_graph
from cost_model import ProgramGraph, features
from protos import hlo_pb2, xla_data_pb2

F32, BF16 = xla_data_pb2.F32, xla_data_pb2.BF16
Instruction = hlo_pb2.HloInstructionProto


def _instruction(
    number: int,
    opcode: str,
    dimensions: tuple[int, ...] = (),
    operands: tuple[int, ...] = (),
    called: int | None = None,
) -> Instruction:
    result = Instruction(id=number, name=f"i{number}", opcode=opcode, operand_ids=operands)
    result.shape.element_type = F32
    result.shape.dimensions.extend(dimensions)
    if called is not None:
        result.called_computation_ids.append(called)
    return result


def _module(*computations: tuple[str, int, list[Instruction]]) -> hlo_pb2.HloModuleProto:
    """A module of computations (name, id of the root, instructions) that are numbered from 100."""
    module = hlo_pb2.HloModuleProto(name="module", entry_computation_id=100 + len(computations) - 1)
    for place, (name, root, instructions) in enumerate(computations):
        computation = module.computations.add(name=name, id=100 + place, root_id=root)
        computation.instructions.extend(instructions)
    return module


def _around(instruction: bytes) -> bytes:
    """A serialized module around one serialized instruction (shorter than 128 bytes) with id 1."""
    computation = hlo_pb2.HloComputationProto(name="main", id=100, root_id=1).SerializeToString()
    computation += bytes([2 << 3 | 2, len(instruction)]) + instruction
    module = hlo_pb2.HloModuleProto(name="module", entry_computation_id=100).SerializeToString()
    return module + bytes([3 << 3 | 2, len(computation)]) + computation


def _one(instruction: Instruction) -> np.ndarray:
    """The features of a single instruction."""
    instruction.id = 1
    row: np.ndarray = program_graph(_module(("main", 1, [instruction]))).node_feat[0]
    return row


# ---- Nodes ----------------------------------------------------------------------------------------------------------


def test_shape_columns() -> None:
    instruction = _instruction(1, "iota", (2, 3, 4, 5, 6, 7, 8))
    instruction.shape.layout.minor_to_major.extend([6, 5, 4, 3, 2, 1, 0])
    row = _one(instruction)
    assert row[0] == 1
    assert np.flatnonzero(row[2:21]).tolist() == [11]  # F32 is the twelfth type
    assert row[21:29].tolist() == [2, 3, 4, 5, 6, 7, 35, 40320]  # sum and product run over all seven
    assert row[134:140].tolist() == [6, 5, 4, 3, 2, 1]


def test_absent_fields() -> None:
    row = _one(_instruction(1, "parameter"))
    ones = [0, 13, 28, *range(44, 85, 8), 112, 116, 120, 124, 128, 132]  # root, F32, products of empty lists
    assert np.flatnonzero(row).tolist() == ones
    assert set(row[ones].tolist()) == {1.0}


def test_products_are_64_bit_integers() -> None:
    row = _one(_instruction(1, "iota", (2**20, 2**20, 3)))
    assert row[28] == np.float32(3 * 2**40)


@pytest.mark.parametrize(
    ("element_type", "column"),
    [
        (xla_data_pb2.PRED, 3),
        (xla_data_pb2.S64, 7),
        (xla_data_pb2.F16, 12),
        (xla_data_pb2.BF16, 15),
        (xla_data_pb2.C64, 16),
        (xla_data_pb2.TUPLE, 18),
        (xla_data_pb2.TOKEN, 20),
        (xla_data_pb2.PRIMITIVE_TYPE_INVALID, 2),
        (xla_data_pb2.S4, None),
        (xla_data_pb2.F8E5M2, None),
    ],
)
def test_element_types(element_type: xla_data_pb2.PrimitiveType, column: int | None) -> None:
    instruction = _instruction(1, "iota", (4,))
    instruction.shape.element_type = element_type
    assert np.flatnonzero(_one(instruction)[2:21]).tolist() == ([] if column is None else [column - 2])


def test_window_and_convolution_columns() -> None:
    instruction = _instruction(1, "convolution", (8, 6))
    for size, reversal in ((3, True), (5, False), (7, False)):
        instruction.window.dimensions.add(
            size=size, stride=2, padding_low=1, padding_high=-1, window_dilation=1, base_dilation=4,
            window_reversal=reversal,
        )  # fmt: skip
    numbers = instruction.convolution_dimension_numbers
    numbers.input_batch_dimension, numbers.input_feature_dimension = 1, 2
    numbers.input_spatial_dimensions.extend([3, 4, 5])
    numbers.kernel_input_feature_dimension, numbers.kernel_output_feature_dimension = 6, 7
    numbers.kernel_spatial_dimensions.extend([8, 9, 10])
    numbers.output_batch_dimension, numbers.output_feature_dimension = 11, 12
    instruction.feature_group_count, instruction.batch_group_count = 13, 14
    row = _one(instruction)
    assert row[37:45].tolist() == [3, 5, 7, 0, 0, 0, 15, 105]
    assert row[45:53].tolist() == [2, 2, 2, 0, 0, 0, 6, 8]
    assert row[53:61].tolist() == [1, 1, 1, 0, 0, 0, 3, 1]
    assert row[61:69].tolist() == [-1, -1, -1, 0, 0, 0, -3, -1]
    assert row[69:77].tolist() == [1, 1, 1, 0, 0, 0, 3, 1]
    assert row[77:85].tolist() == [4, 4, 4, 0, 0, 0, 12, 64]
    assert row[85:93].tolist() == [1, 0, 0, 0, 0, 0, 1, 2]
    assert row[93:109].tolist() == [1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 10, 0, 11, 12, 13, 14]


def test_remaining_columns() -> None:
    instruction = _instruction(1, "sort", (4,))
    instruction.parameter_number = 3
    instruction.dimensions.extend([2, 0])
    instruction.is_stable = True
    instruction.dynamic_slice_sizes.extend([2, 3, 4])
    for start, stride, limit in ((1, 2, 9), (2, 3, 8), (3, 1, 7)):
        instruction.slice_dimensions.add(start=start, stride=stride, limit=limit)
    for low, high in ((5, 6), (7, 8)):
        instruction.padding_config.dimensions.add(edge_padding_low=low, edge_padding_high=high)
    instruction.shape.tuple_shapes.add(element_type=F32)
    row = _one(instruction)
    assert row[29:37].tolist() == [1, 3, 2, 0, 0, 0, 0, 0]
    assert row[109:125].tolist() == [1, 2, 6, 6, 2, 3, 6, 6, 9, 8, 24, 504, 2, 3, 9, 24]
    assert row[125:134].tolist() == [5, 7, 12, 35, 6, 8, 14, 48, 1]


def test_unknown_opcode() -> None:
    graph = program_graph(_module(("main", 1, [_instruction(1, "erf", (4,)), _instruction(2, "tan", (4,), (1,))])))
    assert graph.node_opcode.tolist() == [0, 120]


def test_instructions_alike_have_the_same_features() -> None:
    """Names, operands and metadata make no difference; one number in any other field does."""
    instructions = [_instruction(number, "abs", (2, 3)) for number in (1, 2, 3, 4)]
    instructions[1].metadata.op_name = "somewhere/else"
    instructions[1].operand_ids.append(1)
    instructions[2].shape.dimensions[1] = 4
    rows = program_graph(_module(("main", 4, instructions))).node_feat
    assert rows[0].tolist() == rows[1].tolist()
    assert np.flatnonzero(rows[0] != rows[2]).tolist() == [22, 27, 28]  # the dimension, the sum and the product
    assert np.flatnonzero(rows[0] != rows[3]).tolist() == [0]  # the root


def test_a_field_in_two_pieces() -> None:
    """Serialized messages may be joined, which appends to lists and completes messages."""
    first, second = Instruction(id=1, opcode="iota", name="i1"), Instruction()
    first.shape.dimensions.append(2)
    second.shape.dimensions.extend([3, 4])
    second.shape.element_type = F32
    second.shape.layout.minor_to_major.extend([2, 1, 0])
    row = program_graph(_around(first.SerializeToString() + second.SerializeToString())).node_feat[0]
    assert np.flatnonzero(row[2:21]).tolist() == [11]
    assert row[21:29].tolist() == [2, 3, 4, 0, 0, 0, 9, 24]
    assert row[134:140].tolist() == [2, 1, 0, 0, 0, 0]


# ---- Edges, configurable nodes, splits -------------------------------------------------------------------------------


def test_edges() -> None:
    module = _module(
        ("sum", 3, [_instruction(1, "parameter"), _instruction(2, "parameter"), _instruction(3, "add", (), (2, 1))]),
        (
            "main",
            8,
            [
                _instruction(5, "parameter", (4,)),
                _instruction(6, "constant"),
                _instruction(7, "multiply", (4,), (5, 5)),  # the same operand twice is one edge
                _instruction(8, "reduce", (), (7, 6), called=100),
            ],
        ),
    )
    graph = program_graph(module)
    assert graph.edge_index.tolist() == [[2, 0], [2, 1], [5, 3], [6, 2], [6, 4], [6, 5]]
    assert np.flatnonzero(graph.node_feat[:, features.IS_ROOT]).tolist() == [2, 6]


def test_ids_need_to_be_unique_within_a_computation_only() -> None:
    module = _module(
        ("body", 2, [_instruction(1, "parameter"), _instruction(2, "negate", (), (1,))]),
        ("main", 2, [_instruction(1, "parameter"), _instruction(2, "call", (), (1,), called=100)]),
    )
    assert program_graph(module).edge_index.tolist() == [[1, 0], [3, 1], [3, 2]]


def test_very_large_ids() -> None:
    large = 2**62 + 1
    module = _module(
        ("main", large + 1, [_instruction(large, "parameter"), _instruction(large + 1, "abs", (), (large,))])
    )
    assert program_graph(module).edge_index.tolist() == [[1, 0]]


def test_configurable_nodes() -> None:
    opcodes = ["parameter", "reshape", "transpose", "dot", "fusion", "convolution"]
    module = _module(("main", 6, [_instruction(i + 1, opcode) for i, opcode in enumerate(opcodes)]))
    assert program_graph(module).node_config_ids.tolist() == [1, 3, 5]


def test_splits() -> None:
    names = ["add", "while_body.1", "region_cond", "cluster_0", "main"]
    module = _module(*((name, 1, [_instruction(1, "parameter")] * count) for count, name in enumerate(names, 1)))
    for computation in module.computations:
        for number, instruction in enumerate(computation.instructions, 1):
            instruction.id = number
    assert program_graph(module).node_splits.tolist() == [0, 3, 6, 10, 15]


# ---- Input ----------------------------------------------------------------------------------------------------------


def test_accepts_modules_and_bytes() -> None:
    module = _module(("main", 1, [_instruction(1, "parameter", (4,))]))
    assert (program_graph(module).node_feat == program_graph(module.SerializeToString()).node_feat).all()


def test_damaged_input() -> None:
    with pytest.raises(ProgramReadError, match="5 bytes: expected a serialized HloModuleProto"):
        program_graph(b"\xff\xff\xff\xff\xff")
    with pytest.raises(ProgramReadError, match="at least one instruction"):
        program_graph(hlo_pb2.HloModuleProto(name="nothing"))
    with pytest.raises(ProgramReadError, match="'i1' has an operand with id 7"):
        program_graph(_module(("main", 1, [_instruction(1, "negate", (), (7,))])))
    with pytest.raises(ProgramReadError, match="'main' has a root with id 9"):
        program_graph(_module(("main", 9, [_instruction(1, "parameter")])))
    with pytest.raises(ProgramReadError, match="'i1' calls computation 55"):
        program_graph(_module(("main", 1, [_instruction(1, "call", (), (), called=55)])))


def test_operands_do_not_reach_into_other_computations() -> None:
    module = _module(("body", 1, [_instruction(1, "parameter")]), ("main", 2, [_instruction(2, "negate", (), (1,))]))
    with pytest.raises(ProgramReadError, match="'i2' has an operand with id 1"):
        program_graph(module)


# ---- The published data set ------------------------------------------------------------------------------------------


def test_a_whole_program_equals_the_published_features(shared: Path) -> None:
    folder = shared / "data" / "tpugraphs"
    graph = program_graph((folder / "modules" / "unet_3d.4x4.bf16.pb").read_bytes())
    with np.load(folder / "layout" / "xla" / "default" / "valid" / "unet_3d.4x4.bf16.npz") as published:
        for name in ("node_feat", "node_opcode", "edge_index", "node_config_ids"):
            _assert_identical(graph, name, published[name])
        assert published["node_splits"].tolist() == [graph.node_splits.tolist()]


_KERNELS = "copy.24 fusion.181 fusion.191 fusion.205 fusion.206 fusion.250 fusion.261 reshape.37 reshape.39"


@pytest.mark.parametrize("kernel", _KERNELS.split())
def test_kernels_equal_the_published_features(shared: Path, kernel: str) -> None:
    folder = shared / "data" / "tpugraphs"
    graph = program_graph((folder / "modules" / f"{kernel}.pb").read_bytes())
    with np.load(folder / "tile" / "xla" / "train" / f"{kernel}.npz") as published:
        for name in ("node_feat", "edge_index"):
            _assert_identical(graph, name, published[name])
        _assert_identical(graph, "node_opcode", published["node_opcode"].astype(np.uint8))


def _assert_identical(graph: ProgramGraph, name: str, published: np.ndarray) -> None:
    ours: np.ndarray = getattr(graph, name)
    assert ours.dtype == published.dtype
    assert ours.shape == published.shape
    assert ours.tobytes() == np.ascontiguousarray(published).tobytes()
