"""The columns and ids are facts of the data set; the numbers here are copied from its description."""

from __future__ import annotations

import pytest

from cost_model import features
from cost_model.features import ListColumns

_OPCODES = {
    "abs": 1, "convolution": 26, "dot": 34, "fusion": 41, "set-dimension-size": 44, "parameter": 63, "reshape": 75,
    "transpose": 98, "while": 102, "cbrt": 103, "logistic": 107, "async-done": 117, "stochastic-convert": 119,
    "tan": 120,
}  # fmt: skip

_NODE_COLUMNS = {
    0: "is_root", 1: "always_zero", 2: "element_type_INVALID", 12: "element_type_F16", 13: "element_type_F32",
    15: "element_type_BF16", 20: "element_type_TOKEN", 21: "shape_dimension_0", 27: "shape_dimension_sum",
    28: "shape_dimension_product", 29: "tuple_shapes", 30: "parameter_number", 31: "dimension_0", 37: "window_size_0",
    44: "window_size_product", 45: "window_stride_0", 53: "window_padding_low_0", 61: "window_padding_high_0",
    69: "window_dilation_0", 77: "window_base_dilation_0", 85: "window_reversal_0", 91: "window_reversal_true",
    92: "window_reversal_false", 93: "convolution_input_batch", 106: "convolution_output_feature",
    107: "feature_group_count", 108: "batch_group_count", 109: "slice_start_0", 113: "slice_stride_0",
    117: "slice_limit_0", 121: "dynamic_slice_size_0", 125: "padding_low_0", 129: "padding_high_0", 133: "is_stable",
    134: "minor_to_major_0", 139: "minor_to_major_5",
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), _OPCODES.items())
def test_opcode_ids(name: str, number: int) -> None:
    assert features.OPCODE_IDS[name] == number
    assert features.OPCODES[number] == name


def test_opcode_table() -> None:
    assert len(features.OPCODE_IDS) == 120
    assert "unknown" not in features.OPCODE_IDS


@pytest.mark.parametrize(("column", "name"), _NODE_COLUMNS.items())
def test_node_columns(column: int, name: str) -> None:
    assert features.NODE_FEATURE_NAMES[column] == name


def test_every_group_stands_where_its_names_stand() -> None:
    assert len(features.NODE_FEATURE_NAMES) == len(set(features.NODE_FEATURE_NAMES)) == features.NODE_FEATURES == 140
    tiles = (features.KERNEL_BOUNDS, features.OUTPUT_BOUNDS, features.INPUT_BOUNDS)
    for value in vars(features).values():
        if isinstance(value, ListColumns) and value not in (*features.LAYOUT_TENSORS, *tiles):
            assert features.NODE_FEATURE_NAMES[value.start : value.stop] == tuple(value.names())


def test_config_columns() -> None:
    assert len(features.LAYOUT_FEATURE_NAMES) == 18
    assert features.LAYOUT_FEATURE_NAMES[6] == "first_input_minor_to_major_0"
    assert len(features.TILE_FEATURE_NAMES) == 24
    assert features.TILE_FEATURE_NAMES[7:9] == ("kernel_bound_product", "output_bound_0")
