"""What the TPU compiler is told beside the program: entry layouts, flags, devices."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protos.hlo_pb2 import HloModuleProto
from protos.xla_data_pb2 import TOKEN, TUPLE, ShapeProto
from protos.xla_pb2 import CompileOptionsProto

NO_FLAGS: Final[Mapping[str, str | int | bool]] = MappingProxyType({})
_SHARDY_ATTRIBUTE_PREFIX: Final = "xla.sdy."
_DISABLED_PASSES: Final = "xla_disable_hlo_passes"
_PARTITIONER: Final = "tpu-spmd-partitioning"
"""The pass that divides a program (libtpu 0.0.52); it refuses one that has been divided."""


def compile_options(
    module: HloModuleProto,
    *,
    flags: Mapping[str, str | int | bool] = NO_FLAGS,
    backend_only: bool = False,
    partitions: int = 1,
    replicas: int = 1,
    partitioned: bool = False,
) -> bytes:
    """Options for one compilation.

    The layouts of the module's parameters and result are passed on: without them PJRT puts the TPU's default layouts
    in their place, and half of the kernels that were split out of a program do not compile.

    Args:
        module: what will be compiled.
        flags: compiler flags by name, without dashes. The compiler refuses names that it does not know.
        backend_only: the module has been optimised already, up to memory space assignment.
        partitions: devices that share one computation.
        replicas: devices that do the same on different data.
        partitioned: the module is what one partition computes (as all dumps of the compiler are), and is not to be
            divided again.

    Returns:
        Serialized CompileOptionsProto.

    Raises:
        ValueError: a flag is neither text, a whole number nor a truth value, or a count is not positive.
    """
    if partitions < 1 or replicas < 1:
        raise ValueError(f"expected one partition and one replica or more, found {partitions} and {replicas}")
    options = CompileOptionsProto()
    build = options.executable_build_options
    build.device_ordinal = -1
    build.num_replicas, build.num_partitions = replicas, partitions
    build.use_spmd_partitioning = partitions > 1  # several programs that differ are not supported on a TPU
    build.use_shardy_partitioner = not partitioned and any(
        name.startswith(_SHARDY_ATTRIBUTE_PREFIX) for name in module.frontend_attributes.map
    )
    build.run_backend_only = backend_only
    assignment = build.device_assignment
    assignment.replica_count, assignment.computation_count = replicas, partitions
    for partition in range(partitions):
        assignment.computation_devices.add(replica_device_ids=range(partition, replicas * partitions, partitions))
    _keep_layouts(module, options)
    if partitioned and partitions > 1:
        passes = filter(None, (flags.get(_DISABLED_PASSES), _PARTITIONER))
        flags = {**flags, _DISABLED_PASSES: ",".join(map(str, passes))}
    set_flags(options, flags)
    return options.SerializeToString(deterministic=True)


def with_flags(options: bytes, flags: Mapping[str, str | int | bool]) -> bytes:
    """The same options with more flags.

    Args:
        options: serialized CompileOptionsProto.
        flags: by name; they replace flags of the same name.

    Raises:
        ValueError: as in `compile_options`.
    """
    parsed = CompileOptionsProto.FromString(options)
    set_flags(parsed, flags)
    return parsed.SerializeToString(deterministic=True)


def set_flags(options: CompileOptionsProto, flags: Mapping[str, str | int | bool]) -> None:
    """Write flags into options that are being made.

    Raises:
        ValueError: as in `compile_options`.
    """
    for name, value in flags.items():
        override = options.env_option_overrides[name]
        match value:
            case bool():  # before int, of which it is a kind
                override.bool_field = value
            case int():
                override.int_field = value
            case str():
                override.string_field = value
            case _:
                raise ValueError(f"flag {name}: expected text, a whole number or a truth value, found {value!r}")


def _keep_layouts(module: HloModuleProto, options: CompileOptionsProto) -> None:
    """Parameters and result in the layouts that the module has; where it has none the compiler decides."""
    program = module.host_program_shape
    if program.parameters and all(_has_layout(shape) for shape in program.parameters):
        options.argument_layouts.extend(program.parameters)
    if program.HasField("result") and _has_layout(program.result):
        options.executable_build_options.result_layout.CopyFrom(program.result)


def _has_layout(shape: ShapeProto) -> bool:
    if shape.element_type == TUPLE:
        return all(_has_layout(part) for part in shape.tuple_shapes)
    return shape.element_type == TOKEN or shape.HasField("layout")
