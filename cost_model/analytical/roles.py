"""What the dimensions of convolutions and dots are for, whatever their number: batch, kept, contracted, spatial."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.tensors import GraphTensors
from cost_model.features import OPCODE_IDS


class Role(IntEnum):
    """What a dimension is to the node that reads or writes the tensor."""

    UNKNOWN = 0
    BATCH = 1
    KEPT = 2  # an output feature, or a dimension of one operand that the output has, too
    CONTRACTED = 3
    SPATIAL = 4


def dimension_roles(tensors: GraphTensors, node: int, place: int) -> tuple[Role, ...]:
    """The role of every dimension of one tensor of a convolution or dot; UNKNOWN elsewhere.

    Args:
        tensors: the program.
        node: the convolution or dot.
        place: 0 for its output, 1 and 2 for its inputs; the input must exist.
    """
    producer = (node, *tensors.first_operands(node))[place]
    assert producer is not None
    dimensions = tensors.dimensions(producer)
    opcode = tensors.graph.node_opcode[node]
    if opcode == OPCODE_IDS["convolution"]:
        return _convolution_roles(tensors.graph.node_feat[node], place, len(dimensions))
    split = tensors.dot_dimensions(node) if opcode == OPCODE_IDS["dot"] else None
    if split is None:
        return (Role.UNKNOWN,) * len(dimensions)
    batch, own = split.batch, (split.first, split.second)
    if place == 0:
        return (*(Role.BATCH for _ in batch), *(Role.KEPT for _ in range(len(dimensions) - len(batch))))
    roles = [Role.CONTRACTED] * len(dimensions)
    free = list(range(len(dimensions)))
    for sizes, role in ((batch, Role.BATCH), (own[place - 1], Role.KEPT)):
        for size in sizes:
            match = next((each for each in free if dimensions[each] == size), None)
            if match is not None:
                roles[match] = role
                free.remove(match)
    return tuple(roles)


def _convolution_roles(row: NDArray[np.float32], place: int, rank: int) -> tuple[Role, ...]:
    batch, feature, of_batch, of_feature = (
        (features.OUTPUT_BATCH, features.OUTPUT_FEATURE, Role.BATCH, Role.KEPT),
        (features.INPUT_BATCH, features.INPUT_FEATURE, Role.BATCH, Role.CONTRACTED),
        (features.KERNEL_INPUT_FEATURE, features.KERNEL_OUTPUT_FEATURE, Role.CONTRACTED, Role.KEPT),
    )[place]
    roles = [Role.SPATIAL] * rank
    for column, role in ((batch, of_batch), (feature, of_feature)):
        if 0 <= row[column] < rank:
            roles[int(row[column])] = role
    return tuple(roles)
