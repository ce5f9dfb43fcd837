"""The TPU compiler as the parent process sees it: calls to children that may abort, hang or be killed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from autotune.errors import AutotuneError, ToolchainError
from autotune.targets.host import available_memory
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.tpu.generations import Topology, parse_topology
from autotune.targets.tpu.pool import WorkerPool
from autotune.targets.tpu.toolchain import ENVIRONMENT, VERBOSE_ENVIRONMENT, libtpu_version
from autotune.targets.tpu.worker import Stages

TIME_LIMIT: Final = 600.0
"""Seconds; a training step of ResNet-50 takes 66 (two cores), the largest of our programs some minutes."""

_USUAL_MEMORY: Final = 2 << 30
"""Bytes to count for a child without a limit: 0.5 to 0.8 GB were seen for inference programs, 1.6 for train steps."""

_FATAL_LINE: Final = re.compile(r"^(?:SIG\w+: )?F\d{4} \S+ +\d+ (\S+\] .*)$", re.MULTILINE)
"""What libtpu writes before it aborts: "F1124 19:53:53.558855 26837 fusion.cc:879] Dots should have been ..."."""

_HANDLER: Final = "autotune.targets.tpu.worker:TpuWorker"


@dataclass(frozen=True)
class CompileRequest:
    """What to compile: a serialized HloModuleProto and serialized CompileOptionsProto."""

    module: bytes
    options: bytes


class TpuCompiler:
    """The compiler of one topology, in child processes that are replaced when they die.

    Args:
        topology: from `parse_topology`, or its text.
        time_limit: seconds that one compilation may take.
        memory_limit: bytes of private memory that one child may have; None for no limit.
        workers: children at once, at most; fewer are used where their limits exceed the host's free memory.

    Raises:
        ToolchainError: libtpu is missing or not of a version that we know.
        AutotuneError: there is no such generation.
    """

    def __init__(
        self,
        topology: Topology | str,
        *,
        time_limit: float = TIME_LIMIT,
        memory_limit: int | None = None,
        workers: int = 1,
    ) -> None:
        self.topology = parse_topology(topology) if isinstance(topology, str) else topology
        self.compiler_version = f"libtpu {libtpu_version()}"
        self.time_limit = time_limit
        self._memory_limit = memory_limit
        self._workers = workers
        self._temporary = tempfile.TemporaryDirectory(prefix="autotune-tpu-")
        self.folder = self._temporary.name
        """Where children write dumps: theirs to empty, but ours to remove, since a killed child cannot."""
        self._quiet = WorkerPool(partial(self._worker, ENVIRONMENT))
        self._verbose = WorkerPool(partial(self._worker, {**ENVIRONMENT, **VERBOSE_ENVIRONMENT}))

    def compile(self, module: bytes, options: bytes, *, time_limit: float | None = None) -> bytes:
        """Compile.

        Args:
            module: serialized HloModuleProto.
            options: serialized CompileOptionsProto, from `options.compile_options`.
            time_limit: seconds; None for that of this compiler.

        Returns:
            Serialized HloModuleProtoWithConfig of the optimised program.

        Raises:
            WorkerFailure: refused (ERROR, in the compiler's words), crashed, timed out, out of memory or killed.
            ToolchainError: libtpu speaks an interface that we do not know.
            AutotuneError: libtpu does not know the topology.
        """
        result: bytes = self._call(self._quiet, "compile", module, options, time_limit)
        return result

    def before_layout_assignment(self, module: bytes, options: bytes, *, time_limit: float | None = None) -> bytes:
        """The program just before layout assignment, a serialized HloModuleProto. Otherwise as `compile`."""
        result: bytes = self._call(self._quiet, "before_layout_assignment", module, options, time_limit)
        return result

    def before_memory_space_assignment(
        self, module: bytes, options: bytes, *, time_limit: float | None = None
    ) -> bytes:
        """The program before memory space assignment, a serialized HloModuleProto. Otherwise as `compile`."""
        result: bytes = self._call(self._quiet, "before_memory_space_assignment", module, options, time_limit)
        return result

    def stages(self, module: bytes, options: bytes, *, time_limit: float | None = None) -> Stages:
        """All stages and the result, from one compilation; for one that does not fit, what there is of it."""
        result: Stages = self._call(self._quiet, "stages", module, options, time_limit)
        return result

    def verbose_compile(self, module: bytes, options: bytes, *, time_limit: float | None = None) -> tuple[bytes, str]:
        """As `compile`, with the log that lists tile candidates."""
        result: tuple[bytes, str] = self._call(self._verbose, "verbose_compile", module, options, time_limit)
        return result

    def compile_many(
        self,
        requests: Sequence[CompileRequest],
        *,
        time_limit: float | None = None,
        on_result: Callable[[int, bytes | WorkerFailure], None] | None = None,
    ) -> list[bytes | WorkerFailure]:
        """Compile several programs, several at once; a failure of one is a value.

        Args:
            requests: what to compile.
            time_limit: seconds for each; None for that of this compiler.
            on_result: told the number and the result of each as soon as it is there, in the caller's thread.
        """
        return self._map(self._quiet, "compile", requests, time_limit, on_result)

    def stages_many(
        self, requests: Sequence[CompileRequest], *, time_limit: float | None = None
    ) -> list[Stages | WorkerFailure]:
        """As `compile_many`, with what `stages` returns."""
        return self._map(self._quiet, "stages", requests, time_limit, None)

    def executables(
        self, requests: Sequence[CompileRequest], *, time_limit: float | None = None
    ) -> list[tuple[bytes, bytes] | WorkerFailure]:
        """As `compile_many`, each with what a device of this generation can load, as libtpu serializes it."""
        return self._map(self._quiet, "executable", requests, time_limit, None)

    def verbose_compile_many(
        self,
        requests: Sequence[CompileRequest],
        *,
        time_limit: float | None = None,
        on_result: Callable[[int, tuple[bytes, str] | WorkerFailure], None] | None = None,
    ) -> list[tuple[bytes, str] | WorkerFailure]:
        """As `compile_many`, with the logs of `verbose_compile`."""
        return self._map(self._verbose, "verbose_compile", requests, time_limit, on_result)

    def process_ids(self, *, busy: bool = False) -> list[int]:
        """Of the children that live, or only of those in the middle of a call."""
        return self._quiet.process_ids(busy=busy) + self._verbose.process_ids(busy=busy)

    def close(self) -> None:
        """End all children and remove their files."""
        self._quiet.close()
        self._verbose.close()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _worker(self, environment: Mapping[str, str]) -> Worker:
        arguments = {
            "topology": self.topology.name,
            "folder": self.folder,
            "memory_limit": self._memory_limit,  # not that of Worker: see autotune/targets/tpu/watchdog.py
        }
        return Worker(_HANDLER, arguments=arguments, environment=environment)

    def _workers_now(self) -> int:
        """As many as the free memory allows, if each takes all that it may."""
        return max(1, min(self._workers, available_memory() // (self._memory_limit or _USUAL_MEMORY)))

    def _map(self, pool: WorkerPool, method: str, requests: Sequence[CompileRequest], *rest: Any) -> list[Any]:
        time_limit, on_result = rest
        calls = [partial(self._attempt, method, each.module, each.options, time_limit) for each in requests]
        return pool.map(calls, at_once=self._workers_now(), on_result=on_result)

    def _call(self, pool: WorkerPool, method: str, module: bytes, options: bytes, time_limit: float | None) -> Any:
        return pool.run(partial(self._attempt, method, module, options, time_limit))

    def _attempt(self, method: str, module: bytes, options: bytes, time_limit: float | None, worker: Worker) -> Any:
        try:
            return worker.call(method, module, options, time_limit=time_limit or self.time_limit)
        except WorkerFailure as failure:
            raise self._explained(failure) from None

    def _explained(self, failure: WorkerFailure) -> Exception:
        """Tell what is wrong with the toolchain or the topology from what is wrong with the program."""
        if failure.error_type == "ToolchainError":
            return ToolchainError(failure.message)
        if failure.phase == "starting" and failure.error_type == "CompileRefusedError":
            return AutotuneError(f"TPU topology {self.topology.name!r}: {failure.message}")
        if failure.error_type == "DeviceMemoryError":  # the TPU's memory, not this host's
            return WorkerFailure(
                WorkerFailureReason.ERROR, failure.message, error_type=failure.error_type, phase=failure.phase
            )
        fatal = _FATAL_LINE.search(failure.message)
        if failure.reason is WorkerFailureReason.CRASHED and fatal:  # without the stacks and registers around it
            words = f"{failure.message.partition(':')[0]}: {fatal[1]}"
            return WorkerFailure(failure.reason, words, phase=failure.phase)
        return failure
