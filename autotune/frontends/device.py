"""Which evaluations are of the device that jax uses in this process: the same kind, the same compiler."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from autotune.database.tuned import TunedRecord
from autotune.targets.host import jaxlib_version


@dataclass(frozen=True)
class DeviceKey:
    """What a tuned program must agree with to be run here.

    Attributes:
        device_kind: as targets describe it.
        compiler_version: likewise.
    """

    device_kind: str
    compiler_version: str


def device_keys() -> list[DeviceKey]:
    """The descriptions under which targets evaluate for jax's default device; the best evidence stands first.

    Returns:
        For a CPU one; for a TPU the device itself (measured), then the compiler alone (estimated); for others none.
    """
    platform = jax.default_backend()
    if platform == "cpu":
        from autotune.targets.cpu import cpu_description

        description = cpu_description()
        return [DeviceKey(description.device_kind, description.compiler_version)]
    if platform == "tpu":
        return tpu_keys(jax.devices()[0].device_kind)
    return []


def runs_here(record: TunedRecord) -> bool:
    """Whether a program was tuned for jax's default device, with the compiler that is here."""
    return DeviceKey(record.device_kind, record.compiler_version) in device_keys()


def tpu_keys(device_kind: str) -> list[DeviceKey]:
    """As `device_keys`, for a TPU.

    Args:
        device_kind: jax's name of it, such as "TPU v5 lite".
    """
    from autotune.targets.tpu.generations import generation_of
    from autotune.targets.tpu.toolchain import libtpu_version

    libtpu = f"libtpu {libtpu_version()}"
    keys = [DeviceKey(device_kind, f"{libtpu}, jaxlib {jaxlib_version()}")]
    generation = generation_of(device_kind)
    if generation is not None:
        keys.append(DeviceKey(f"TPU {generation.name}:{generation.single_chip}, compiler only", libtpu))
    return keys


def default_target() -> str:
    """The target that `autotune.tune` takes for jax's default device: this process may own a TPU, so only compile."""
    if jax.default_backend() != "tpu":
        return "cpu"
    from autotune.targets.tpu.generations import generation_of

    generation = generation_of(jax.devices()[0].device_kind)
    return f"tpu:{generation.name}" if generation is not None else "cpu"
