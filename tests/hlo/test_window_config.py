"""Tiles in the JSON text beside an instruction: read strictly, written so that the compiler takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from autotune.errors import AutotuneError, ToolchainError
from autotune.hlo.modules import instructions
from autotune.hlo.window_config import WindowConfig, apply_tiles, force_tile, read_window_config
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2
from tests import programs
from tests.hlo import tpu_programs

# What libtpu 0.0.52 writes for v5e beside a product of bf16[256,512] and bf16[512,384], shortened.
WRITTEN = {
    "flag_configs": [],
    "window_config": {
        "kernel_window_bounds": ["64", "3"],
        "output_window_bounds": ["32", "3"],
        "input_window_bounds": ["32", "4"],
        "estimated_cycles": "4023",
        "iteration_bounds": ["1", "1", "1"],
        "cost_model_type": "COST_MODEL_TYPE_CLASSIC",
        "buffering_level": "2",
    },
    "retry_config": {"retry_count": "0"},
}


def _instruction(config: Any, **fields: Any) -> hlo_pb2.HloInstructionProto:
    text = config if isinstance(config, str) else json.dumps(config)
    return hlo_pb2.HloInstructionProto(
        **{"name": "fusion.1", "opcode": "fusion", **fields}, backend_config=text.encode()
    )


def _with_window(**changes: Any) -> dict[str, Any]:
    return {"window_config": {**WRITTEN["window_config"], **changes}}  # type: ignore[dict-item] # it is a dict


def test_what_the_compiler_wrote_is_read() -> None:
    assert read_window_config(_instruction(WRITTEN)) == WindowConfig(
        kernel_bounds=(64, 3),
        output_bounds=(32, 3),
        input_bounds=(32, 4),
        iteration_bounds=(1, 1, 1),
        estimated_cycles=4023,
        other={"cost_model_type": "COST_MODEL_TYPE_CLASSIC", "buffering_level": "2"},
    )


def test_the_largest_number_means_no_estimate() -> None:
    window = read_window_config(_instruction(_with_window(estimated_cycles="9223372036854775807")))
    assert window is not None
    assert window.estimated_cycles is None


@pytest.mark.parametrize(
    "instruction",
    [
        hlo_pb2.HloInstructionProto(name="plain", opcode="add"),
        _instruction({"flag_configs": []}),
        _instruction("not JSON, and nobody's business", opcode="custom-call"),
    ],
)
def test_no_tile(instruction: hlo_pb2.HloInstructionProto) -> None:
    assert read_window_config(instruction) is None


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("{", "backend_config is not JSON text"),
        ([1], "backend_config is list, expected a JSON object"),
        ({"window_config": [1]}, r"window_config is \[1\], expected a JSON object"),
        (_with_window(output_window_bounds=[]), "has no output_window_bounds"),
        (_with_window(output_window_bounds="32"), "output_window_bounds is '32', expected a list"),
        (_with_window(kernel_window_bounds=[64, 3]), "kernel_window_bounds holds 64, expected digits in quotes"),
        (_with_window(estimated_cycles="4e3"), "estimated_cycles holds '4e3', expected digits in quotes"),
    ],
)
def test_an_unknown_form_is_an_error_that_names_it(config: Any, problem: str) -> None:
    with pytest.raises(ToolchainError, match=rf"fusion 'fusion\.1': .*{problem}.*libtpu 0\.0\.52"):
        read_window_config(_instruction(config))


def _module(*described: hlo_pb2.HloInstructionProto) -> hlo_pb2.HloModuleProto:
    module = hlo_pb2.HloModuleProto(name="m")
    module.computations.add(instructions=described)
    return module


def test_forcing_replaces_the_tile_and_what_the_compiler_derived_from_it() -> None:
    module = _module(_instruction(WRITTEN), _instruction(WRITTEN, name="fusion.2"))
    before = module.SerializeToString(deterministic=True)
    first, second = instructions(force_tile(module, "fusion.1", (16, 3), (32, 3), 5000))
    assert module.SerializeToString(deterministic=True) == before, "the original is left alone"
    config = json.loads(first.backend_config)
    assert config.pop("window_config") == {
        "kernel_window_bounds": ["32", "3"],
        "output_window_bounds": ["16", "3"],
        "estimated_cycles": "5000",
        "cost_model_type": "COST_MODEL_TYPE_CLASSIC",
        "buffering_level": "2",
    }
    assert config == {"flag_configs": [], "retry_config": {"retry_count": "0"}}
    assert second == _instruction(WRITTEN, name="fusion.2")


def test_a_forced_tile_is_read_back() -> None:
    module = _module(hlo_pb2.HloInstructionProto(name="copy.1", opcode="copy"))
    (copy,) = instructions(force_tile(module, "copy.1", (8, 4), (), 0))
    assert read_window_config(copy) == WindowConfig(kernel_bounds=(), output_bounds=(8, 4), estimated_cycles=0)


def test_nothing_asked_nothing_changed() -> None:
    module = programs.two_dots().proto
    assert apply_tiles(module, {}) == module


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AutotuneError, match=r"module 'm' has no instruction 'fusion\.9'"):
        force_tile(_module(_instruction(WRITTEN)), "fusion.9", (8,), (), 1)


@pytest.mark.parametrize("tile", [((), (1,), 1), ((8, 0), (), 1), ((8, 1), (-1,), 1), ((8, 1), (), -1)])
def test_tiles_that_cannot_be(tile: tuple[tuple[int, ...], tuple[int, ...], int]) -> None:
    with pytest.raises(AutotuneError, match=r"of 'fusion\.1': expected positive bounds"):
        apply_tiles(_module(_instruction(WRITTEN)), {"fusion.1": tile})


# ---------------------------------------------------------------------------------------------------------------------
# With the compiler


@pytest.fixture(scope="module")
def compiler() -> Iterator[TpuCompiler]:
    pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    with TpuCompiler("v5e", time_limit=120.0) as compiler:
        yield compiler


@pytest.mark.parametrize("name", tpu_programs.PROGRAMS)
def test_a_whole_program_takes_tiles(compiler: TpuCompiler, name: str) -> None:
    module = tpu_programs.read(tpu_programs.PROGRAMS[name])
    stages = compiler.stages(module.SerializeToString(), compile_options(module))
    before = hlo_pb2.HloModuleProto.FromString(stages.before_memory_space_assignment)
    default = tpu_programs.windows(tpu_programs.optimise(compiler, module))
    assert not tpu_programs.windows(before)
    unedited = tpu_programs.windows(tpu_programs.optimise(compiler, before, backend_only=True))
    assert unedited == default, "tiles, names and cycles"
    tiles = tpu_programs.CANDIDATES[name]
    edited = tpu_programs.windows(tpu_programs.optimise(compiler, apply_tiles(before, tiles), backend_only=True))
    assert set(edited) == set(default)
    for instruction, window in edited.items():
        if instruction in tiles:
            taken = (window.output_bounds, window.kernel_bounds, window.estimated_cycles)
            assert taken == tiles[instruction]
            assert window.output_bounds != default[instruction].output_bounds, "not the compiler's own choice"
        else:
            assert window == default[instruction]
