"""What tests do with jax's own client for TPU topologies, in a child: `Worker("tests.targets.tpu.jax_child")`."""

from __future__ import annotations

from typing import Any

from autotune.hlo import jaxlib


def device_kind(topology: str) -> str:
    """What jax calls the devices of a topology."""
    kind: str = _device(topology).device_kind
    return kind


def serialized(topology: str, module: bytes, options: bytes) -> bytes:
    """What jaxlib makes of a serialized HloModuleProto, with the header in question."""
    from jaxlib import _jax, xla_client
    from jaxlib.mlir import ir

    device = _device(topology)
    compile_options = xla_client.CompileOptions.ParseFromString(options)
    with jaxlib.mlir_context():
        code = ir.Module.parse(jaxlib.module_to_stablehlo(module))
        executable = device.client.compile(code, _jax.DeviceList((device,)), compile_options)
    blob: bytes = executable.serialize()
    return blob


def compiled_for_cpu(module: bytes) -> tuple[bytes, bytes]:
    """Serialized by jaxlib for XLA:CPU, and the optimised HloModuleProto."""
    program = jaxlib.cpu_device().compile(module)
    return program.serialized, program._executable.hlo_modules()[0].as_serialized_hlo_module_proto()


def _device(topology: str) -> Any:
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0]
