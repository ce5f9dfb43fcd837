from __future__ import annotations

import dataclasses

import pytest

from cost_model import DEVICES, DeviceError


@pytest.mark.parametrize(
    ("name", "teraflops", "gigabytes"),
    [
        # Figures of the chip, halved where a program sees one of two cores.
        ("tpu-v2", 23, 350),
        ("tpu-v3", 61.5, 450),
        ("tpu-v4", 275, 1200),
        ("tpu-v5e", 197, 819),
        ("tpu-v5p", 459, 2765),
        ("tpu-v6e", 918, 1638),
        ("tpu7x", 1153.5, 3690),
    ],
)
def test_published_figures(name: str, teraflops: float, gigabytes: float) -> None:
    device = DEVICES[name]
    assert device.peak_bfloat16 == pytest.approx(teraflops * 1e12)
    assert device.memory_bandwidth == pytest.approx(gigabytes * 1e9)
    assert (device.sublanes, device.lanes, device.follows_layouts) == (8, 128, True)


def test_every_figure_has_a_source() -> None:
    assert set(DEVICES) == {"cpu", *(f"tpu-{each}" for each in ("v2", "v3", "v4", "v5e", "v5p", "v6e")), "tpu7x"}
    for name, device in DEVICES.items():
        assert device.name == name
        figures = {field.name for field in dataclasses.fields(device)} - {"name", "sources"}
        assert set(device.sources) == figures


def test_peak_by_element_size() -> None:
    device = dataclasses.replace(DEVICES["cpu"], peak_float32=100.0, peak_bfloat16=300.0)
    assert [device.peak(size) for size in (1, 2, 4, 8)] == [300.0, 300.0, 100.0, 50.0]


def test_refuses_impossible_figures() -> None:
    cpu = DEVICES["cpu"]
    with pytest.raises(DeviceError, match="positive memory_bandwidth, found 0"):
        dataclasses.replace(cpu, memory_bandwidth=0.0)
    with pytest.raises(DeviceError, match="finite peak_float32"):
        dataclasses.replace(cpu, peak_float32=float("nan"))
    with pytest.raises(DeviceError, match="a source for lanes"):
        dataclasses.replace(cpu, sources={name: text for name, text in cpu.sources.items() if name != "lanes"})
