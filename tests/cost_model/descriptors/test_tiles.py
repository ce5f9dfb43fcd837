"""Descriptors of tiles, against products small enough to describe by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cost_model.descriptors import tile_cpu, tile_tpu
from cost_model.devices import DEVICES
from tests.cost_model.graphs import Node, cpu_tiles, make_graph, product_graph, tile_configs

V5E, CPU = DEVICES["tpu-v5e"], DEVICES["cpu"]


def test_tpu_tiles_relative_to_the_kernel_without_loss() -> None:
    graph = product_graph(64, 512, 384)
    # Bounds are major-most first, the two last in units of (8, 128): all of the output; a half of its rows and a third
    # of its columns, under half of the kernel's rows.
    configs = tile_configs(((), (8, 3), ()), ((32, 1), (4, 1), ()))
    found = tile_tpu.TpuTileDescriber(graph, V5E).describe(configs).summary
    columns = {name: found[:, place].tolist() for place, name in enumerate(tile_tpu.SUMMARY_COLUMNS)}
    assert columns["is_dot"] == [1, 1]
    assert columns["operands"] == [3 / 4] * 2
    assert columns["log_output_elements"] == pytest.approx(np.log2([64 * 384, 32 * 128]).tolist())
    sizes = {name: size * 4 / V5E.memory_bandwidth for name, size in (("output", 64 * 384), ("kernel", 512 * 384))}
    operations = 2 * 64 * 512 * 384 / V5E.peak_bfloat16
    ideal = max(operations, 4 * 64 * 512 / V5E.memory_bandwidth + sum(sizes.values()))
    start = V5E.transfer_overhead
    expected = {
        # 2 x 3 tiles of the output, each with 2 steps of the kernel
        "log_output_iterations": [start, 6 * start],
        "log_iterations": [start, 12 * start],
        # all of the kernel stays; of its 2 x 3 tiles one is loaded in every iteration
        "log_kernel_tiles": [start, 6 * start],
        "log_kernel_loads": [start, 12 * start],
        "log_loaded_kernel": [sizes["kernel"], 12 * sizes["kernel"] / 6],
        "log_whole_kernel": [sizes["kernel"]] * 2,
        "log_output": [sizes["output"]] * 2,
        "log_compute": [operations] * 2,
    }
    for name, seconds in expected.items():
        assert columns[name] == pytest.approx(np.log(np.array(seconds) / ideal).tolist(), abs=1e-5), name


def test_tpu_tiles_that_make_the_same_loop_have_the_same_columns() -> None:
    graph = make_graph(Node("parameter", (4, 4, 16, 128)), Node("tanh", (4, 4, 16, 128), (0,), root=True))
    tiles = tile_configs(((), (4, 2, 2, 1), ()), ((), (2, 4, 2, 1), ()), ((), (4, 4, 1, 1), ()), ((), (1, 4, 2, 1), ()))
    found = tile_tpu.TpuTileDescriber(graph, V5E).describe(tiles).summary
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    assert (found[0] != found[3]).any()


def test_cpu_tiles() -> None:
    tiles = cpu_tiles((0, 0, 0), (8, 4, 32), (8, 4, 32), lanes=[0, 0, 8])
    found = tile_cpu.CpuTileDescriber(product_graph(100, 60, 200), CPU).describe(tiles)
    columns = {name: found.summary[:, place].tolist() for place, name in enumerate(tile_cpu.SUMMARY_COLUMNS)}
    assert columns["is_library"] == [1, 0, 0]
    assert columns["vectors"] == [0, 1, 2], "32 columns are two vectors of 16 lanes, or four of 8"
    assert columns["log_m"] == pytest.approx([np.log2(100)] * 3)
    assert (columns["rows"][1], columns["steps"][1], columns["vectors"][1]) == (3, 2, 1)
    assert columns["rows_waste"][1] == pytest.approx(13 * 8 / 100 - 1)
    assert len(found.items) == 0
