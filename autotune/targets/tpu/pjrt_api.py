"""The PJRT C API, as far as a compilation needs it: structures, the table of functions, and the check of both.

Structures and places are those of openxla, `xla/pjrt/c/pjrt_c_api.h` (Apache-2.0). The header's rules make a part
enough: within one major version structures and the table only grow at their end, and each carries its own size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from autotune.errors import ToolchainError
from autotune.targets.tpu.toolchain import ADVICE

MAJOR_VERSION: Final = 0
MINOR_VERSIONS: Final = range(90, 200)
"""The table of 0.90 was read in the header, that of 0.117 (libtpu 0.0.52) was used; older ones lack what we need."""

# Places in the table of functions, `struct PJRT_Api` after its version.
FUNCTIONS: Final = {
    "PJRT_Error_Destroy": 0,
    "PJRT_Error_Message": 1,
    "PJRT_Error_GetCode": 2,
    "PJRT_Plugin_Initialize": 3,
    "PJRT_Executable_Destroy": 40,
    "PJRT_Executable_OptimizedProgram": 48,
    "PJRT_Executable_Serialize": 49,
    "PJRT_TopologyDescription_Create": 82,
    "PJRT_Compile": 89,
}
# `PJRT_Error_Code`, which has the numbers of absl::StatusCode.
RESOURCE_EXHAUSTED: Final = 8


def _arguments(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
    """A structure of the interface: all begin with their size and a chain of extensions, which we do not use."""
    head = [("struct_size", ctypes.c_size_t), ("extension_start", ctypes.c_void_p)]
    return type(name, (ctypes.Structure,), {"_fields_": [*head, *fields]})


Version = _arguments("PJRT_Api_Version", ("major_version", ctypes.c_int), ("minor_version", ctypes.c_int))
ErrorDestroy = _arguments("PJRT_Error_Destroy_Args", ("error", ctypes.c_void_p))
ErrorMessage = _arguments(
    "PJRT_Error_Message_Args",
    ("error", ctypes.c_void_p),
    ("message", ctypes.c_void_p),
    ("message_size", ctypes.c_size_t),
)
ErrorGetCode = _arguments("PJRT_Error_GetCode_Args", ("error", ctypes.c_void_p), ("code", ctypes.c_int))
PluginInitialize = _arguments("PJRT_Plugin_Initialize_Args")
TopologyCreate = _arguments(
    "PJRT_TopologyDescription_Create_Args",
    ("topology_name", ctypes.c_char_p),
    ("topology_name_size", ctypes.c_size_t),
    ("create_options", ctypes.c_void_p),
    ("num_options", ctypes.c_size_t),
    ("topology", ctypes.c_void_p),
)
Program = _arguments(
    "PJRT_Program",
    ("code", ctypes.c_void_p),
    ("code_size", ctypes.c_size_t),
    ("format", ctypes.c_void_p),
    ("format_size", ctypes.c_size_t),
)
Compile = _arguments(
    "PJRT_Compile_Args",
    ("topology", ctypes.c_void_p),
    ("program", ctypes.c_void_p),
    ("compile_options", ctypes.c_char_p),
    ("compile_options_size", ctypes.c_size_t),
    ("client", ctypes.c_void_p),
    ("executable", ctypes.c_void_p),
)
OptimizedProgram = _arguments(
    "PJRT_Executable_OptimizedProgram_Args", ("executable", ctypes.c_void_p), ("program", ctypes.c_void_p)
)
Serialize = _arguments(
    "PJRT_Executable_Serialize_Args",
    ("executable", ctypes.c_void_p),
    ("serialized_bytes", ctypes.c_void_p),
    ("serialized_bytes_size", ctypes.c_size_t),
    ("serialized_executable", ctypes.c_void_p),
    ("serialized_executable_deleter", ctypes.c_void_p),
)
ExecutableDestroy = _arguments("PJRT_Executable_Destroy_Args", ("executable", ctypes.c_void_p))

# `struct PJRT_Api`: size, extensions, version, then the functions.
_VERSION_OFFSET: Final = 16
_TABLE_OFFSET: Final = _VERSION_OFFSET + ctypes.sizeof(Version)


def check_api(api: int) -> tuple[int, int]:
    """Refuse an interface that we do not know, before anything of it is called.

    Args:
        api: address of a `PJRT_Api`, 0 if the library gave none.

    Returns:
        Its major and minor version.

    Raises:
        ToolchainError: says what was found and what is known.
    """
    if not api:
        raise ToolchainError(f"libtpu gives no PJRT interface; {ADVICE}")
    size = ctypes.c_size_t.from_address(api).value
    needed = _TABLE_OFFSET + (max(FUNCTIONS.values()) + 1) * ctypes.sizeof(ctypes.c_void_p)
    if size < needed:
        raise ToolchainError(f"libtpu's PJRT table has {size} bytes, expected {needed} or more; {ADVICE}")
    version = Version.from_address(api + _VERSION_OFFSET)
    major, minor = int(version.major_version), int(version.minor_version)
    if version.struct_size != ctypes.sizeof(Version) or major != MAJOR_VERSION or minor not in MINOR_VERSIONS:
        raise ToolchainError(
            f"libtpu speaks PJRT C API {major}.{minor}, this tool {MAJOR_VERSION}.{MINOR_VERSIONS.start} "
            f"to {MAJOR_VERSION}.{MINOR_VERSIONS.stop - 1}; {ADVICE}"
        )
    return major, minor


def function(api: int, name: str, result: Any) -> Callable[[ctypes.Structure], Any]:
    """A function of the table, as one that takes its structure of arguments (and writes the size into it).

    Args:
        api: address of a `PJRT_Api` that `check_api` has accepted.
        name: one of `FUNCTIONS`.
        result: ctypes type of what it returns; None for nothing.
    """
    place = api + _TABLE_OFFSET + ctypes.sizeof(ctypes.c_void_p) * FUNCTIONS[name]
    prototype = ctypes.CFUNCTYPE(result, ctypes.c_void_p)
    call = prototype(ctypes.c_size_t.from_address(place).value)
    return lambda arguments: call(ctypes.addressof(sized(arguments)))


def sized(arguments: Any) -> Any:
    """The same structure, knowing its size, by which the library tells which version of it the caller has."""
    arguments.struct_size = ctypes.sizeof(arguments)
    return arguments
