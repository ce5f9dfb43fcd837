"""What the analytical model knows of a device: a dozen figures, each with its source.

A device is what one program runs on: a whole chip where XLA sees the chip as one device, one TensorCore (half of the
chip's figures) on TPU v2, v3 and TPU7x, whose two cores are devices of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from cost_model.errors import DeviceError


@dataclass(frozen=True)
class DeviceDescription:
    """One device.

    Attributes:
        name: "cpu", "tpu-v5e", ...; the model is loaded as "analytical:" + name.
        peak_float32: floating point operations per second of a matrix product of float32 (1 multiply-add = 2).
        peak_bfloat16: the same for bfloat16.
        memory_bandwidth: bytes per second, read and written bytes together.
        sublanes: extent of a hardware tile along the second-minor dimension, in 32-bit elements; 1: no tiles.
        lanes: extent along the minor dimension; on a CPU the float32 lanes of one vector register.
        vector_registers: per core.
        frequency: of the clock in Hz, None where nothing is published.
        transfer_overhead: seconds to start one transfer between memory and scratchpad.
        follows_layouts: whether neighbours take over a layout that is chosen for one tensor (XLA:TPU); if not, all
            other tensors stay row-major (XLA:CPU).
        transposition_penalty: time of a copy that changes the minor-most dimension, relative to moving its bytes at
            `memory_bandwidth`.
        copy_penalty: the same for a copy that keeps the minor-most dimension.
        sources: where each of these figures comes from, by attribute name.

    Raises:
        DeviceError: a figure is not positive and finite, or has no source.
    """

    name: str
    peak_float32: float
    peak_bfloat16: float
    memory_bandwidth: float
    sublanes: int
    lanes: int
    vector_registers: int
    frequency: float | None
    transfer_overhead: float
    follows_layouts: bool
    transposition_penalty: float
    copy_penalty: float
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "sources"):
                continue
            if field.name not in self.sources:
                raise DeviceError(f"device {self.name!r}: expected a source for {field.name}, found none")
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise DeviceError(f"device {self.name!r}: expected a finite {field.name} of 0 or more, found {value}")
        for name in ("peak_float32", "peak_bfloat16", "memory_bandwidth", "sublanes", "lanes"):
            if getattr(self, name) <= 0:
                raise DeviceError(f"device {self.name!r}: expected a positive {name}, found {getattr(self, name)}")

    def peak(self, element_bytes: int) -> float:
        """Floating point operations per second for elements of a size: half as many at 8 bytes as at 4."""
        if element_bytes <= 2:
            return self.peak_bfloat16
        return self.peak_float32 * 4 / max(element_bytes, 4)


_CPU_SOURCE: Final = (
    "measured 2026-11 on one pinned core of a 2-core AVX-512 Xeon VM (shared, noisy: rounded), one thread: "
)

CPU: Final = DeviceDescription(
    name="cpu",
    peak_float32=200e9,
    peak_bfloat16=180e9,
    memory_bandwidth=30e9,
    sublanes=1,
    lanes=16,
    vector_registers=32,
    frequency=3.8e9,
    transfer_overhead=0.0,
    follows_layouts=False,
    transposition_penalty=1.0,
    copy_penalty=0.25,
    sources={
        "peak_float32": _CPU_SOURCE + "numpy.matmul of float32 at 512 to 1536 gave 192 to 203 GFLOP/s, "
        "XLA:CPU's dot (YNNPACK) 188 to 200",
        "peak_bfloat16": _CPU_SOURCE + "XLA:CPU's dot of bfloat16 at 256 to 1024 gave 169 to 177 GFLOP/s with YNNPACK, "
        "188 to 196 with Eigen; it does not use AMX",
        "memory_bandwidth": _CPU_SOURCE + "numpy.copyto of 4 to 16 MB gave 30 GB/s of reads and writes together, "
        "256 MB 25 GB/s, 1 MB 66 GB/s",
        "sublanes": "memory of a CPU is not tiled",
        "lanes": "AVX-512: 512 bits / 32 bits",
        "vector_registers": "AVX-512: zmm0 to zmm31",
        "frequency": _CPU_SOURCE + "the clock at which the port model of cost_model/analytical/tile_cpu.py meets 252 "
        "tiles of XLA:CPU's tiled product in the mean",
        "transfer_overhead": "a CPU has no scratchpad",
        "follows_layouts": "XLA:CPU's layout assignment keeps every other operand row-major",
        "transposition_penalty": _CPU_SOURCE + "LayoutConstraint between two element-wise operations; 30 to 38 GB/s "
        "in float32 when the minor-most dimension changed",
        "copy_penalty": _CPU_SOURCE + "the same, 110 to 190 GB/s when the minor-most dimension stayed",
    },
)

_TILES_SOURCE: Final = "XLA's layout for TPU, T(8,128), https://openxla.org/xla/tiled_layout; vector unit of 8 x 128"
_CLOUD: Final = "https://docs.cloud.google.com/tpu/docs/"
_JOUPPI_2020: Final = "Jouppi et al., A Domain-Specific Supercomputer for Training Deep Neural Networks, CACM 63 (2020)"
_JOUPPI_2023: Final = "Jouppi et al., TPU v4, ISCA 2023, arXiv 2304.01433, table 4"


def _tpu(
    generation: str,
    teraflops: float,
    gigabytes: float,
    source: str,
    *,
    devices: int = 1,
    frequency: float | None = None,
    frequency_source: str = "not published",
) -> DeviceDescription:
    """A TPU from the published figures of its chip.

    Args:
        generation: "v5e", ...
        teraflops: peak of the chip in bfloat16, 1e12 operations per second.
        gigabytes: bandwidth of the chip's memory, 1e9 bytes per second.
        source: where these two stand.
        devices: how many devices XLA sees on the chip; each gets an equal share.
        frequency: in Hz.
        frequency_source: where that stands.
    """
    share = "" if devices == 1 else f"; divided by the {devices} devices of a chip"
    return DeviceDescription(
        name=generation if generation.startswith("tpu") else f"tpu-{generation}",
        peak_float32=teraflops * 1e12 / devices,
        peak_bfloat16=teraflops * 1e12 / devices,
        memory_bandwidth=gigabytes * 1e9 / devices,
        sublanes=8,
        lanes=128,
        vector_registers=32,
        frequency=frequency,
        transfer_overhead=0.1e-6,
        follows_layouts=True,
        transposition_penalty=1.0,
        copy_penalty=1.0,
        sources={
            "peak_float32": "by default XLA multiplies float32 on the matrix unit in one bfloat16 pass, "
            "https://docs.jax.dev/en/latest/201/precision.html; hence the figure of bfloat16",
            "peak_bfloat16": source + share,
            "memory_bandwidth": source + share,
            "sublanes": _TILES_SOURCE,
            "lanes": _TILES_SOURCE,
            "vector_registers": _JOUPPI_2020 + ": 32 vector registers in v2 and v3; assumed of later generations",
            "frequency": frequency_source,
            "transfer_overhead": "fitted to runtimes of kernels measured on TPU v3 (data set TpuGraphs, tile:xla: 0.08 "
            "to 0.16 us per tensor and iteration); taken for all generations",
            "follows_layouts": "XLA:TPU's layout assignment propagates a layout to neighbours",
            "transposition_penalty": "assumed: no figure is published",
            "copy_penalty": "assumed: no figure is published",
        },
    )


_DESCRIPTIONS: Final = (
    CPU,
    _tpu("v2", 46, 700, _JOUPPI_2020, devices=2, frequency=700e6, frequency_source=_JOUPPI_2020),
    _tpu("v3", 123, 900, _CLOUD + "v3", devices=2, frequency=940e6, frequency_source=_JOUPPI_2020),
    _tpu("v4", 275, 1200, _CLOUD + "v4", frequency=1050e6, frequency_source=_JOUPPI_2023),
    _tpu(
        "v5e", 197, 819, _CLOUD + "v5e", frequency=1.5e9, frequency_source="https://jax-ml.github.io/scaling-book/tpus"
    ),
    _tpu("v5p", 459, 2765, _CLOUD + "v5p"),
    _tpu("v6e", 918, 1638, _CLOUD + "v6e"),
    _tpu("tpu7x", 2307, 7380, _CLOUD + "tpu7x", devices=2),
)

DEVICES: Final[Mapping[str, DeviceDescription]] = MappingProxyType({each.name: each for each in _DESCRIPTIONS})
"""Every device that ships, by name."""
