"""Programs that do not fit a TPU: estimated kernel by kernel, told apart from those that do, refused where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import api
from autotune.errors import UnsupportedProgramError
from autotune.evaluation import Estimated, Failed
from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.targets.tpu.beyond_memory import KernelSums, describe
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.estimate import estimate
from autotune.targets.tpu.target import TpuTarget
from autotune.tuning_export import save_tuning_data
from protos import hlo_pb2, xla_pb2
from tests.targets.tpu import programs

LAYERS = 5
"""Of 32768 x 32768 float32, 4 GiB each; a v5e has 15.75."""


def _layers(count: int) -> Program:
    lines = ["x0 = f32[256,32768]{1,0} parameter(0)"]
    for layer in range(count):
        lines.append(f"w{layer} = f32[32768,32768]{{1,0}} parameter({layer + 1})")
        lines.append(
            f"y{layer} = f32[256,32768]{{1,0}} dot(x{layer}, w{layer}), lhs_contracting_dims={{1}}, "
            "rhs_contracting_dims={0}"
        )
        lines.append(f"{'ROOT ' * (layer == count - 1)}x{layer + 1} = f32[256,32768]{{1,0}} tanh(y{layer})")
    return read_bytes(("HloModule layers\nENTRY main {\n" + "\n".join(lines) + "\n}\n").encode(), "layers")


def test_every_kernel_is_counted(libtpu: None, tmp_path: Path) -> None:
    with TpuTarget("v5e") as target:
        one, many = target.prepare(_layers(1)), target.prepare(_layers(LAYERS))
        assert one.caveat == ""
        assert many.caveat.startswith("the program does not fit this TPU's memory (2")
        assert "15.75G available); estimated kernel by kernel, as if it did" in many.caveat
        # Equal layers, each of one product: five times the cycles of one alone, but for what is fused at the ends.
        alone = target._sums.estimate(
            hlo_pb2.HloModuleProto.FromString(target._stages(one, LayoutConfig()).before_memory_space_assignment)
        )
        assert many.details["default_cycles"] == pytest.approx(LAYERS * alone.cycles, rel=0.01)
        assert many.details["argument_bytes"] == LAYERS * 2**32 + 256 * 32768 * 4
        space = target.space(many, "layout")
        assert isinstance(space, LayoutSpace)
        weight = next(tensor for tensor in space.tensors if tensor.dimensions == (32768, 32768))
        turned = LayoutConfig(((weight.node, weight.tensor, (0, 1)),))
        default, other = target.evaluate(many, [space.default, turned])
        assert default.cost == 1.0
        assert default.details["fits_memory"] == 0.0
        assert isinstance(other.outcome, (Estimated, Failed))
        result = api.search(_layers(LAYERS), target=target, database=tmp_path / "db.sqlite", budget=9)
        assert many.caveat in result.verdict
        assert result.to_json()["program"]["caveat"] == many.caveat
        assert result.tiled is None
        assert result.tiles[0].own is not None, "kernels have the tile that they have alone"
        save_tuning_data(result, tmp_path / "data")
        assert "does not fit" in (tmp_path / "data" / "labels.json").read_text()


def test_a_config_that_fits_is_estimated_in_the_same_way(libtpu: None) -> None:
    """Whatever fits among the configs of a program that does not, the two kinds of estimates are never compared."""
    with TpuTarget("v5e") as target:
        many = target.prepare(_layers(LAYERS))
        small = _layers(1)
        honest = target.realise
        target.realise = lambda prepared, config: honest(target_small, LayoutConfig())  # type: ignore[method-assign]
        target_small = target.prepare(small)
        (evaluation,) = target.evaluate(many, [LayoutConfig()])
        assert evaluation.details["fits_memory"] == 1.0
        assert isinstance(evaluation.outcome, Estimated)
        assert evaluation.outcome.cycles * LAYERS == pytest.approx(many.details["default_cycles"], rel=0.01)


def test_a_kernel_that_does_not_fit_alone(libtpu: None) -> None:
    text = "HloModule huge\nENTRY main { x = f32[1000000000000] parameter(0) ROOT y = f32[1000000000000] negate(x) }\n"
    with TpuTarget("v5e") as target, pytest.raises(UnsupportedProgramError, match=r"Ran out of memory on HBM.*7\.28T"):
        target.prepare(read_bytes(text.encode(), "huge"))


def test_what_is_to_be_run_must_fit(libtpu: None) -> None:
    with (
        TpuTarget("v5e", keep_arguments=True) as target,
        pytest.raises(UnsupportedProgramError, match=r"(?s)Ran out of memory on HBM.*tpu:v5p, may hold it"),
    ):
        target.prepare(_layers(LAYERS))


def test_sums_of_a_program_that_fits_are_of_its_order(compiler: TpuCompiler) -> None:
    """Another kind of number, but not another order of magnitude: operands come from HBM instead of VMEM."""
    module, options = programs.request(programs.CONVOLUTION)
    stages = compiler.stages(module, options)
    whole = estimate(xla_pb2.HloModuleProtoWithConfig.FromString(stages.optimised))
    sums = KernelSums(compiler)
    summed = sums.estimate(hlo_pb2.HloModuleProto.FromString(stages.before_memory_space_assignment))
    assert 0.5 < summed.cycles / whole.cycles < 2.0
    assert summed.argument_bytes == whole.argument_bytes
    assert stages.refusal == ""


def test_a_kernel_that_does_not_compile_alone_fails_its_config(compiler: TpuCompiler) -> None:
    broken = programs.module(programs.CONVOLUTION)  # not optimised: its products are no kernels for the backend
    with pytest.raises(UnsupportedProgramError, match=r"kernel '.*' \(.*\) does not compile alone"):
        KernelSums(compiler).estimate(broken)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            "E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO temporaries "
            "(43.90G) exceeds available HBM (15.75G). HLO module: jit__prefill_jit.\nSee ...",
            "(43.90G needed, 15.75G available)",
        ),
        ("Ran out of memory.\nMore words", "(Ran out of memory.)"),
    ],
)
def test_sizes_are_said(refusal: str, words: str) -> None:
    assert words in describe(refusal)
