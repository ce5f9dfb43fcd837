"""Descriptors of tiles, against products small enough to describe by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_tpu import tpu_tile_seconds
from cost_model.descriptors import tile_cpu, tile_tpu
from cost_model.devices import DEVICES
from tests.cost_model.graphs import cpu_tiles, product_graph, tile_configs

V5E, CPU = DEVICES["tpu-v5e"], DEVICES["cpu"]


def test_tpu_tiles_relative_to_the_shape() -> None:
    graph = product_graph(64, 512, 384)
    # Bounds are major-most first, the two last in units of (8, 128): all of the output; a half of its rows and a third
    # of its columns, under half of the kernel's rows.
    configs = tile_configs(((), (8, 3), ()), ((32, 1), (4, 1), ()))
    found = tile_tpu.TpuTileDescriber(graph, V5E).describe(configs).summary
    columns = {name: found[:, place].tolist() for place, name in enumerate(tile_tpu.SUMMARY_COLUMNS)}
    assert columns["is_dot"] == [1, 1]
    assert columns["is_one_tile"] == [1, 0]
    assert columns["log_iterations"] == pytest.approx(np.log2([1, 2 * 3 * 2]).tolist())
    assert columns["output_0_log_units"] == pytest.approx(np.log2([3, 1]).tolist())
    assert columns["output_1_log_units"] == pytest.approx(np.log2([8, 4]).tolist())
    assert columns["output_0_share"] == pytest.approx(np.log2([1, 1 / 3]).tolist())
    assert columns["kernel_1_log_iterations"] == pytest.approx([0, 1])
    assert columns["has_kernel_bounds"] == [0, 1]
    seconds = tpu_tile_seconds(GraphTensors(graph), configs, V5E)
    # Relative to the kernel without any loss: 2 * 64 * 512 * 384 operations, or all its bytes, whichever is longer.
    ideal = max(2 * 64 * 512 * 384 / V5E.peak_bfloat16, 4 * (64 * 512 + 512 * 384 + 64 * 384) / V5E.memory_bandwidth)
    assert columns["log_seconds"] == pytest.approx(np.log10(seconds / ideal).tolist(), abs=1e-5)
    assert columns["log_output_iterations"] == pytest.approx(np.log2([1, 6]).tolist())


def test_tpu_tiles_that_do_not_divide_the_shape_waste_work() -> None:
    graph = product_graph(64, 512, 384)
    found = tile_tpu.TpuTileDescriber(graph, V5E).describe(tile_configs(((), (8, 2), ()), ((), (8, 3), ()))).summary
    waste = found[:, tile_tpu.SUMMARY_COLUMNS.index("output_0_waste")]
    assert waste.tolist() == pytest.approx([1 / 3, 0])  # two tiles of 256 columns for 384


def test_cpu_tiles() -> None:
    tiles = cpu_tiles((0, 0, 0), (8, 4, 32), (8, 4, 32), (0, 0, 0), lanes=[0, 0, 8, 1])
    found = tile_cpu.CpuTileDescriber(product_graph(100, 60, 200), CPU).describe(tiles)
    columns = {name: found.summary[:, place].tolist() for place, name in enumerate(tile_cpu.SUMMARY_COLUMNS)}
    assert columns["is_library"] == [1, 0, 0, 1]
    assert columns["is_eigen"] == [0, 0, 0, 1]
    assert columns["vectors"][:3] == [0, 1, 2], "32 columns are two vectors of 16 lanes, or four of 8"
    assert columns["log_m"] == pytest.approx([np.log2(100)] * 4)
    assert (columns["rows"][1], columns["steps"][1], columns["vectors"][1]) == (3, 2, 1)
    assert columns["rows_waste"][1] == pytest.approx(13 * 8 / 100 - 1)
    assert len(found.items) == 0
