from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autotune import api
from autotune.errors import AutotuneError, SpaceError, UnsupportedProgramError
from autotune.evaluation import Estimated
from autotune.hlo.reader import read_bytes
from autotune.hlo.window_config import ForcedTile
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.targets import open_target
from autotune.targets.tpu.target import TpuTarget
from autotune.targets.tpu.worker import Stages
from tests import programs
from tests.rows import committed
from tests.targets.tpu.faulty import plan_faults

pytestmark = pytest.mark.usefixtures("libtpu")


@pytest.fixture(scope="module")
def target() -> Iterator[TpuTarget]:
    with TpuTarget("v5e") as target:
        yield target


def test_the_default_costs_what_it_costs(target: TpuTarget) -> None:
    prepared = target.prepare(programs.two_dots())
    space = target.space(prepared, "auto")
    first, second = target.evaluate(prepared, [space.default, space.default])
    assert isinstance(first.outcome, Estimated)
    assert first.cost == second.cost == 1.0
    assert first.outcome.cycles == prepared.details["default_cycles"] != 0
    assert first.details["kernels"] != 0


def test_layouts_change_the_estimate_and_nothing_is_left_to_chance(target: TpuTarget) -> None:
    prepared = target.prepare(programs.two_dots())
    space = target.space(prepared, "layout")
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(6)]
    once, again = (target.evaluate(prepared, configs) for _ in range(2))
    assert [e.outcome for e in once] == [e.outcome for e in again]
    assert any(e.cost != 1.0 for e in once)
    assert all(e.kind in ("estimated", "failed") for e in once)


SHARDED = """HloModule sharded, num_partitions=4
ENTRY main {
  a = f32[512,1024] parameter(0), sharding={devices=[4,1]0,1,2,3}
  b = f32[1024,512] parameter(1), sharding={replicated}
  d = f32[512,512] dot(a, b), lhs_contracting_dims={1}, rhs_contracting_dims={0}, sharding={devices=[4,1]0,1,2,3}
  ROOT t = f32[512,512] tanh(d), sharding={devices=[4,1]0,1,2,3}
}
"""


def test_a_program_over_several_chips() -> None:
    with TpuTarget("v5e:2x2") as target:
        prepared = target.prepare(read_bytes(SHARDED.encode(), "sharded"))
        space = target.space(prepared, "layout")
        assert isinstance(space, LayoutSpace)
        (output,) = (tensor for tensor in space.tensors if tensor.tensor == 0)
        assert output.dimensions == (128, 512), "what one chip computes"
        default, same = target.evaluate(prepared, [space.default, LayoutConfig(((output.node, 0, (1, 0)),))])
        assert isinstance(default.outcome, Estimated)
        assert default.outcome.cycles == prepared.details["default_cycles"]
        assert same.cost == 1.0, "asking for what the compiler does anyway; it is not divided again"


def test_tiles_within_the_whole_program(target: TpuTarget) -> None:
    prepared = target.prepare(programs.product(512, 512, 512))
    default = target.space(prepared, "layout").default
    kernel_target, kernels = target.kernel_target, target.kernels(prepared, default)
    (kernel,) = (each for each in kernels if each.window is not None and each.window.kernel_bounds)
    alone = kernel_target.prepare_kernel(kernel)
    space = kernel_target.space(alone, "tile")
    assert isinstance(space, TpuTileSpace)
    other = list(space.enumerate())[1]
    candidate = space.candidate(other)
    assert candidate is not None
    tile = ForcedTile(other.output_bounds, other.kernel_bounds, candidate.cycles)
    tiled = target.apply_tiles(prepared, default, {kernel.name: tile})
    assert tiled.held == tiled.asked == (kernel.name,)
    own = kernel.window.estimated_cycles if kernel.window is not None else None
    assert own is not None
    assert tiled.cycles == float(str(prepared.details["default_cycles"])) - own + candidate.cycles
    untouched = target.apply_tiles(prepared, default, {})
    assert untouched.cycles == prepared.details["default_cycles"]


def test_the_best_layouts_are_compiled_once_for_kernels_and_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    with TpuTarget("v5e") as own:
        prepared = own.prepare(programs.two_dots())
        compiler = own._compiler
        asked: list[bytes] = []
        honest = compiler.stages

        def counting(module: bytes, options: bytes) -> Stages:
            asked.append(module)
            return honest(module, options)

        monkeypatch.setattr(compiler, "stages", counting)
        space = own.space(prepared, "layout")
        own.kernels(prepared, space.default)
        own.apply_tiles(prepared, space.default, {})
        assert asked == [], "the default was compiled when the program was prepared"
        other = space.sample(np.random.default_rng(1))
        own.kernels(prepared, other)
        own.apply_tiles(prepared, other, {})
        assert len(asked) == 1


def test_what_cannot_be_done_is_said(target: TpuTarget) -> None:
    prepared = target.prepare(programs.two_dots())
    with pytest.raises(SpaceError, match="no tile choice"):
        target.space(prepared, "tile")
    exchange = """HloModule exchange, replica_count=2
add { a = f32[] parameter(0) b = f32[] parameter(1) ROOT s = f32[] add(a, b) }
ENTRY main {
  x = f32[256,256] parameter(0)
  d = f32[256,256] dot(x, x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT y = f32[256,256] all-reduce(d), replica_groups={{0,1}}, to_apply=add }
"""
    with pytest.raises(UnsupportedProgramError, match=r"2 devices, tpu:v5e has 1: choose a larger topology"):
        target.prepare(read_bytes(exchange.encode(), "exchange"))
    with TpuTarget("v5e:2x2") as larger:
        prepared = larger.prepare(read_bytes(exchange.encode(), "exchange"))
        (evaluation,) = larger.evaluate(prepared, [LayoutConfig()])
        assert evaluation.kind == "estimated"


def test_a_program_without_an_estimate_is_refused(target: TpuTarget) -> None:
    text = "HloModule nothing\nENTRY main { x = s32[] parameter(0) ROOT y = s32[] add(x, x) }\n"
    with pytest.raises(UnsupportedProgramError, match="there is nothing to compare configs by"):
        target.prepare(read_bytes(text.encode(), "nothing"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("tpu:v9", "expected one of v2, v3"), ("gpu", "expected cpu, tpu, tpu:<generation>")],
)
def test_targets_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(AutotuneError, match=message):
        open_target(name)


@pytest.mark.slow
def test_a_search_goes_on_after_every_kind_of_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "evaluations.sqlite"
    with monkeypatch.context() as patch:
        plan_faults({4: "hang", 6: "abort", 7: "kill"}, tmp_path, patch)  # 1 prepares, 2 is the default
        with TpuTarget("v5e") as target:
            result = api.search(programs.two_dots(), target=target, database=database, budget=8)
    assert result.counts == {"measured": 0, "estimated": 6, "failed": 3}
    assert result.failures == {"compile timed out": 1, "compiler crashed": 1, "killed from outside": 1}
    assert "estimated (compiler cycles, tpu v5e)" in result.verdict
    asked = [e.config for e in result.evaluations if e.kind == "estimated"]
    fates = [count for each in result.layout_requests.values() for count in each.values()]
    assert sum(fates) == sum(len(config.orders) for config in asked if isinstance(config, LayoutConfig)) > 0
    assert len(committed(database)) == 9, "every evaluation, failed ones included, is in the database"
    with TpuTarget("v5e") as target:
        again = api.search(programs.two_dots(), target=target, database=database, budget=8)
    assert again.reused == 7, "the one that was killed from outside is tried again, the others are remembered"
