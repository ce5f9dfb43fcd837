"""Kernels in loops, compiled for TPUs as `--target tpu` does: the tile holds, and the operands stay in HBM."""

from __future__ import annotations

from typing import cast

import pytest

from autotune.evaluation import Failed, FailureReason
from autotune.hlo.kernels import Kernel
from autotune.hlo.modules import instructions
from autotune.hlo.reader import read_bytes
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace
from autotune.targets.device_worker import Executable
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.loops import bytes_beside_hbm, loop_request, scalar_shapes
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.target import TpuTarget
from protos import hlo_pb2, xla_pb2
from protos.xla_data_pb2 import PRED, S32
from tests.targets.tpu import programs


def _kernels(compiler: TpuCompiler) -> tuple[TpuTarget, list[Kernel]]:
    target = TpuTarget(compiler.topology.generation, compiler=compiler)
    prepared = target.prepare(read_bytes(programs.CONVOLUTION.encode(), "convolution"))
    return target, [each for each in target.kernels(prepared, LayoutConfig()) if each.window is not None]


def _optimised(code: bytes) -> hlo_pb2.HloModuleProto:
    return xla_pb2.HloModuleProtoWithConfig.FromString(code).hlo_module


@pytest.mark.parametrize(("generation", "sizes"), [("v3", (256, 1024)), ("v5e", (128, 512))])
def test_scalars_as_the_generation_keeps_them(libtpu: None, generation: str, sizes: tuple[int, int]) -> None:
    with TpuCompiler(generation, time_limit=120) as compiler:
        scalars = scalar_shapes(compiler)
    assert [tuple(scalars[kind].layout.tiles[0].dimensions) for kind in (S32, PRED)] == [(size,) for size in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["v2", "v3", "v4", "v5e", "v5p", "v6e", "tpu7x"])
def test_every_kernel_compiles_in_a_loop(libtpu: None, generation: str) -> None:
    with TpuCompiler(generation, time_limit=120) as compiler:
        _, kernels = _kernels(compiler)
        scalars = scalar_shapes(compiler)
        assert len(kernels) >= 4
        for kernel in kernels:
            request = loop_request(kernel.module, scalars)
            optimised = _optimised(compiler.compile(request.module, request.options))
            (loop,) = (each for each in instructions(optimised) if each.opcode == "while")
            bodies = {each.id: each for each in optimised.computations}
            inside = bodies[loop.called_computation_ids[0]].instructions
            assert [each.opcode for each in inside if each.name == kernel.name] == [kernel.opcode], "it is in the loop"
            if generation in ("v2", "v3", "v5e", "v5p"):
                assert bytes_beside_hbm(optimised) == 0


def test_with_vmem_assignment_on_operands_would_move(compiler: TpuCompiler) -> None:
    _, kernels = _kernels(compiler)
    kernel = next(each for each in kernels if each.opcode == "copy")
    module = hlo_pb2.HloModuleProto.FromString(loop_request(kernel.module, scalar_shapes(compiler)).module)
    plain = CompileRequest(module.SerializeToString(), compile_options(module, backend_only=True))
    assert bytes_beside_hbm(_optimised(compiler.compile(plain.module, plain.options))) > 0


def test_tiles_hold_in_loops(compiler: TpuCompiler) -> None:
    target, kernels = _kernels(compiler)
    kernel = next(each for each in kernels if each.window is not None and each.window.kernel_bounds)
    prepared = target.kernel_target.prepare_kernel(kernel)
    space = cast(TpuTileSpace, target.kernel_target.space(prepared, "tile"))
    configs = list(space.enumerate())
    for config, made in zip(
        [space.default, configs[1], configs[len(configs) // 2]],
        target.kernel_target.executables(prepared, [space.default, configs[1], configs[len(configs) // 2]]),
        strict=True,
    ):
        assert isinstance(made, Executable), made
        candidate = space.candidate(config)
        assert candidate is not None
        assert made.facts["estimated_cycles"] == candidate.cycles
        assert made.facts["bytes_beside_hbm"] == 0.0
    specs = target.kernel_target.loop_inputs(prepared)
    operands = len(kernel.module.host_program_shape.parameters)
    assert specs[0].dimensions == ()
    assert [each.dimensions for each in specs[1 : 1 + operands]] == [
        tuple(shape.dimensions) for shape in kernel.module.host_program_shape.parameters
    ]


def test_a_tile_that_does_not_hold_in_a_loop(compiler: TpuCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is compared with what was asked: here nothing is forced, and the compiler takes its own tile."""
    target, kernels = _kernels(compiler)
    kernel = next(each for each in kernels if each.window is not None and each.window.kernel_bounds)
    plan = target.kernel_target
    prepared = plan.prepare_kernel(kernel)
    asked = list(plan.space(prepared, "tile").enumerate())[1]
    assert isinstance(asked, TpuTileConfig)
    honest = plan.realise
    monkeypatch.setattr(plan, "realise", lambda prepared, config: honest(prepared, TpuTileConfig()))
    (found,) = plan.executables(prepared, [asked])
    assert isinstance(found, Failed)
    assert found.reason is FailureReason.NOT_APPLIED
    assert found.message.startswith(f"asked for {asked.to_json()['tile']}, the compiler took output [")
