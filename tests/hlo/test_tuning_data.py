from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.errors import ProgramReadError
from autotune.hlo.graph import program_graph
from autotune.hlo.program import Program
from autotune.hlo.tuning_data import layout_configs_from_tuning, tile_configs_from_tuning, tuning_arrays
from cost_model import LayoutConfigs, TileConfigs
from protos import hlo_pb2, tuning_pb2


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
    data.runs.add().module_config.layout_config.nodes.add()  # without a profile: it was not run
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
    with pytest.raises(ProgramReadError, match="layouts of 3 tensors at most, found 4 at node 4"):
        layout_configs_from_tuning(_layout_data((5, False, [[[0], [0], [0], [0]], []])))


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


def test_the_first_run_of_the_default_tile_counts() -> None:
    data = _tile_data(
        (0, True, True, [], [4]),  # failed
        (900, False, True, [], [4]),
        (850, False, True, [], [4]),
    )
    assert tile_configs_from_tuning(data).normalizers.tolist() == [900, 900]


def test_tile_runs_need_a_default() -> None:
    with pytest.raises(ProgramReadError, match="found 1 runs and no default"):
        tile_configs_from_tuning(_tile_data((900, False, False, [], [4])))
    with pytest.raises(ProgramReadError, match="found 0 runs and no default"):
        tile_configs_from_tuning(_layout_data((5, False, [[], []])))


# ---- Programs with their runs ----------------------------------------------------------------------------------------


def _program(data: tuning_pb2.ModuleTuningData, opcodes: str = "parameter reshape reshape") -> Program:
    """A program of one chain of instructions, as `read` makes it from this tuning data."""
    module = data.module
    module.computations.add(name="main", root_id=len(opcodes.split()))
    for number, opcode in enumerate(opcodes.split(), 1):
        operands = [number - 1] if number > 1 else []
        module.computations[0].instructions.add(id=number, opcode=opcode, name=opcode, operand_ids=operands)
    return Program(
        module.name, module.SerializeToString(deterministic=True), "x", (), data.SerializeToString(deterministic=True)
    )


def test_a_program_with_layout_runs() -> None:
    data = _layout_data((0, True, [[], []]), (500, False, [[[1, 0]], [[], [0, 1]]]))
    data.config_index_to_node[:] = [1, 2]
    program = _program(data)
    found = tuning_arrays(program)
    assert isinstance(found.configs, LayoutConfigs)
    assert found.configs.node_config_feat[:, :, [0, 1, 6, 7]].tolist() == [[[1, 0, -1, -1], [-1, -1, 0, 1]]]
    assert found.runtimes is not None
    assert found.runtimes.tolist() == [500]
    assert found.graph.edge_index.tolist() == [[1, 0], [2, 1]]
    assert found.graph.node_feat.tobytes() == program_graph(program).node_feat.tobytes()


def test_the_tuning_data_says_which_nodes_are_configurable() -> None:
    data = _layout_data((500, False, [[[0]]]))
    data.config_index_to_node[:] = [2]  # of the two reshapes
    assert tuning_arrays(_program(data)).graph.node_config_ids.tolist() == [2]


def test_a_program_with_tile_runs() -> None:
    found = tuning_arrays(_program(_tile_data((900, False, True, [], [4]), (800, False, False, [2], [3])), "parameter"))
    assert isinstance(found.configs, TileConfigs)
    assert found.configs.config_feat[:, [0, 8]].tolist() == [[0, 4], [2, 3]]
    assert found.runtimes is not None
    assert found.normalizers is not None
    assert (found.runtimes.tolist(), found.normalizers.tolist()) == ([900, 800], [900, 900])


@pytest.mark.parametrize(
    "data", [_tile_data(), _tile_data((0, True, False, [], [4])), _layout_data((0, True, [[], []]))],
    ids=["none", "failed tiles", "failed layouts"],
)  # fmt: skip
def test_a_program_without_runs(data: tuning_pb2.ModuleTuningData) -> None:
    found = tuning_arrays(_program(data))
    assert found.graph.node_config_ids.tolist() == [1, 2]
    assert (found.configs, found.runtimes, found.normalizers) == (None, None, None)


def test_a_program_that_was_not_tuning_data() -> None:
    assert tuning_arrays(Program("program", _program(_tile_data()).module, "x")).configs is None


def _both() -> tuning_pb2.ModuleTuningData:
    data = _layout_data((500, False, [[], []]))
    data.runs.extend(_tile_data((900, False, True, [], [4])).runs)
    return data


@pytest.mark.parametrize(
    ("data", "nodes", "message"),
    [
        (_both(), [1, 2], "runs of layouts or of tiles, found 1 of layouts and 1 of tiles"),
        (_layout_data((500, False, [[], []])), [1, 3], "node indices from 0 to 2, found 1 to 3"),
        (_layout_data((500, False, [[], []])), [1, 2**64 - 1], "node indices from 0 to 2, found -1 to 1"),
        (_layout_data((500, False, [[], []])), [2, 1], "ascending indices"),
        (_layout_data((500, False, [[[-7]], []])), [1, 2], "expected dimensions or -1"),
        (_tile_data((900, False, True, [], [-4])), [], "config_feat: expected finite sizes of 0 or more"),
    ],
    ids=["both kinds", "no such node", "damaged node", "order", "layout", "tile"],
)
def test_tuning_data_that_contradicts_itself(data: tuning_pb2.ModuleTuningData, nodes: list[int], message: str) -> None:
    data.config_index_to_node[:] = nodes
    with pytest.raises(ProgramReadError, match=f"tuning data of '(program|kernel)': .*{message}"):
        tuning_arrays(_program(data))


def test_runs_belong_to_the_nodes_of_the_file() -> None:
    program = _program(_tile_data((900, False, True, [], [4])))
    module = hlo_pb2.HloModuleProto.FromString(program.module)
    module.computations[0].instructions[2].opcode = "copy"  # as un-fusing may change it
    changed = Program(program.name, module.SerializeToString(deterministic=True), "x", (), program.tuning)
    with pytest.raises(ProgramReadError, match="read it with keep_optimised=True"):
        tuning_arrays(changed)


# ---- The published data set ------------------------------------------------------------------------------------------


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
