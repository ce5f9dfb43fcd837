"""The TPU of this host. What can only be tried where there is one is here and in `DEVICE_ENVIRONMENT`.

A process of its own opens the TPU through jax, for only one may. It runs what compilers without a device (in other
processes) have made, so that a program that breaks a compiler leaves the device alone.

Not tried, for want of a TPU: that jax finds the chip under `DEVICE_ENVIRONMENT`; that its client loads an executable
that was compiled for a topology of one chip; that arrays come into tiled layouts by `jax.device_put`; any time. All
else is the code that measures on XLA:CPU, and is tested there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from autotune.errors import AutotuneError
from autotune.evaluation import LabelKind
from autotune.targets.base import TargetDescription
from autotune.targets.device_target import TiledDeviceTarget
from autotune.targets.host import jaxlib_version
from autotune.targets.isolation import Worker, WorkerFailure, WorkerFailureReason
from autotune.targets.measuring import MeasuringSession
from autotune.targets.tpu.generations import GENERATIONS, Generation, generation_of
from autotune.targets.tpu.target import TpuTarget
from autotune.targets.tpu.toolchain import DEVICE_ENVIRONMENT, libtpu_version

_WORKER: Final = "autotune.targets.device_worker:DeviceWorker"
_OPENING_SECONDS: Final = 300.0
"""For jax to open the TPU and say what it is."""

_IN_USE: Final = re.compile(r"in use by|lockfile|Device or resource busy", re.IGNORECASE)
"""What libtpu and the kernel say of a TPU that another process has, as users have reported it (jax-ml/jax#10192)."""

_NOTES: Final = (
    "times of whole programs hold one launch each, about 0.1 ms on a TPU; those of kernels are of many executions in "
    "one launch",
)

_GOOGLE: Final = "0x1ae0"
"""PCI vendor of TPUs."""


@dataclass(frozen=True)
class AttachedTpu:
    """A TPU that a child process has opened.

    Attributes:
        worker: of the child.
        kind: what jax calls it, such as "TPU v5 lite".
        generation: of it.
    """

    worker: Worker
    kind: str
    generation: Generation


def open_tpu(
    *, worker: str = _WORKER, arguments: Mapping[str, Any] | None = None, devices: Path = Path("/dev")
) -> AttachedTpu:
    """Open the first TPU of this host in a child process.

    Args:
        worker: handler of the child, for tests.
        arguments: its arguments; None for the platform "tpu".
        devices: the folder of device files.

    Raises:
        ToolchainError: libtpu is missing or not of a version that we know.
        AutotuneError: there is no TPU, or another process has it, or it is of a generation that we do not know.
    """
    libtpu_version()
    child = Worker(
        worker, arguments={"platform": "tpu"} if arguments is None else arguments, environment=DEVICE_ENVIRONMENT
    )
    try:
        kind, _ = child.call("device", time_limit=_OPENING_SECONDS)
    except WorkerFailure as failure:
        child.stop()
        raise AutotuneError(_explanation(failure, devices)) from None
    generation = generation_of(kind)
    if generation is None:
        child.stop()
        known = ", ".join(name for each in GENERATIONS.values() for name in each.device_kinds)
        raise AutotuneError(f"target 'tpu': jax sees a device {kind!r}, expected one of {known}")
    return AttachedTpu(child, kind, generation)


def _explanation(failure: WorkerFailure, devices: Path) -> str:
    words = " ".join(failure.message.split())
    if _IN_USE.search(words):
        return (
            f"target 'tpu': another process has the TPU of this host, and only one may ({words}); end that process or "
            "wait for it"
        )
    others = ", ".join(f"tpu:{name}" for name in GENERATIONS)
    found = [*devices.glob("accel*"), *devices.glob("vfio/[0-9]*")]
    files = ", ".join(map(str, found)) or "none"
    if failure.reason is not WorkerFailureReason.ERROR:
        words = f"{failure.reason.value}: {words}"
    return (
        f"target 'tpu': no TPU of this host can be opened. Looked for: a device of jax's platform \"tpu\" (jaxlib "
        f"{jaxlib_version()}, libtpu {libtpu_version()}), which says: {words}; device files {devices}/accel* and "
        f"{devices}/vfio/*: {files}; PCI devices of vendor {_GOOGLE}: {_pci_devices()}. Without a TPU, name a "
        f"generation to compile for: {others}"
    )


def _pci_devices(folder: Path = Path("/sys/bus/pci/devices")) -> str:
    found = []
    for path in folder.glob("*/vendor"):
        try:
            if path.read_text().strip() == _GOOGLE:
                found.append(path.parent.name)
        except OSError:
            continue
    return ", ".join(sorted(found)) or "none"


def open_target(time_limit: float | None) -> TiledDeviceTarget:
    """The target "tpu".

    Args:
        time_limit: seconds that one config may take to compile, and to run once; None for the usual rule.

    Raises:
        ToolchainError: as `open_tpu`.
        AutotuneError: as `open_tpu`.
    """
    tpu = open_tpu()
    plan = TpuTarget(tpu.generation.name, time_limit=time_limit, keep_arguments=True)
    session = MeasuringSession(tpu.worker, place=f"the {tpu.kind}", time_limit=time_limit, memory_limit=None)
    description = TargetDescription(
        name="tpu",
        device_kind=tpu.kind,
        compiler_version=f"libtpu {libtpu_version()}, jaxlib {jaxlib_version()}",
        label=LabelKind.MEASURED,
        cost_model_device=tpu.generation.cost_model_device,
    )
    return TiledDeviceTarget(plan, session, description, notes=_NOTES)
