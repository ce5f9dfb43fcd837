"""The target of a device, with XLA:CPU for both parts: executables from one child, measured in another.

Everything but the compiler and the chip is what `--target tpu` uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotune.evaluation import Failed, LabelKind
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.targets.cpu import CpuTarget
from autotune.targets.device_target import DeviceTarget
from autotune.targets.device_worker import Executable
from autotune.targets.failures import failed_outcome
from autotune.targets.isolation import Worker, WorkerFailure
from autotune.targets.measuring import MeasuringSession, unchanging

WORKER = "autotune.targets.device_worker:DeviceWorker"
DESCRIPTION = TargetDescription("cpu device", "XLA:CPU in two processes", "jaxlib", LabelKind.MEASURED, "cpu")


class CpuPlan:
    """XLA:CPU as the compiler of a device that is elsewhere."""

    def __init__(self) -> None:
        self._cpu = CpuTarget()
        self._compiler = Worker("tests.targets.cpu_compiler")

    def prepare(self, program: Program) -> PreparedProgram:
        return replace(self._cpu.prepare(program), notes=program.notes, details={})

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        if kind == "auto":  # tiles are options of a compilation, and there are none here
            return LayoutSpace(prepared.module.proto)
        return self._cpu.space(prepared, kind)

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        return self._cpu.realise(prepared, config)

    def executables(self, prepared: PreparedProgram, configs: Sequence[Config]) -> list[Executable | Failed]:
        return [self._executable(prepared, config) for config in configs]

    def _executable(self, prepared: PreparedProgram, config: Config) -> Executable | Failed:
        assert isinstance(config, LayoutConfig)
        module = unchanging(self.realise(prepared, config).module)
        try:
            serialized, text = self._compiler.call("compiled", module, time_limit=120)
        except WorkerFailure as failure:
            return failed_outcome(failure)
        return Executable(serialized, 0.1, {"copies": float(text.count(" copy("))})

    def close(self) -> None:
        self._compiler.stop()
        self._cpu.close()


def cpu_device_target() -> DeviceTarget:
    return DeviceTarget(CpuPlan(), session(), DESCRIPTION, notes=("as on a TPU",))


def session(time_limit: float | None = None) -> MeasuringSession:
    worker = Worker(WORKER, arguments={"platform": "cpu"})
    return MeasuringSession(worker, place="this device", time_limit=time_limit, memory_limit=1 << 30)
