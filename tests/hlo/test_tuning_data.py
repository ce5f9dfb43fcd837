from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.errors import ProgramReadError
from autotune.hlo.tuning_data import layout_configs_from_tuning, tile_configs_from_tuning
from protos import tuning_pb2


def _layout_data(*runs: tuple[int, bool, list[list[list[int]]]]) -> tuning_pb2.ModuleTuningData:
    """Runs (nanoseconds, failed, per node the order of every tensor) of nodes 4 and 9."""
    data = tuning_pb2.ModuleTuningData(config_index_to_node=[4, 9])
    data.module.name = "program"
    for nanoseconds, error, nodes in runs:
        run = data.runs.add(error=error)
        run.profile.compute_time_ns = nanoseconds
        run.module_config.layout_config.SetInParent()
        for tensors in nodes:
            node = run.module_config.layout_config.nodes.add()
            for order in tensors:
                node.tensors.add(dims=order)
    return data


def test_layout_runs() -> None:
    data = _layout_data(
        (500, False, [[[1, 0], [], [0, 1]], [[0], [2, 1, 0]]]),
        (0, True, [[], []]),
        (400, False, [[], []]),
    )
    configs, runtimes, nodes = layout_configs_from_tuning(data)
    assert runtimes.tolist() == [500, 400]
    assert nodes.tolist() == [4, 9]
    none = [-1.0] * 6
    first = [1.0, 0.0, -1.0, -1.0, -1.0, -1.0, *none, 0.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    second = [0.0, -1.0, -1.0, -1.0, -1.0, -1.0, 2.0, 1.0, 0.0, -1.0, -1.0, -1.0, *none]
    assert configs.node_config_feat.tolist() == [[first, second], [none * 3, none * 3]]


def test_layout_runs_that_cannot_be_read() -> None:
    with pytest.raises(ProgramReadError, match=r"'program': expected layout runs without error, found none"):
        layout_configs_from_tuning(_layout_data((0, True, [[], []])))
    with pytest.raises(ProgramReadError, match="each of 2 configurable nodes, found 1"):
        layout_configs_from_tuning(_layout_data((5, False, [[[0]]])))


def _tile_data(*runs: tuple[int, bool, bool, list[int], list[int]]) -> tuning_pb2.ModuleTuningData:
    """Runs (nanoseconds, failed, default, kernel bounds, output bounds)."""
    data = tuning_pb2.ModuleTuningData()
    data.module.name = "kernel"
    for nanoseconds, error, is_default, kernel, output in runs:
        run = data.runs.add(error=error, is_default=is_default)
        run.profile.compute_time_ns = nanoseconds
        tile = run.op_config.tile_size_config
        tile.SetInParent()
        tile.kernel_bounds.extend(kernel)
        tile.output_bounds.extend(output)
    return data


def test_tile_runs() -> None:
    configs, runtimes, normalizers = tile_configs_from_tuning(
        _tile_data(
            (900, False, True, [], [4, 8]),
            (1, False, False, [], [1, 1]),  # was not run
            (700, True, False, [], [2, 1]),  # failed
            (800, False, False, [3, 1, 24, 3], [1, 2, 3, 4, 5, 6, 7]),
        )
    )
    assert runtimes.tolist() == [900, 800]
    assert normalizers.tolist() == [900, 900]
    assert configs.config_feat[0].tolist() == [0] * 8 + [4, 8, 0, 0, 0, 0, 12, 32] + [0] * 8
    assert configs.config_feat[1].tolist() == (
        [3, 1, 24, 3, 0, 0, 31, 216] + [1, 2, 3, 4, 5, 6, 28, 5040] + [0] * 8  # sum and product of all seven
    )


def test_tile_runs_need_a_default() -> None:
    with pytest.raises(ProgramReadError, match="found 1 runs and no default"):
        tile_configs_from_tuning(_tile_data((900, False, False, [], [4])))
    with pytest.raises(ProgramReadError, match="found 0 runs and no default"):
        tile_configs_from_tuning(_layout_data((5, False, [[], []])))


def test_published_layout_runs(shared: Path) -> None:
    folder = shared / "data" / "tpugraphs"
    content = (folder / "module_tuning_data_layout.pb").read_bytes()
    configs, runtimes, nodes = layout_configs_from_tuning(tuning_pb2.ModuleTuningData.FromString(content))
    assert len(configs) == len(runtimes) == 112
    with np.load(folder / "layout" / "xla" / "default" / "valid" / "unet_3d.4x4.bf16.npz") as published:
        assert nodes.tolist() == published["node_config_ids"].tolist()
        # The published file holds these runs among others: each must be there, config and runtime.
        known = {
            (int(runtime), values.tobytes())
            for runtime, values in zip(published["config_runtime"], published["node_config_feat"], strict=True)
        }
    for runtime, values in zip(runtimes, configs.node_config_feat, strict=True):
        assert (int(runtime), values.tobytes()) in known
