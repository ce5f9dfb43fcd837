"""Any file that holds a program -> `Program`. The content decides what it is, not the name.

XLA reads text and checks every module in a child process, because odd input may crash it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from autotune.errors import ProgramReadError, ToolchainError, UnsupportedProgramError
from autotune.hlo import formats, optimised
from autotune.hlo.formats import BinaryModule, Format
from autotune.hlo.kernels import is_one_kernel
from autotune.hlo.program import Program
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from protos import hlo_pb2

SIZE_LIMIT = 2**31 - 1
"""Bytes: no serialized protobuf message may be larger, so XLA has no larger programs."""

_KNOWN = "HLO text, StableHLO (text or bytecode), or a binary HloModuleProto, HloProto, HloSnapshot or TpuGraphs file"
_SECONDS = 120.0
_SECONDS_PER_BYTE = 1e-6  # measured 0.1 us per byte of text on a quiet core; ten times that

_XLA_POSITION = re.compile(r"was parsing (\d+):(\d+): error: (.*?)(?=\nwas parsing |\Z)", re.DOTALL)
_MLIR_POSITION = re.compile(r'error: "[^"]*":(\d+):(\d+): (.*)')
_CONTEXT_COLUMNS = 60


def read(
    path: str | os.PathLike[str],
    *,
    module_name: str | None = None,
    keep_optimised: bool = False,
    keep_kernels: bool = False,
) -> Program:
    """Read a program from a file.

    Args:
        path: HLO text; StableHLO or MHLO as text or bytecode (also jax's exports); a binary HloModuleProto, HloProto
            or HloSnapshot; TpuGraphs' ModuleTuningData or TuningData.
        module_name: which module, for files that hold several.
        keep_optimised: leave a program that a compiler has already optimised as it is; otherwise it is un-fused (see
            `autotune.hlo.optimised`).
        keep_kernels: leave one that is a single kernel as it is (see `autotune.hlo.kernels`).

    Returns:
        The program, checked by XLA.

    Raises:
        ProgramReadError: the file is missing, unreadable, empty, too large, damaged, in no known format, or XLA
            refuses what is in it; or there are several modules to choose from.
        UnsupportedProgramError: the program has dynamic shapes, or is optimised and cannot be un-fused exactly.
        ToolchainError: jaxlib is missing or of another version.
    """
    path = Path(path)
    return read_bytes(
        _load(path), path.name, module_name=module_name, keep_optimised=keep_optimised, keep_kernels=keep_kernels
    )


def read_bytes(
    data: bytes,
    source: str,
    *,
    module_name: str | None = None,
    keep_optimised: bool = False,
    keep_kernels: bool = False,
) -> Program:
    """Read a program from memory.

    Args:
        data: the content of a file.
        source: what messages call it, such as the file's name.
        module_name: as for `read`.
        keep_optimised: as for `read`.
        keep_kernels: as for `read`.

    Raises:
        ProgramReadError: as for `read`.
        UnsupportedProgramError: as for `read`.
        ToolchainError: as for `read`.
    """
    if not data.strip():
        raise ProgramReadError(f"{source}: the file is empty; expected {_KNOWN}")
    with _Xla(source, len(data)) as xla:
        form, candidates, serialized = _modules(data, source, xla)
        found = _choose(candidates, module_name, source)
        module, notes = found.module, _elided_constants(data, form)
        _check_static(module, source)
        was_optimised = optimised.is_optimised(module)
        if was_optimised and not keep_optimised and not (keep_kernels and is_one_kernel(module)):
            module, undone = optimised.unfuse(module, source)
            notes += undone
            serialized = None
        if serialized is None:
            serialized = module.SerializeToString(deterministic=True)
        notes += xla.check(serialized, tolerant=was_optimised)
    tuning = found.tuning.SerializeToString(deterministic=True) if found.tuning is not None else None
    return Program(module.name, serialized, f"{source} ({form.value})", notes, tuning)


def _load(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:  # (Path.open takes no opener)
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ProgramReadError(f"{path}: not a regular file; expected {_KNOWN}")
            if status.st_size > SIZE_LIMIT:
                raise ProgramReadError(
                    f"{path}: {status.st_size:,} bytes; a program has at most {SIZE_LIMIT:,} (2 GiB). "
                    "Dump it without its constants, or split it"
                )
            return file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise ProgramReadError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ProgramReadError(f"{path}: is a folder; name one file in it") from None
    except PermissionError:
        raise ProgramReadError(f"{path}: no permission to read it") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ProgramReadError(f"{str(path)!r}: cannot be read: {error}") from None


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a FIFO without waiting for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _modules(data: bytes, source: str, xla: _Xla) -> tuple[Format, list[BinaryModule], bytes | None]:
    """What the data is, the modules in it, and the one module as XLA wrote it if it was XLA that read the data."""
    if formats.is_mlir_bytecode(data):
        return Format.MLIR, *xla.module("stablehlo_to_module", data)
    if formats.is_text(data):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ProgramReadError(f"{source}: byte {error.start} is not UTF-8; expected {_KNOWN}") from None
        match formats.recognise_text(text):
            case Format.HLO_TEXT:
                if not re.search(r"^[ \t]*ENTRY\b", text, re.MULTILINE):
                    raise ProgramReadError(f"{source}: HLO text without an ENTRY computation; was the file cut short?")
                return Format.HLO_TEXT, *xla.module("parse_hlo_text", text, text)
            case Format.MLIR:
                return Format.MLIR, *xla.module("stablehlo_to_module", text.encode(), text)
            case _:
                line = text.strip().splitlines()[0][:_CONTEXT_COLUMNS]
                raise ProgramReadError(f"{source}: text that is no program; expected {_KNOWN}, found {line!r}")
    parsed = formats.parse_binary(data)
    if parsed is None:
        raise ProgramReadError(
            f"{source}: {len(data):,} bytes of binary data that hold no whole program: damaged, cut short or something "
            f"else (it begins with {data[:8].hex(' ')}); expected {_KNOWN}"
        )
    return *parsed, None


def _choose(candidates: list[BinaryModule], name: str | None, source: str) -> BinaryModule:
    names = [candidate.module.name for candidate in candidates]
    listed = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    chosen = [candidate for candidate in candidates if name is None or candidate.module.name == name]
    if not chosen:
        raise ProgramReadError(f"{source}: no module named {name!r}; there is: {listed}")
    if len(chosen) > 1:
        which = f"{len(chosen)} modules are named {name!r}" if name else "several modules; choose one by its name"
        raise ProgramReadError(f"{source}: {which}: {listed}")
    return chosen[0]


def _elided_constants(data: bytes, form: Format) -> tuple[str, ...]:
    count = data.count(b"constant({...})") if form is Format.HLO_TEXT else 0
    if not count:
        return ()
    return (f"constants left out of the text ({{...}}): {count}; XLA puts made-up values in their places",)


def _check_static(module: hlo_pb2.HloModuleProto, source: str) -> None:
    for parameter in module.host_program_shape.parameters:
        if any(size < 0 for size in parameter.dimensions):
            raise UnsupportedProgramError(
                f"{source}: a parameter has a dimension without a size; export the program with concrete shapes"
            )


class _Xla:
    """XLA in a child process, with its failures turned into errors about the file."""

    def __init__(self, source: str, size: int) -> None:
        self._source = source
        self._time_limit = _SECONDS + size * _SECONDS_PER_BYTE
        self._worker = Worker("autotune.hlo.jaxlib")

    def __enter__(self) -> _Xla:
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.stop()

    def module(self, function: str, program: str | bytes, text: str = "") -> tuple[list[BinaryModule], bytes]:
        """Read text or MLIR, into a module and the same serialized; `text` is what error messages quote."""
        try:
            serialized: bytes = self._call(function, program)
        except WorkerFailure as failure:
            raise self._refusal(failure, text) from None
        return [BinaryModule(hlo_pb2.HloModuleProto.FromString(serialized))], serialized

    def check(self, module: bytes, *, tolerant: bool) -> tuple[str, ...]:
        """Have a module checked.

        Args:
            module: serialized HloModuleProto.
            tolerant: compilers write instructions into optimised programs that the verifier does not know; take its
                refusal as a note.

        Returns:
            Notes for the user.
        """
        try:
            self._call("validate_module", module)
        except WorkerFailure as failure:
            if tolerant and failure.error_type == "VerificationError":
                return (f"XLA's verifier objects: {_first_line(failure.message)}",)
            raise self._refusal(failure, "") from None
        return ()

    def _call(self, function: str, argument: str | bytes) -> Any:
        return self._worker.call(function, argument, time_limit=self._time_limit)

    def _refusal(self, failure: WorkerFailure, text: str) -> Exception:
        if failure.reason is WorkerFailureReason.KILLED:
            return failure
        if failure.error_type == "ToolchainError":
            return ToolchainError(failure.message)
        if failure.reason is WorkerFailureReason.ERROR:
            return ProgramReadError(describe_refusal(self._source, failure.message, text))
        return ProgramReadError(f"{self._source}: XLA could not read it: {failure}")


def describe_refusal(source: str, message: str, text: str) -> str:
    """What XLA said of a program, as one short message.

    Args:
        source: what the program is called.
        message: XLA's error.
        text: the program, for a syntax error; the line that XLA names is shown.

    Returns:
        "SOURCE:LINE:COLUMN: what is wrong", the line and a mark under the column; or SOURCE and the first line.
    """
    errors = _XLA_POSITION.findall(message) or _MLIR_POSITION.findall(message)
    if not errors or not text:
        return f"{source}: XLA refuses this program: {_first_line(message)}"
    line, column = int(errors[0][0]), int(errors[0][1])
    # XLA goes on after the first error; what it says of the same place often names the cause.
    said = [_first_line(error[2]).removeprefix("error: ") for error in errors if error[:2] == errors[0][:2]]
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return f"{source}: the text ends too early, after line {len(lines)}: {'; '.join(said)}"
    shown = lines[line - 1].replace("\t", " ")
    start = max(0, column - 1 - _CONTEXT_COLUMNS)
    end = column - 1 + _CONTEXT_COLUMNS
    before = "..." if start else ""
    excerpt = before + shown[start:end] + ("..." if end < len(shown) else "")
    mark = " " * (len(before) + column - 1 - start) + "^"
    return f"{source}:{line}:{column}: {'; '.join(dict.fromkeys(said))}\n  {excerpt}\n  {mark}"


def _first_line(message: str) -> str:
    text = message.strip().splitlines() or [""]
    line = next((line for line in text if "error:" in line), text[0])
    line = line.partition("error: ")[2] or line
    return re.sub(r"^[A-Z_]+: ", "", line.strip())[:500]
