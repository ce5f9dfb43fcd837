"""The door to XLA: the only module that touches jaxlib's private names. Imported in child processes only.

Everything here can abort the process on odd input, so callers reach it through `autotune.targets.isolation`.
The calls were tried with the versions in `SUPPORTED`; any other version is refused when this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # with libtpu installed jax would try to start a TPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jaxlib.version
import numpy as np
from numpy.typing import NDArray

from autotune.errors import ToolchainError, UnsupportedProgramError

SUPPORTED = ((0, 10), (0, 11))
"""First supported (major, minor) of jaxlib, and the first that is not."""


def _check_version() -> None:
    found = tuple(int(part) for part in jaxlib.version.__version__.split(".")[:2])
    if not SUPPORTED[0] <= found < SUPPORTED[1]:
        low, high = (".".join(map(str, version)) for version in SUPPORTED)
        raise ToolchainError(
            f"jaxlib {jaxlib.version.__version__} is installed, but this tool speaks to jaxlib >= {low}, < {high}; "
            f"run: pip install 'jax>={low},<{high}' 'jaxlib>={low},<{high}'"
        )


_check_version()

from jaxlib import _hlo, _jax, xla_client  # noqa: E402 - only after the check: the names differ between versions

# ---------------------------------------------------------------------------------------------------------------------
# Reading and writing programs


def parse_hlo_text(text: str) -> bytes:
    """HLO text -> serialized HloModuleProto."""
    module: bytes = _hlo.hlo_module_from_text(text).as_serialized_hlo_module_proto()
    return module


def print_hlo_text(module: bytes) -> str:
    """Serialized HloModuleProto -> HLO text."""
    text: str = _hlo.HloModule.from_serialized_hlo_module_proto(module).to_string()
    return text


def validate_module(module: bytes) -> None:
    """Let XLA check a serialized HloModuleProto.

    Raises:
        Exception: XLA's own error, for a module that it does not accept.
    """
    _hlo.HloModule.from_serialized_hlo_module_proto(module)


def stablehlo_to_module(code: bytes) -> bytes:
    """StableHLO or MHLO (text, bytecode or a portable artifact) -> serialized HloModuleProto."""
    computation = _jax.mlir.mlir_module_to_xla_computation(code, use_tuple_args=False, return_tuple=False)
    module: bytes = computation.as_serialized_hlo_module_proto()
    return module


def module_to_stablehlo(module: bytes) -> bytes:
    """Serialized HloModuleProto -> MLIR bytecode."""
    code: bytes = _jax.mlir.hlo_to_stablehlo(module)
    return code


def cost_analysis(module: bytes) -> dict[str, float]:
    """XLA's own count of operations: "flops", "transcendentals", "bytes accessed", ..."""
    hlo_module = _hlo.HloModule.from_serialized_hlo_module_proto(module)
    costs: dict[str, float] = _jax.hlo_module_cost_analysis(_cpu_client(), hlo_module)
    return costs


# ---------------------------------------------------------------------------------------------------------------------
# Compiling and running on XLA:CPU

_client: Any = None


def _cpu_client() -> Any:
    global _client
    if _client is None:
        _client = xla_client.make_cpu_client(asynchronous=False)
    return _client


class CpuProgram:
    """A program compiled by XLA:CPU and loaded in this process."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

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
        return [np.asarray(output[0]) for output in self(arguments)]

    def copy(self) -> CpuProgram:
        """The same machine code loaded once more, at other addresses."""
        blob = self._executable.serialize()
        devices = xla_client.DeviceList(tuple(_cpu_client().local_devices()[:1]))
        return CpuProgram(_cpu_client().deserialize_executable(blob, devices, xla_client.CompileOptions()))

    def optimised_text(self) -> str:
        """The optimised HLO."""
        text: str = self._executable.hlo_modules()[0].to_string()
        return text

    def memory(self) -> dict[str, int]:
        """Bytes by use: "argument", "output", "temp", "generated_code"."""
        stats = self._executable.get_compiled_memory_stats()
        return {
            name: int(getattr(stats, f"{name}_size_in_bytes"))
            for name in ("argument", "output", "temp", "generated_code")
        }


def compile_for_cpu(
    module: bytes,
    *,
    options: Mapping[str, str | int | bool] | None = None,
    extra_options: Mapping[str, str] | None = None,
) -> CpuProgram:
    """Compile a serialized HloModuleProto for this process's CPU client.

    Args:
        module: HLO before optimisation.
        options: XLA flags by name (without dashes).
        extra_options: entries of the flag `xla_backend_extra_options`.
    """
    client = _cpu_client()
    compile_options = xla_client.CompileOptions()
    if extra_options:
        # jaxlib has no setter for this map: append it to the serialized options, where protobuf merges messages.
        patch = _extra_options_patch(extra_options)
        compile_options = xla_client.CompileOptions.ParseFromString(compile_options.SerializeAsString() + patch)
    if options:
        compile_options.env_option_overrides = list(options.items())
    code = module_to_stablehlo(module)
    return CpuProgram(client.compile_and_load(code, client.local_devices()[:1], compile_options))


def dump_before_layout_assignment(module: bytes, directory: str) -> bytes:
    """The HloProto that XLA:CPU has just before layout assignment, from the compiler's own dump.

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
    compile_for_cpu(module, options=options)
    dumps = sorted(Path(directory).glob("*.before_layout-assignment.hlo.pb"))
    if not dumps:
        raise UnsupportedProgramError("XLA:CPU wrote no module before layout assignment; is the program empty?")
    return dumps[-1].read_bytes()


def to_device(array: NDArray[Any]) -> Any:
    """An array on the CPU device, of exactly this dtype."""
    import jax

    jax.config.update("jax_enable_x64", True)  # else 64-bit inputs are narrowed without a word
    return jax.device_put(array, _cpu_client().local_devices()[0])


def _extra_options_patch(extra: Mapping[str, str]) -> bytes:
    """CompileOptionsProto { executable_build_options = 3 { debug_options = 3 { xla_backend_extra_options = 500 } } }."""
    entries = b"".join(
        _field(500, _field(1, key.encode()) + _field(2, str(value).encode())) for key, value in extra.items()
    )
    return _field(3, _field(3, entries))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
