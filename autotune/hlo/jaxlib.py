"""The door to XLA: the only module that touches jaxlib's private names. Imported in child processes only.

Everything here can abort the process on odd input, so callers reach it through `autotune.targets.isolation`.
The calls were tried with the versions in `SUPPORTED`; any other version is refused when this module is imported.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # with libtpu installed jax would try to start a TPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray

from autotune.errors import ToolchainError, UnsupportedProgramError
from autotune.hlo.wire import field
from protos import hlo_pb2

SUPPORTED = ((0, 10), (0, 11))
"""First supported (major, minor) of jaxlib, and the first that is not."""


def check_version(found: str | None) -> None:
    """Refuse a jaxlib whose private names may be others.

    Args:
        found: the installed version, None without one.

    Raises:
        ToolchainError: names what was found, what is supported and the command that installs it.
    """
    numbers = re.match(r"(\d+)\.(\d+)", found or "")
    version = (int(numbers[1]), int(numbers[2])) if numbers else None
    if version is None or not SUPPORTED[0] <= version < SUPPORTED[1]:
        low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
        installed = f"jaxlib {found} is installed" if found else "jaxlib is not installed"
        raise ToolchainError(
            f"{installed}, but this tool speaks to jaxlib >= {low}, < {high}; "
            f"run: pip install 'jax>={low},<{high}' 'jaxlib>={low},<{high}'"
        )


def _installed_version() -> str | None:
    try:
        return importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return None


check_version(_installed_version())

# Only after the check: the names differ between versions.
from jaxlib import _hlo, _jax, xla_client  # type: ignore[attr-defined]  # noqa: E402
from jaxlib.mlir import ir  # noqa: E402
from jaxlib.mlir._mlir_libs import _chlo, _jax_mlir_ext, _mlirHlo, _sdy, _stablehlo  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Reading and writing programs

MLIR_BYTECODE_MAGIC = b"ML\xefR"


class VerificationError(Exception):
    """XLA loads the module, but its verifier finds an instruction that makes no sense."""


def parse_hlo_text(text: str) -> bytes:
    """HLO text -> serialized HloModuleProto.

    XLA's own proto has no place for the header's `replica_count` and `num_partitions` but the device assignment, so
    they are kept there.
    """
    module: bytes = _hlo.hlo_module_from_text(text).as_serialized_hlo_module_proto()
    header = re.search(r"^[ \t]*HloModule\b.*", text, re.MULTILINE)
    counts = dict.fromkeys(("replica_count", "num_partitions"), 1)
    if header:
        without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", header[0])
        found = re.findall(r"\b(replica_count|num_partitions)=(\d+)", without_strings)
        counts |= {key: int(value) for key, value in found}
    return _with_devices(module, counts["replica_count"], counts["num_partitions"])


def print_hlo_text(module: bytes) -> str:
    """Serialized HloModuleProto -> HLO text from which XLA makes the same program."""
    options = _hlo.HloPrintOptions()
    options.print_large_constants = True  # else they are "{...}", which XLA reads as made-up values
    text: str = _hlo.HloModule.from_serialized_hlo_module_proto(module).to_string(options)
    devices = hlo_pb2.HloModuleProto.FromString(module).device_assignment
    header, line_end, rest = text.partition("\n")
    for key, count in (("replica_count", devices.replica_count), ("num_partitions", devices.computation_count)):
        if count > 1 and f", {key}=" not in header:
            header += f", {key}={count}"
    return header + line_end + rest


def validate_module(module: bytes) -> None:
    """Let XLA check a serialized HloModuleProto.

    Loading checks the references between instructions, not their shapes; those are checked by the verifier of
    StableHLO, which is also the way to the compiler. What StableHLO cannot say is not checked further.

    Raises:
        Exception: XLA's own error, for a module that it does not load.
        VerificationError: for an instruction whose shapes or attributes contradict each other.
    """
    try:
        code = module_to_stablehlo(module)  # loads the module first
    except Exception:
        _hlo.HloModule.from_serialized_hlo_module_proto(module)  # raises if it was the loading that failed
        return
    try:
        with mlir_context():
            ir.Module.parse(code)
    except ir.MLIRError as error:
        raise VerificationError(str(error)) from error


def stablehlo_to_module(code: bytes) -> bytes:
    """StableHLO or MHLO -> serialized HloModuleProto.

    Args:
        code: MLIR text, MLIR bytecode, a portable artifact, or what `jax.export.Exported.serialize` returns.
    """
    if not code.startswith(MLIR_BYTECODE_MAGIC) and MLIR_BYTECODE_MAGIC in code:
        import jax.export

        code = jax.export.deserialize(bytearray(code)).mlir_module_serialized
    with mlir_context():
        attributes = ir.Module.parse(code).operation.attributes
        counts = [
            ir.IntegerAttr(attributes[name]).value if name in attributes else 1
            for name in ("mhlo.num_replicas", "mhlo.num_partitions")
        ]
    computation = _jax.mlir.mlir_module_to_xla_computation(code, use_tuple_args=False, return_tuple=False)
    return _with_devices(computation.as_serialized_hlo_module_proto(), *counts)


def module_to_stablehlo(module: bytes) -> bytes:
    """Serialized HloModuleProto -> MLIR bytecode."""
    code: bytes = _jax.mlir.hlo_to_stablehlo(module)
    return code


def cost_analysis(module: bytes) -> dict[str, float]:
    """XLA's own count of operations: "flops", "transcendentals", "bytes accessed", ..."""
    hlo_module = _hlo.HloModule.from_serialized_hlo_module_proto(module)
    costs: dict[str, float] = _jax.hlo_module_cost_analysis(_cpu_client(), hlo_module)
    return costs


def _with_devices(module: bytes, replicas: int, partitions: int) -> bytes:
    """The module with a device assignment of that size (devices numbered in order), if it is for several devices."""
    if replicas * partitions == 1:
        return module
    proto = hlo_pb2.HloModuleProto.FromString(module)
    if not proto.HasField("device_assignment"):
        assignment = proto.device_assignment
        assignment.replica_count, assignment.computation_count = replicas, partitions
        for partition in range(partitions):
            ids = range(partition, replicas * partitions, partitions)
            assignment.computation_devices.add(replica_device_ids=ids)
    return proto.SerializeToString(deterministic=True)


class _JaxContext(ir.Context):
    """An MLIR context without the dialects that ir.Context's own __init__ loads (as jax makes it)."""

    def __init__(self) -> None:
        super(ir.Context, self).__init__()


def mlir_context() -> Any:
    """A context that knows the dialects of programs that jax, Keras and TensorFlow make."""
    context = _JaxContext()
    context.enable_multithreading(False)  # a program of 43,714 instructions: 64 ms to parse and verify, 75 with threads
    registry = ir.DialectRegistry()
    _jax_mlir_ext.register_dialects(registry)
    context.append_dialect_registry(registry)
    context.load_all_available_dialects()
    # Not from jaxlib.mlir.dialects, which has a Python class for every operation: slow to import, and unused here.
    for dialect in (_stablehlo, _chlo, _sdy):
        dialect.register_dialect(context)
    _mlirHlo.register_mhlo_dialect(context)
    return context


# ---------------------------------------------------------------------------------------------------------------------
# Compiling and running

_client: Any = None


def _cpu_client() -> Any:
    global _client
    if _client is None:
        _client = xla_client.make_cpu_client(asynchronous=False)
    return _client


class Device:
    """One device of this process: what programs are loaded on, and run on.

    Args:
        handle: jax's.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._client = handle.client

    @property
    def kind(self) -> str:
        """Such as "cpu" or "TPU v5 lite"."""
        kind: str = self._handle.device_kind
        return kind

    @property
    def memory(self) -> int | None:
        """Bytes of its own memory that programs may use; None where it does not say."""
        stats = self._handle.memory_stats() or {}
        return int(stats["bytes_limit"]) if "bytes_limit" in stats else None

    def compile(
        self,
        module: bytes,
        *,
        options: Mapping[str, str | int | bool] | None = None,
        extra_options: Mapping[str, str] | None = None,
    ) -> LoadedProgram:
        """Compile a serialized HloModuleProto.

        Args:
            module: HLO before optimisation.
            options: XLA flags by name (without dashes).
            extra_options: entries of the flag `xla_backend_extra_options`.
        """
        compile_options = xla_client.CompileOptions()
        if extra_options:
            # jaxlib has no setter for this map: append it to the serialized options, where protobuf merges messages.
            patch = _extra_options_patch(extra_options)
            compile_options = xla_client.CompileOptions.ParseFromString(compile_options.SerializeAsString() + patch)
        if options:
            compile_options.env_option_overrides = list(options.items())
        code = module_to_stablehlo(module)
        return LoadedProgram(self._client.compile_and_load(code, [self._handle], compile_options), self)

    def load(self, serialized: bytes) -> LoadedProgram:
        """Load what was compiled elsewhere.

        Args:
            serialized: from `LoadedProgram.serialized`, or in the same form (`autotune.targets.tpu.executable`).
        """
        devices = xla_client.DeviceList((self._handle,))
        executable = self._client.deserialize_executable(serialized, devices, xla_client.CompileOptions())
        return LoadedProgram(executable, self, serialized)

    def put(self, array: NDArray[Any], layout: Any = None) -> Any:
        """An array on the device, of exactly this dtype.

        Args:
            array: on the host.
            layout: one of `LoadedProgram.parameter_layouts`; None for the device's usual one.
        """
        import jax
        from jax.experimental.layout import Format, Layout
        from jax.sharding import SingleDeviceSharding

        jax.config.update("jax_enable_x64", True)  # else 64-bit inputs are narrowed without a word
        there = jax.device_put(array, self._handle)
        wanted = None if layout is None else Layout.from_pjrt_layout(layout)
        if wanted is None or there.format.layout == wanted:
            return there
        return jax.device_put(there, Format(wanted, SingleDeviceSharding(self._handle)))


def cpu_device() -> Device:
    """XLA:CPU in this process, without queues: a call returns when the program has run."""
    return Device(_cpu_client().local_devices()[0])


def attached_device(platform: str) -> Device:
    """The first device of a platform that jax sees.

    Args:
        platform: such as "tpu".

    Raises:
        RuntimeError: jax sees none, in its own words.
    """
    import jax

    return Device(jax.local_devices(backend=platform)[0])


class LoadedProgram:
    """A program that is ready to run on a device.

    Args:
        executable: jaxlib's.
        device: that it is loaded on.
        serialized: what it was loaded from. (XLA:CPU serializes what it has loaded without the functions in it.)
    """

    def __init__(self, executable: Any, device: Device, serialized: bytes | None = None) -> None:
        self._executable = executable
        self._device = device
        self._serialized = serialized

    def __call__(self, arguments: Sequence[Any]) -> Any:
        """Run once and wait for the outputs.

        Args:
            arguments: device arrays, one per leaf of the entry parameters.
        """
        results = self._executable.execute_sharded(arguments).disassemble_into_single_device_arrays()
        for output in results:
            for array in output:
                array.block_until_ready()
        return results

    def outputs(self, arguments: Sequence[Any]) -> list[NDArray[Any]]:
        """Run once and bring the outputs to the host."""
        return self.to_host(self(arguments))

    @staticmethod
    def to_host(results: Any) -> list[NDArray[Any]]:
        """What a call returned, as arrays of the host."""
        return [np.asarray(output[0]) for output in results]

    @property
    def parameter_layouts(self) -> list[Any]:
        """The layout that each argument must have; the CPU does not check it and takes the bytes as they come."""
        return list(self._executable.get_parameter_layouts())

    @property
    def serialized(self) -> bytes:
        """For `Device.load`, in this process or another."""
        if self._serialized is None:
            self._serialized = self._executable.serialize()
        return self._serialized

    def copy(self) -> LoadedProgram:
        """The same machine code loaded once more, at other addresses."""
        return self._device.load(self.serialized)

    def optimised_text(self) -> str:
        """The optimised HLO."""
        text: str = self._executable.hlo_modules()[0].to_string()
        return text

    def optimised_module(self) -> bytes:
        """The optimised HLO, a serialized HloModuleProto."""
        module: bytes = self._executable.hlo_modules()[0].as_serialized_hlo_module_proto()
        return module

    def memory(self) -> dict[str, int]:
        """Bytes by use: "argument", "output", "temp", "generated_code"."""
        stats = self._executable.get_compiled_memory_stats()
        return {
            name: int(getattr(stats, f"{name}_size_in_bytes"))
            for name in ("argument", "output", "temp", "generated_code")
        }


def optimised_modules(variants: Sequence[tuple[bytes, dict[str, str | int | bool], dict[str, str]]]) -> list[bytes]:
    """Compile for this host's CPU.

    Args:
        variants: serialized HloModuleProto before optimisation, and its options as for `Device.compile`.

    Returns:
        Serialized HloModuleProtos after it.
    """
    programs = [cpu_device().compile(module, options=flags, extra_options=extra) for module, flags, extra in variants]
    return [program.optimised_module() for program in programs]


def dump_layout_assignment(module: bytes, directory: str) -> tuple[bytes, bytes]:
    """The HloProtos that XLA:CPU has just before and just after layout assignment, from the compiler's own dump.

    Args:
        module: serialized HloModuleProto.
        directory: an empty folder that the dump may fill.
    """
    options: dict[str, str | int | bool] = {
        "xla_dump_to": directory,
        "xla_dump_hlo_as_proto": True,
        "xla_dump_hlo_as_text": False,
        "xla_dump_hlo_pass_re": "layout-assignment",
    }
    cpu_device().compile(module, options=options)
    folder = Path(directory)
    before, after = (sorted(folder.glob(f"*.{when}_layout-assignment*.hlo.pb")) for when in ("before", "after"))
    if not before or not after:
        raise UnsupportedProgramError("XLA:CPU wrote no module before layout assignment; is the program empty?")
    return before[-1].read_bytes(), after[-1].read_bytes()


def _extra_options_patch(extra: Mapping[str, str]) -> bytes:
    """CompileOptionsProto{executable_build_options=3{debug_options=3{xla_backend_extra_options=500}}}."""
    entries = b"".join(
        field(500, field(1, key.encode()) + field(2, str(value).encode())) for key, value in extra.items()
    )
    return field(3, field(3, entries))
