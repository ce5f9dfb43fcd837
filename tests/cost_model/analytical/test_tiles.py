from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cost_model import DEVICES, GraphError, ProgramGraph, TileConfigs, features
from cost_model.analytical.tensors import GraphTensors
from cost_model.analytical.tile_cpu import cpu_tile_seconds
from cost_model.analytical.tile_tpu import tpu_tile_seconds
from cost_model.metrics import kendall_tau
from tests.cost_model.analytical.devices import CPU, TPU
from tests.cost_model.graphs import Node, cpu_tiles, make_graph, product_graph, tile_configs

# ---- CPU: cycles of XLA's tiled product; the device has one cycle per second, 16 lanes and 32 registers -------------


def _cycles(m: int, k: int, n: int, tile: tuple[int, int, int], element_type: str = "F32") -> float:
    tensors = GraphTensors(product_graph(m, k, n, element_type))
    return float(cpu_tile_seconds(tensors, cpu_tiles(tile), CPU)[0])


def test_cpu_one_tile() -> None:
    # 4 rows of 2 vectors: 8 accumulators. A step loads 2 vectors (3 cycles each) and 4 broadcasts (0.6): 8.4 cycles,
    # more than 8 multiply-adds and the latency of 5. 8 steps, 8 accumulators, 1 for the tile.
    assert _cycles(4, 8, 32, (4, 2, 32)) == pytest.approx(8 * 8.4 + 8 + 1)


def test_cpu_remainders_are_smaller_tiles() -> None:
    whole = 8 * 8.4 + 8 + 1
    row = 8 * 6.6 + 2 + 1  # 1 row of 2 vectors
    column = 8 * 5.4 + 4 + 1  # 4 rows of 1 vector
    corner = 8 * 5 + 1 + 1  # bound by the latency
    assert _cycles(5, 8, 32, (4, 2, 32)) == pytest.approx(whole + row)
    assert _cycles(9, 8, 48, (4, 2, 32)) == pytest.approx(2 * whole + row + 2 * column + corner)


def test_cpu_multiply_adds_bound_large_tiles() -> None:
    # 6 rows of 4 vectors: 24 accumulators take 24 cycles a step; 24 + 4 + 1 registers fit.
    assert _cycles(6, 10, 64, (6, 1, 64)) == pytest.approx(10 * 24 + 24 + 1)


def test_cpu_spills() -> None:
    # 8 rows of 4 vectors: 32 accumulators, 32 + 4 + 1 - 32 = 5 values without a register, 2 cycles each.
    assert _cycles(8, 10, 64, (8, 1, 64)) == pytest.approx(10 * (32 + 10) + 32 + 1)
    # 16 rows, 4 steps at once: 64 broadcasts, 32 of them without a register: 32 * 0.1 / 4 = 0.8 cycles a step.
    assert _cycles(16, 8, 16, (16, 4, 16)) == pytest.approx(8 * (16 + 0.8) + 16 + 1)


def test_cpu_three_vectors_are_taken_apart() -> None:
    assert _cycles(4, 8, 48, (4, 2, 48)) == pytest.approx(8 * 12 * 15 + 12 + 1)


def test_cpu_library_runs_at_the_peak() -> None:
    assert _cycles(4, 8, 32, (0, 0, 0)) == pytest.approx(2 * 4 * 8 * 32 / 100)
    assert _cycles(4, 8, 32, (0, 0, 0), "BF16") == pytest.approx(2 * 4 * 8 * 32 / 200)


def test_cpu_width_in_shorter_vectors() -> None:
    # 32 columns are 2 vectors of 16 lanes or 4 of 8: the same work of twice as many accumulators.
    tiles = cpu_tiles((4, 2, 32), (4, 2, 32), lanes=[16, 8])
    cycles = cpu_tile_seconds(GraphTensors(product_graph(4, 8, 32)), tiles, CPU)
    assert cycles.tolist() == pytest.approx([8 * 8.4 + 8 + 1, 8 * 8.4 + 16 + 1])


def test_cpu_element_types() -> None:
    assert _cycles(4, 8, 32, (4, 2, 32), "BF16") == _cycles(4, 8, 32, (4, 2, 32))  # computed in float32
    assert _cycles(4, 8, 16, (4, 2, 16), "F64") == _cycles(4, 8, 32, (4, 2, 32))  # 8 lanes


def test_cpu_batches() -> None:
    graph = make_graph(
        Node("parameter", (3, 4, 8)), Node("parameter", (3, 8, 32)), Node("dot", (3, 4, 32), (0, 1), root=True)
    )
    seconds = cpu_tile_seconds(GraphTensors(graph), cpu_tiles((4, 2, 32)), CPU)
    assert seconds.tolist() == pytest.approx([3 * (8 * 8.4 + 8 + 1)])


def test_cpu_needs_a_dot_and_a_clock() -> None:
    graph = make_graph(Node("parameter", (4,)), Node("negate", (4,), (0,), root=True))
    with pytest.raises(GraphError, match="a program with a dot"):
        cpu_tile_seconds(GraphTensors(graph), cpu_tiles((4, 2, 32)), CPU)
    with pytest.raises(GraphError, match="a known frequency"):
        cpu_tile_seconds(
            GraphTensors(product_graph(4, 8, 32)), cpu_tiles((4, 2, 32)), dataclasses.replace(CPU, frequency=None)
        )


# ---- TPU: one byte per second, half a second to start a transfer ----------------------------------------------------


def test_tpu_loop() -> None:
    graph = make_graph(Node("parameter", (16, 256)), Node("copy", (16, 256), (0,), root=True))
    configs = tile_configs(((), (2, 2), ()), ((), (1, 1), ()), ((), (1, 2), ()), ((), (), ()))
    seconds = tpu_tile_seconds(GraphTensors(graph), configs, TPU).tolist()
    # One tensor in and one out: 32,768 bytes, 0.5 seconds each per iteration, and the first transfer is not hidden.
    whole = 1 * (32_768 + 1) + 32_768
    quarters = 4 * (8_192 + 1) + 8_192  # bounds of 1 are 8 rows and 128 lanes: 2 by 2 tiles
    halves = 2 * (16_384 + 1) + 16_384
    assert seconds == [whole, quarters, halves, whole]


def test_tpu_bounds_are_in_physical_order() -> None:
    # In the order {0, 1} the first dimension is minor-most: [256, 16] lies there as 16 x 256.
    graph = make_graph(
        Node("parameter", (256, 16), order=(0, 1)), Node("copy", (256, 16), (0,), order=(0, 1), root=True)
    )
    seconds = tpu_tile_seconds(GraphTensors(graph), tile_configs(((), (2, 1), ())), TPU).tolist()
    assert seconds == [2 * (16_384 + 1) + 16_384]


def test_tpu_product() -> None:
    graph = make_graph(
        Node("parameter", (16, 256)),
        Node("parameter", (256, 512)),
        Node("dot", (16, 512), (0, 1), root=True),
    )
    configs = tile_configs(((16, 1), (2, 1), ()))
    # Output tiles of 16 x 128, four of them; kernel tiles of (16 * 8) x 128, two steps of each: 8 iterations.
    # Bytes of one: the output's 16 * 128 * 4 in two steps, the kernel's 128 * 128 * 4, the input's 16 * 128 * 4.
    transfer = 8_192 / 2 + 65_536 + 8_192
    seconds = tpu_tile_seconds(GraphTensors(graph), configs, TPU).tolist()
    assert seconds == [8 * (transfer + 3 * 0.5) + transfer]


def test_tpu_compute_bounds_a_deep_product() -> None:
    slow = dataclasses.replace(TPU, peak_bfloat16=1.0, memory_bandwidth=1e30, transfer_overhead=0.0)
    graph = make_graph(
        Node("parameter", (8, 128)), Node("parameter", (128, 100)), Node("dot", (8, 100), (0, 1), root=True)
    )
    # The tile is padded to 128 columns: 2 * 8 * 128 * 128 operations at one per second.
    seconds = tpu_tile_seconds(GraphTensors(graph), tile_configs(((16, 1), (1, 1), ())), slow)
    assert seconds.tolist() == pytest.approx([2 * 8 * 128 * 128])


def test_tpu_reads_further_inputs_with_the_output() -> None:
    nodes = [
        Node("parameter", (16, 256)),
        Node("parameter", (256, 512)),
        Node("parameter", (16, 512)),
        Node("dot", (16, 512), (0, 1)),
        Node("add", (16, 512), (3, 2), root=True),
        Node("parameter", (16, 256)),
        Node("parameter", (256, 512)),
        Node("parameter", (16, 512)),
        Node("fusion", (16, 512), (5, 6, 7), calls=(4,), root=True),
    ]
    seconds = tpu_tile_seconds(GraphTensors(make_graph(*nodes)), tile_configs(((32, 4), (2, 4), ())), TPU)
    # Everything in one tile: 16 * 512 twice (output and addend), the kernel, the input; four tensors are moved.
    transfer = 4 * (2 * 16 * 512 + 256 * 512 + 16 * 256)
    assert seconds.tolist() == [transfer + 4 * 0.5 + transfer]


def test_tpu_vector_bounds_count_1024_elements() -> None:
    graph = make_graph(
        Node("parameter", (4096,)), Node("negate", (4096,), (0,), root=True, columns={features.IS_STABLE: 0})
    )
    seconds = tpu_tile_seconds(GraphTensors(graph), tile_configs(((), (1,), ())), TPU)
    assert seconds.tolist() == [4 * (8_192 + 1) + 8_192]


@pytest.mark.parametrize(
    ("kernel", "tau"), [("copy.24", 0.7), ("fusion.181", 1.0), ("fusion.191", 0.8), ("fusion.205", 0.75)]
)
def test_tpu_order_of_measured_tiles(shared: Path, kernel: str, tau: float) -> None:
    with np.load(shared / "data" / "tpugraphs" / "tile" / "xla" / "train" / f"{kernel}.npz") as published:
        graph = ProgramGraph(
            node_feat=published["node_feat"],
            node_opcode=published["node_opcode"].astype(np.uint8),
            edge_index=published["edge_index"],
            node_config_ids=np.zeros(0, np.int64),
            node_splits=np.array([0, len(published["node_opcode"])], np.int64),
        )
        configs, runtimes = TileConfigs(published["config_feat"]), published["config_runtime"]
    seconds = tpu_tile_seconds(GraphTensors(graph), configs, DEVICES["tpu-v3"])
    assert kendall_tau(seconds, runtimes) >= tau
    # Not only the order: within a factor of two of what was measured, in the geometric mean.
    assert 0.5 < np.exp(np.log(seconds * 1e9 / runtimes).mean()) < 2
