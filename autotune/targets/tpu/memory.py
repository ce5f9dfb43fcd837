"""How many bytes an array takes in a TPU's memory: tiles are stored whole, so small dimensions are padded."""

from __future__ import annotations

import math
from typing import Final

from autotune.hlo.types import element_bytes, element_type_name, leaves
from protos import xla_data_pb2

HBM: Final = 0
"""The memory space of a layout without a mark: the device's main memory."""

VMEM: Final = 1
"""The memory space that HLO text marks with S(1): the memory beside the compute units."""


def tiled_bytes(shape: xla_data_pb2.ShapeProto) -> int:
    """Bytes of one array, padded to whole tiles.

    Each tile pads the minor-most dimensions and splits them into tiles and places in a tile; the next one tiles the
    result (openxla.org/xla/tiled_layout). The totals over arguments agree with the compiler's own
    (`argument_size_in_bytes`, libtpu 0.0.52, four programs on v5e).

    Args:
        shape: an array with a layout; a tile with more dimensions than the array pads in front with ones.
    """
    sizes = [shape.dimensions[dimension] for dimension in reversed(shape.layout.minor_to_major)]
    for tile in shape.layout.tiles:
        rank = len(tile.dimensions)
        if min(tile.dimensions, default=0) < 1:
            break  # marks a combined dimension (no positive size); what it would pad is not known
        sizes = [1] * (rank - len(sizes)) + sizes
        outer, tiled = sizes[: len(sizes) - rank], sizes[len(sizes) - rank :]
        counts = [math.ceil(size / bound) for size, bound in zip(tiled, tile.dimensions, strict=True)]
        sizes = [*outer, *counts, *tile.dimensions]
    return math.ceil(math.prod(sizes) * element_bytes(element_type_name(shape)))


def bytes_in(shape: xla_data_pb2.ShapeProto, space: int) -> int:
    """Padded bytes of the arrays of a shape that are kept in one memory space."""
    return sum(tiled_bytes(leaf) for leaf in leaves(shape) if leaf.layout.memory_space == space)
