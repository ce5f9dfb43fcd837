"""The child's side of the TPU compiler: one topology, one compilation at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autotune.errors import ToolchainError
from autotune.targets.child import enter_phase
from autotune.targets.tpu.options import with_flags
from autotune.targets.tpu.pjrt import DeviceMemoryError, PjrtCompiler
from autotune.targets.tpu.toolchain import ADVICE
from autotune.targets.tpu.watchdog import end_beyond
from protos.hlo_pb2 import HloModuleProto, HloProto

MAXIMUM_LOG_BYTES: Final = 1 << 29
"""A log of one kernel's tile candidates has at most some megabytes; a whole program's may have any size."""

_STDERR: Final = 2


@dataclass(frozen=True)
class DumpPoint:
    """A place in the compiler's work at which it can write the program to a file.

    Attributes:
        description: for messages.
        passes: a regular expression of the passes beside which files are written; as few as possible.
        files: which of these files it is.
    """

    description: str
    passes: str
    files: str


BEFORE_LAYOUT_ASSIGNMENT: Final = DumpPoint(
    "before layout assignment", "^layout-assignment$", "*.before_layout-assignment.hlo.pb"
)
AFTER_LAYOUT_ASSIGNMENT: Final = DumpPoint(
    "after layout assignment", "^layout-assignment$", "*.after_layout-assignment*.hlo.pb"
)
BEFORE_MEMORY_SPACE_ASSIGNMENT: Final = DumpPoint(
    "before memory space assignment",
    "^root-instruction-sinker$",  # the first pass of that pipeline
    "*.Pre_memory_space_assignment.after_pipeline-start.*.hlo.pb",
)


@dataclass(frozen=True)
class Stages:
    """One compilation, with the program as it was on its way.

    Attributes:
        before_layout_assignment: serialized HloModuleProto; what layout configs refer to.
        after_layout_assignment: serialized HloModuleProto; the same with the layouts that the compiler gave it.
        before_memory_space_assignment: serialized HloModuleProto; what a backend-only compilation takes up again.
        optimised: serialized HloModuleProtoWithConfig; empty when the program does not fit the TPU's memory.
        refusal: what the compiler says in that case, else "".
    """

    before_layout_assignment: bytes
    after_layout_assignment: bytes
    before_memory_space_assignment: bytes
    optimised: bytes
    refusal: str = ""


class TpuWorker:
    """The compiler of one topology in this process.

    Args:
        topology: as libtpu names it, such as "v5e:1x1".
        folder: where dumps may be written for the time of a call; None for the system's own.
        memory_limit: bytes of private memory beyond which this process ends itself; None for no limit.
    """

    def __init__(self, topology: str, folder: str | None = None, memory_limit: int | None = None) -> None:
        if memory_limit is not None:
            end_beyond(memory_limit)
        self._compiler = PjrtCompiler(topology)
        self._folder = folder

    def api_version(self) -> tuple[int, int]:
        """Major and minor version of libtpu's PJRT C API."""
        return self._compiler.api_version

    def compile(self, module: bytes, options: bytes) -> bytes:
        """Compile.

        Args:
            module: serialized HloModuleProto.
            options: serialized CompileOptionsProto.

        Returns:
            Serialized HloModuleProtoWithConfig of the optimised program.

        Raises:
            CompileRefusedError: the compiler's own words.
        """
        enter_phase("compiling")
        return self._compiler.compile(module, options)

    def executable(self, module: bytes, options: bytes) -> tuple[bytes, bytes]:
        """As `compile`, and the executable as libtpu serializes it."""
        enter_phase("compiling")
        return self._compiler.executable(module, options)

    def before_layout_assignment(self, module: bytes, options: bytes) -> bytes:
        """The program just before layout assignment, a serialized HloModuleProto. Arguments as in `compile`."""
        (dumped,), _ = self._dumps(module, options, BEFORE_LAYOUT_ASSIGNMENT)
        return dumped

    def before_memory_space_assignment(self, module: bytes, options: bytes) -> bytes:
        """The program, fused and scheduled, just before memory space assignment, a serialized HloModuleProto."""
        (dumped,), _ = self._dumps(module, options, BEFORE_MEMORY_SPACE_ASSIGNMENT)
        return dumped

    def stages(self, module: bytes, options: bytes) -> Stages:
        """All stages and the result, from one compilation. Arguments as in `compile`.

        A program that does not fit the TPU's memory is refused at the end only: then the stages up to there are
        returned, with the refusal.
        """
        points = (BEFORE_LAYOUT_ASSIGNMENT, AFTER_LAYOUT_ASSIGNMENT, BEFORE_MEMORY_SPACE_ASSIGNMENT)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            optimised, refusal = b"", ""
            try:
                optimised = self._compile_with_dumps(module, options, points, folder)
            except DeviceMemoryError as error:
                refusal = str(error)
            name = HloModuleProto.FromString(module).name
            try:
                before, after, memory = (_read_dump(Path(folder), point, name) for point in points)
            except ToolchainError:
                if refusal:  # it came too early for that
                    raise DeviceMemoryError(refusal) from None
                raise
        return Stages(before, after, memory, optimised, refusal)

    def verbose_compile(self, module: bytes, options: bytes) -> tuple[bytes, str]:
        """Compile, and keep what the compiler writes to standard error meanwhile.

        How much it writes is decided by the environment of the process, which libtpu reads once. Standard error is
        the file that the parent made for the last words of this process, and stays so: an abort leaves its words there.

        Raises:
            ToolchainError: the log is so large that it cannot be what is looked for.
        """
        sys.stderr.flush()
        start = os.lseek(_STDERR, 0, os.SEEK_END)
        optimised = self.compile(module, options)
        size = os.lseek(_STDERR, 0, os.SEEK_END) - start
        if size > MAXIMUM_LOG_BYTES:
            raise ToolchainError(
                f"the compiler's log of one compilation has {size >> 20} MB, expected {MAXIMUM_LOG_BYTES >> 20} or "
                "less; compile single kernels"
            )
        log = os.pread(_STDERR, size, start)
        os.ftruncate(_STDERR, 0)  # else it would grow with every call
        os.lseek(_STDERR, 0, os.SEEK_SET)
        return optimised, log.decode(errors="replace")

    def _dumps(self, module: bytes, options: bytes, *points: DumpPoint) -> tuple[list[bytes], bytes]:
        """Compile, and have the program written at some points."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            optimised = self._compile_with_dumps(module, options, points, folder)
            name = HloModuleProto.FromString(module).name
            return [_read_dump(Path(folder), point, name) for point in points], optimised

    def _compile_with_dumps(self, module: bytes, options: bytes, points: Sequence[DumpPoint], folder: str) -> bytes:
        flags: dict[str, str | int | bool] = {
            "xla_dump_to": folder,
            "xla_dump_hlo_as_proto": True,
            "xla_dump_hlo_as_text": False,
            "xla_dump_hlo_pass_re": "|".join(dict.fromkeys(point.passes for point in points)),
        }
        return self.compile(module, with_flags(options, flags))


def _read_dump(folder: Path, point: DumpPoint, name: str) -> bytes:
    """The module of that name; the last one, where the compiler has started over."""
    for path in sorted(folder.glob(point.files), reverse=True):
        module = HloProto.FromString(path.read_bytes()).hlo_module
        if module.name == name:
            return module.SerializeToString(deterministic=True)
    raise ToolchainError(f"libtpu wrote no module {name!r} {point.description} (a file {point.files}); {ADVICE}")
