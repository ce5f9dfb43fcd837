"""What the compiler returns, in real processes: layouts, stages, logs, words of refusal, every generation."""

from __future__ import annotations

import pytest

from autotune.errors import AutotuneError
from autotune.targets.isolation import WorkerFailure, WorkerFailureReason
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.generations import GENERATIONS
from autotune.targets.tpu.options import compile_options
from protos.hlo_pb2 import HloModuleProto
from protos.xla_pb2 import HloModuleProtoWithConfig
from tests.targets.tpu import programs

pytestmark = pytest.mark.usefixtures("libtpu")


def test_entry_layouts_are_kept(compiler: TpuCompiler) -> None:
    found = HloModuleProtoWithConfig.FromString(compiler.compile(*programs.request(programs.DOT)))
    for shape in (found.hlo_module.host_program_shape, found.config.entry_computation_layout):
        assert [list(each.layout.minor_to_major) for each in shape.parameters] == [[0, 1], [1, 0]]
        assert list(shape.result.layout.minor_to_major) == [0, 1]


def test_same_cycles_as_by_jax_and_at_every_stage(compiler: TpuCompiler) -> None:
    # 61242 came from jax.jit(...).lower(...).compile() of the same program (shared: t1_lat.py, flags.txt).
    stages = compiler.stages(*programs.request(programs.CONVOLUTION))
    assert programs.cycles(stages.optimised) == 61242
    before_layouts = HloModuleProto.FromString(stages.before_layout_assignment)
    again = compiler.compile(stages.before_layout_assignment, compile_options(before_layouts))
    assert programs.cycles(again) == 61242
    scheduled = HloModuleProto.FromString(stages.before_memory_space_assignment)
    assert scheduled.HasField("schedule")
    backend = compiler.compile(stages.before_memory_space_assignment, compile_options(scheduled, backend_only=True))
    assert programs.cycles(backend) == 61242


def test_stages_one_by_one(compiler: TpuCompiler) -> None:
    before = HloModuleProto.FromString(compiler.before_layout_assignment(*programs.request(programs.DOT)))
    assert [each.opcode for each in before.computations[-1].instructions] == ["parameter", "parameter", "dot"]
    after = HloModuleProto.FromString(compiler.before_memory_space_assignment(*programs.request(programs.DOT)))
    assert "fusion" in {each.opcode for each in after.computations[-1].instructions}


def test_log_of_one_call_lists_candidates(compiler: TpuCompiler) -> None:
    first, log = compiler.verbose_compile(*programs.request(programs.DOT))
    assert "Generated Candidate: out=" in log
    second, again = compiler.verbose_compile(*programs.request(programs.DOT))
    assert (
        programs.cycles(first)
        == programs.cycles(second)
        == programs.cycles(compiler.compile(*programs.request(programs.DOT)))
    )
    assert again.count("Generated Candidate: out=") == log.count("Generated Candidate: out="), "of one call only"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (b"\xff\xfe no module", "failed to deserialize HloModuleProto"),
        (b"", "has_host_program_shape"),
    ],
)
def test_wrong_module_is_an_error_in_words(compiler: TpuCompiler, module: bytes, message: str) -> None:
    with pytest.raises(WorkerFailure, match=message) as caught:
        compiler.compile(module, programs.request(programs.DOT)[1])
    assert caught.value.reason is WorkerFailureReason.ERROR
    assert caught.value.error_type == "CompileRefusedError"
    assert caught.value.phase == "compiling"


def test_contradicting_shapes_are_named(compiler: TpuCompiler) -> None:
    module = HloModuleProto.FromString(programs.request(programs.DOT)[0])
    module.computations[0].instructions[-1].shape.dimensions[0] = 7
    with pytest.raises(WorkerFailure, match=r"shape equal to bf16\[256,128\], actual shape is bf16\[7,128\]"):
        compiler.compile(module.SerializeToString(), compile_options(module))


def test_unknown_flag_is_named(compiler: TpuCompiler) -> None:
    with pytest.raises(WorkerFailure, match="No such compile option: 'xla_nonsense'"):
        compiler.compile(*programs.request(programs.DOT, xla_nonsense=1))


def test_memory_of_the_tpu_is_not_that_of_the_host(compiler: TpuCompiler) -> None:
    huge = "HloModule huge\nENTRY main {\n  x = f32[65536,65536]{1,0} parameter(0)\n  ROOT y = f32[65536,65536]{1,0} \
add(x, x)\n}\n"
    with pytest.raises(WorkerFailure, match=r"(?i)memory.*hbm") as caught:  # 2 x 16 GB; a v5e has 16 GB
        compiler.compile(*programs.request(huge))
    assert caught.value.reason is WorkerFailureReason.ERROR
    assert caught.value.error_type == "DeviceMemoryError"


def test_topology_that_libtpu_does_not_have(libtpu: None) -> None:
    with (
        TpuCompiler("v5e:3x7") as compiler,
        pytest.raises(AutotuneError, match=r"TPU topology 'v5e:3x7': .*layout \"v5e:3x7\""),
    ):
        compiler.compile(*programs.request(programs.DOT))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_compiles(generation: str) -> None:
    with TpuCompiler(generation, time_limit=120) as compiler:
        optimised = compiler.compile(*programs.request(programs.DOT))
    assert programs.cycles(optimised) > 0
    assert "convolution" in {
        each.opcode
        for computation in HloModuleProtoWithConfig.FromString(optimised).hlo_module.computations
        for each in computation.instructions
    }, "a TPU does products as convolutions"


def test_program_for_four_chips(libtpu: None) -> None:
    module = programs.module(programs.DIVIDED_DOT)
    with TpuCompiler("v5e:2x2", time_limit=120) as compiler:
        stages = compiler.stages(module.SerializeToString(), compile_options(module, partitions=4))
        part = HloModuleProto.FromString(stages.before_layout_assignment)
        assert "all-reduce" in {each.opcode for body in part.computations for each in body.instructions}
        again = compiler.compile(stages.before_layout_assignment, compile_options(part, partitions=4, partitioned=True))
        assert programs.cycles(again) == programs.cycles(stages.optimised) > 0
