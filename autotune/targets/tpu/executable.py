"""What libtpu has compiled, in the form in which jax's client loads it.

jaxlib puts a header in front of what PJRT serializes: what arguments and results look like, so that they can be dealt
with before the executable is loaded. Its definition is public ("a standard format for serializing XLA executables in
IFRT in a way that is portable across IFRT runtimes"): openxla, xla/python/pjrt_ifrt/executable_metadata.proto, and
dtype.proto, shape.proto and layout.proto in xla/python/ifrt. Tests compare it with the header that jaxlib writes.
"""

from __future__ import annotations

from typing import Final

from autotune.hlo.types import leaves
from autotune.hlo.wire import delimited, field, varint
from protos.hlo_pb2 import HloModuleProto
from protos.xla_data_pb2 import LayoutProto, ShapeProto

_IFRT_VERSION: Final = 3
"""jaxlib 0.10. A client that reads other versions says so."""

_RUNTIME: Final = b"pjrt_ifrt"
_MEMORY: Final = b"device"
_LAYOUT_TYPE: Final = b"xla::ifrt::PjRtLayout"


def for_jax(serialized: bytes, optimised: HloModuleProto) -> bytes:
    """Put jaxlib's header in front of an executable.

    Args:
        serialized: by PJRT (`PJRT_Executable_Serialize`).
        optimised: the program in it, for the shapes and layouts of its arguments and results.

    Returns:
        What `autotune.hlo.jaxlib.Device.load` takes.
    """
    program = optimised.host_program_shape
    header = field(1, _IFRT_VERSION) + field(2, _RUNTIME)
    header += b"".join(field(5, _output(shape)) for shape in leaves(program.result))
    header += b"".join(field(6, _parameter(shape)) for whole in program.parameters for shape in leaves(whole))
    return delimited(header + field(7, optimised.name.encode()) + field(9, b"")) + serialized


def _output(shape: ShapeProto) -> bytes:
    """OutputSpec{shard_shape=1, dtype=2{kind=1}, memory_kind=4, shape=6}; IFRT numbers types as XLA does."""
    dimensions = b"".join(map(varint, shape.dimensions))
    sizes = field(1, dimensions) if dimensions else b""
    return field(1, sizes) + field(2, field(1, shape.element_type)) + field(4, _MEMORY) + field(6, sizes)


def _parameter(shape: ShapeProto) -> bytes:
    """ParameterSpec{layout=1{serialized=1{type_name=1, data=2{layout=1}}}}."""
    layout = LayoutProto(
        minor_to_major=shape.layout.minor_to_major,
        tiles=shape.layout.tiles,
        element_size_in_bits=shape.layout.element_size_in_bits,
        memory_space=shape.layout.memory_space,
        tail_padding_alignment_in_elements=max(1, shape.layout.tail_padding_alignment_in_elements),
    )
    data = field(1, layout.SerializeToString(deterministic=True))
    return field(1, field(1, field(1, _LAYOUT_TYPE) + field(2, data)))
