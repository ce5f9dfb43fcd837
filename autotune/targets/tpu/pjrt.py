"""The TPU compiler through the PJRT C API: HLO and options in, the optimised program out. In children only."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from autotune.errors import ToolchainError
from autotune.targets.tpu import pjrt_api
from autotune.targets.tpu.toolchain import ADVICE

_PROGRAM_FORMAT: Final = b"hlo"
_OPTIMISED_FORMAT: Final = b"hlo_with_config"
_Taken = TypeVar("_Taken")


class CompileRefusedError(Exception):
    """The compiler said no, in words."""


class DeviceMemoryError(CompileRefusedError):
    """The program needs more memory than the TPU has (not: more than this host has)."""


class PjrtCompiler:
    """The compiler for one topology; no TPU is needed or touched.

    Args:
        topology: as libtpu names it, such as "v5e:1x1".
        api: address of a `PJRT_Api`; None loads libtpu.

    Raises:
        ToolchainError: libtpu is missing, or its interface is not one that we know.
        CompileRefusedError: there is no such topology.
    """

    def __init__(self, topology: str, *, api: int | None = None) -> None:
        self._api = _load_api() if api is None else api
        self.api_version = pjrt_api.check_api(self._api)
        """Major and minor version of the PJRT C API."""
        self._call("PJRT_Plugin_Initialize", pjrt_api.PluginInitialize())
        name = topology.encode()
        self._topology = self._call(
            "PJRT_TopologyDescription_Create", pjrt_api.TopologyCreate(topology_name=name, topology_name_size=len(name))
        ).topology

    def compile(self, module: bytes, options: bytes) -> bytes:
        """Compile a program.

        Args:
            module: serialized HloModuleProto.
            options: serialized CompileOptionsProto (see `options.compile_options`).

        Returns:
            The optimised program, a serialized HloModuleProtoWithConfig.

        Raises:
            CompileRefusedError: the compiler's own words. Odd programs may also abort the process or never return.
        """
        return self._compile(module, options, self._optimised_program)

    def executable(self, module: bytes, options: bytes) -> tuple[bytes, bytes]:
        """As `compile`, with what a device can load: libtpu's own form, to be passed on and not looked into."""
        return self._compile(module, options, lambda made: (self._optimised_program(made), self._serialized(made)))

    def _compile(self, module: bytes, options: bytes, take: Callable[[int], _Taken]) -> _Taken:
        code = ctypes.c_char_p(module)  # both live until the end of this function, and so do the pointers to them
        format_name = ctypes.c_char_p(_PROGRAM_FORMAT)
        program = pjrt_api.sized(
            pjrt_api.Program(
                code=ctypes.cast(code, ctypes.c_void_p),
                code_size=len(module),
                format=ctypes.cast(format_name, ctypes.c_void_p),
                format_size=len(_PROGRAM_FORMAT),
            )
        )
        arguments = pjrt_api.Compile(
            topology=self._topology,
            program=ctypes.addressof(program),
            compile_options=options,
            compile_options_size=len(options),
        )
        executable = self._call("PJRT_Compile", arguments).executable
        try:
            return take(executable)
        finally:
            self._call("PJRT_Executable_Destroy", pjrt_api.ExecutableDestroy(executable=executable))

    def _optimised_program(self, executable: int) -> bytes:
        program = pjrt_api.sized(pjrt_api.Program())
        arguments = pjrt_api.OptimizedProgram(executable=executable, program=ctypes.addressof(program))
        self._call("PJRT_Executable_OptimizedProgram", arguments)  # without a buffer: tells the size
        buffer = ctypes.create_string_buffer(program.code_size)
        program.code = ctypes.addressof(buffer)
        self._call("PJRT_Executable_OptimizedProgram", arguments)
        found = ctypes.string_at(program.format, program.format_size)
        if found != _OPTIMISED_FORMAT:
            raise ToolchainError(
                f"libtpu returned the optimised program as {found!r}, expected {_OPTIMISED_FORMAT!r}; {ADVICE}"
            )
        return bytes(buffer.raw)

    def _serialized(self, executable: int) -> bytes:
        found = self._call("PJRT_Executable_Serialize", pjrt_api.Serialize(executable=executable))
        try:
            return ctypes.string_at(found.serialized_bytes, found.serialized_bytes_size)
        finally:
            delete = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(found.serialized_executable_deleter)
            delete(found.serialized_executable)

    def _call(self, name: str, arguments: Any) -> Any:
        """Call a function of the table; its results stand in the arguments."""
        error = pjrt_api.function(self._api, name, ctypes.c_void_p)(arguments)
        if error:
            raise self._error(error)
        return arguments

    def _error(self, error: int) -> CompileRefusedError:
        message = pjrt_api.ErrorMessage(error=error)
        pjrt_api.function(self._api, "PJRT_Error_Message", None)(message)
        text = ctypes.string_at(message.message, message.message_size).decode(errors="replace")  # lives with the error
        code = self._call("PJRT_Error_GetCode", pjrt_api.ErrorGetCode(error=error)).code
        pjrt_api.function(self._api, "PJRT_Error_Destroy", None)(pjrt_api.ErrorDestroy(error=error))
        return (DeviceMemoryError if code == pjrt_api.RESOURCE_EXHAUSTED else CompileRefusedError)(text)


def _load_api() -> int:
    specification = importlib.util.find_spec("libtpu")
    if specification is None or specification.origin is None:
        raise ToolchainError(f"libtpu, the TPU compiler, is not installed; {ADVICE}")
    try:
        library = ctypes.CDLL(str(Path(specification.origin).with_name("libtpu.so")))
    except OSError as error:
        raise ToolchainError(f"libtpu, the TPU compiler, cannot be loaded: {error}; {ADVICE}") from error
    library.GetPjrtApi.restype = ctypes.c_void_p
    return library.GetPjrtApi() or 0
