"""Devices with round figures, so that the numbers in tests can be worked out by hand."""

from __future__ import annotations

import dataclasses

from cost_model import DEVICES

CPU = dataclasses.replace(
    DEVICES["cpu"],
    peak_float32=100.0,
    peak_bfloat16=200.0,
    memory_bandwidth=10.0,
    frequency=1.0,
    transposition_penalty=1.0,
    copy_penalty=0.25,
)
"""100 operations and 10 bytes per second; one cycle per second."""

TPU = dataclasses.replace(
    DEVICES["tpu-v3"], peak_float32=1e30, peak_bfloat16=1e30, memory_bandwidth=1.0, transfer_overhead=0.5
)
"""One byte per second, arithmetic for nothing, half a second to start a transfer."""
