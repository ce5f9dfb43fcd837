"""What tests do with XLA in a child process: `Worker("tests.hlo.child")`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.hlo.jaxlib import cpu_device


def run(module: bytes, arguments: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Compile a serialized HloModuleProto for the CPU and run it once."""
    device = cpu_device()
    return device.compile(module).outputs([device.put(argument) for argument in arguments])


def export_tanh_of_product() -> tuple[str, bytes, bytes]:
    """One function of jax as StableHLO text, as a portable artifact and as jax's own export."""
    import jax
    import jax.export
    import jax.numpy as jnp

    function = jax.jit(lambda x, y: jnp.tanh(x @ y))
    shapes = [jax.ShapeDtypeStruct((4, 8), np.float32), jax.ShapeDtypeStruct((8, 16), np.float32)]
    exported = jax.export.export(function)(*shapes)
    return function.lower(*shapes).as_text(), exported.mlir_module_serialized, bytes(exported.serialize())


def export_any_batch() -> bytes:
    """A function whose first dimension has no size."""
    import jax
    import jax.export

    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(jax.jit(lambda x: x + x))(jax.ShapeDtypeStruct((batch, 8), np.float32))
    return exported.mlir_module_serialized
