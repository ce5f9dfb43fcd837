"""XLA:CPU in a child of its own: `Worker("tests.targets.cpu_compiler")`."""

from __future__ import annotations

from autotune.hlo.jaxlib import LoadedProgram, cpu_device, module_to_stablehlo


def compiled(module: bytes) -> tuple[bytes, str]:
    """An executable for another process, and the optimised HLO."""
    program = cpu_device().compile(module)
    return program.serialized, program.optimised_text()


def compiled_with_layouts(module: bytes, options: bytes) -> bytes:
    """An executable that takes its arguments as serialized CompileOptionsProto says."""
    from jaxlib import xla_client

    device = cpu_device()
    compile_options = xla_client.CompileOptions.ParseFromString(options)
    code = module_to_stablehlo(module)
    executable = device._client.compile_and_load(code, [device._handle], compile_options)
    return LoadedProgram(executable, device).serialized
