"""A program without a function: its parameters as arrays in order, its results as a list of arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from autotune.errors import UnsupportedProgramError
from autotune.hlo.modules import entry_computation
from autotune.hlo.types import element_type_name, leaves, numpy_dtype
from protos import hlo_pb2, xla_data_pb2


def exported_parameters(module: bytes, stablehlo: bytes, platform: str) -> jax.export.Exported:
    """A program as `jax.export` has functions.

    Args:
        module: serialized HloModuleProto: the shapes of its parameters and results count.
        stablehlo: the same program as MLIR.
        platform: that it is to run on, such as "cpu".

    Raises:
        UnsupportedProgramError: a parameter is a tuple, or something is no array.
    """
    proto = hlo_pb2.HloModuleProto.FromString(module)
    entry = entry_computation(proto)
    parameters = sorted((i for i in entry.instructions if i.opcode == "parameter"), key=lambda i: i.parameter_number)
    for parameter in parameters:
        if len(list(leaves(parameter.shape))) != 1:
            raise UnsupportedProgramError(
                f"parameter {parameter.parameter_number} of program {proto.name!r} is a tuple; jax passes arrays only"
            )
    shapes = [_struct(proto.name, parameter.shape) for parameter in parameters]
    root = next(i for i in entry.instructions if i.id == entry.root_id)
    results = [_struct(proto.name, shape) for shape in leaves(root.shape)]

    def placeholder(*arrays: Any) -> list[Any]:
        return [jnp.zeros(result.shape, result.dtype) for result in results]

    own = jax.export.export(jax.jit(placeholder, keep_unused=True), platforms=[platform])(*shapes)
    return replace(own, mlir_module_serialized=stablehlo, fun_name=proto.name, _get_vjp=None)


def _struct(name: str, shape: xla_data_pb2.ShapeProto) -> jax.ShapeDtypeStruct:
    try:
        dtype = numpy_dtype(element_type_name(shape))
    except KeyError as error:
        raise UnsupportedProgramError(f"program {name!r} takes or returns what is no array: {error}") from None
    if jax.dtypes.canonicalize_dtype(dtype) != np.dtype(dtype):
        raise UnsupportedProgramError(
            f"program {name!r} takes or returns {dtype} arrays: call jax.config.update('jax_enable_x64', True) first"
        )
    return jax.ShapeDtypeStruct(tuple(shape.dimensions), dtype)
