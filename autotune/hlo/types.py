"""Element types and sizes of HLO shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

from protos import xla_data_pb2

_NUMPY_NAMES = {
    "pred": "bool",
    **{f"s{bits}": f"int{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "bf16": "bfloat16",
    "c64": "complex64",
    "c128": "complex128",
    **{
        f"f8{kind}": f"float8_{kind}"
        for kind in ("e5m2", "e4m3", "e4m3fn", "e4m3b11fnuz", "e5m2fnuz", "e4m3fnuz", "e3m4", "e8m0fnu")
    },
    "f4e2m1fn": "float4_e2m1fn",
}
_BITS = {"s2": 2, "u2": 2, "s4": 4, "u4": 4, "f4e2m1fn": 4}
"""Types smaller than a byte, as XLA packs them on the device."""


def element_type_name(shape: xla_data_pb2.ShapeProto) -> str:
    """The element type as HLO text writes it: "f32", "bf16", "pred", "tuple", "token", ..."""
    return xla_data_pb2.PrimitiveType.Name(shape.element_type).lower()


@functools.cache
def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """The numpy dtype of an element type, given by its HLO name or by its numpy (or ml_dtypes) name.

    Raises:
        KeyError: numpy has no such type (tuples, tokens, opaque values, new types).
    """
    import ml_dtypes

    numpy_name = _NUMPY_NAMES.get(name, name)
    if numpy_name not in _NUMPY_NAMES.values():
        raise KeyError(name)
    value: DTypeLike = getattr(ml_dtypes, numpy_name, None) or numpy_name
    return np.dtype(value)


def element_bytes(name: str) -> float:
    """Bytes of one element on the device (half a byte for 4-bit types); 0 for types without a size."""
    if name in _BITS:
        return _BITS[name] / 8
    return float(numpy_dtype(name).itemsize) if name in _NUMPY_NAMES else 0.0


def leaves(shape: xla_data_pb2.ShapeProto) -> Iterator[xla_data_pb2.ShapeProto]:
    """The arrays of a shape: itself, or those of a tuple, depth first."""
    if shape.element_type == xla_data_pb2.TUPLE:
        for part in shape.tuple_shapes:
            yield from leaves(part)
    else:
        yield shape


def shape_bytes(shape: xla_data_pb2.ShapeProto) -> int:
    """Bytes of all arrays of a shape, without padding."""
    return sum(math.ceil(math.prod(part.dimensions) * element_bytes(element_type_name(part))) for part in leaves(shape))


def shape_text(shape: xla_data_pb2.ShapeProto) -> str:
    """The shape as HLO text writes it, without layout: "f32[8,128]" or "(f32[2], s32[])"."""
    if shape.element_type == xla_data_pb2.TUPLE:
        return f"({', '.join(shape_text(part) for part in shape.tuple_shapes)})"
    return f"{element_type_name(shape)}[{','.join(str(size) for size in shape.dimensions)}]"
