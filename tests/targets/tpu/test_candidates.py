"""The tiles of a kernel: what the real compiler lists, and how contradictions are noticed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from autotune.errors import ToolchainError
from autotune.hlo.kernels import Kernel, split_kernels
from autotune.hlo.reader import read, read_bytes
from autotune.hlo.window_config import TileCandidate, force_tile, read_window_config
from autotune.targets.isolation import WorkerFailure
from autotune.targets.tpu.candidates import candidates_of, search_of
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2
from tests.targets.tpu import programs
from tests.targets.tpu.test_tile_log import END, LOOP, LOOP_SEARCH, PRODUCT, PRODUCT_SEARCH

KERNEL = """HloModule kernel, is_scheduled=true

work {
  x = f32[4096]{0:T(1024)} parameter(0)
  ROOT y = f32[4096]{0:T(1024)} negate(x)
}

ENTRY main {
  x = f32[4096]{0:T(1024)} parameter(0)
  ROOT fusion.205 = f32[4096]{0:T(1024)} fusion(x), kind=kLoop, calls=work
}
"""


def _kernel(text: str = KERNEL, window: dict[str, object] | None = None) -> hlo_pb2.HloModuleProto:
    module = hlo_pb2.HloModuleProto()
    module.CopyFrom(read_bytes(text.encode(), "kernel", keep_optimised=True).proto)
    if window is not None:
        config = {"flag_configs": [], "window_config": window}
        module.computations[-1].instructions[-1].backend_config = json.dumps(config).encode()
    return module


@dataclass
class Recorded:
    """A compiler that gives what it was told to, and keeps what it was asked."""

    log: str
    optimised: hlo_pb2.HloModuleProto
    asked: list[tuple[hlo_pb2.HloModuleProto, xla_pb2.CompileOptionsProto]] = field(default_factory=list)

    def verbose_compile(self, module: bytes, options: bytes, *, time_limit: float | None) -> tuple[bytes, str]:
        request = hlo_pb2.HloModuleProto.FromString(module), xla_pb2.CompileOptionsProto.FromString(options)
        self.asked.append(request)
        return xla_pb2.HloModuleProtoWithConfig(hlo_module=self.optimised).SerializeToString(), self.log


def _candidates(recorded: Recorded, kernel: hlo_pb2.HloModuleProto) -> list[TileCandidate]:
    return candidates_of(cast(TpuCompiler, recorded), kernel)


TILE: dict[str, object] = {"output_window_bounds": ["4"], "kernel_window_bounds": [], "estimated_cycles": "365"}


def test_a_tile_that_the_kernel_has_is_left_out_and_the_kernel_is_scheduled() -> None:
    kernel = _kernel(window=TILE)
    kernel.ClearField("schedule")
    before = kernel.SerializeToString(deterministic=True)
    recorded = Recorded(LOOP + END, kernel)
    assert _candidates(recorded, kernel) == list(LOOP_SEARCH.candidates)
    assert kernel.SerializeToString(deterministic=True) == before
    ((asked, options),) = recorded.asked
    entry = asked.computations[-1]
    assert json.loads(entry.instructions[-1].backend_config) == {"flag_configs": []}
    assert {key: list(value.instruction_ids) for key, value in asked.schedule.sequences.items()} == {
        entry.id: [instruction.id for instruction in entry.instructions]
    }
    assert options.executable_build_options.run_backend_only
    assert len(options.argument_layouts) == 1


def test_of_several_searches_the_root_s_counts() -> None:
    recorded = Recorded(LOOP + PRODUCT + END, _kernel())
    assert _candidates(recorded, _kernel()) == list(PRODUCT_SEARCH.candidates)
    other = _kernel(KERNEL.replace("fusion.205", "fusion.1"))
    with pytest.raises(ToolchainError, match=r"kernel 'fusion.1': .* found those of fusion.250, fusion.205"):
        _candidates(Recorded(LOOP + PRODUCT + END, other), other)


def test_a_tile_out_of_nowhere_is_noticed() -> None:
    assert _candidates(Recorded(END, _kernel()), _kernel()) == [], "no tile, no list"
    with pytest.raises(ToolchainError, match=r"'fusion.205' has a tile, but .* lists no candidates.*libtpu 0.0.52"):
        _candidates(Recorded(END, _kernel(window=TILE)), _kernel())


def test_a_copy_has_its_tile_without_a_search() -> None:
    text = KERNEL.replace("negate(x)", "copy(x)")
    assert _candidates(Recorded(END, _kernel(text, TILE)), _kernel(text)) == []


# ---- The real compiler ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels(compiler: TpuCompiler) -> list[Kernel]:
    optimised = compiler.compile(*programs.request(programs.CONVOLUTION))
    return split_kernels(xla_pb2.HloModuleProtoWithConfig.FromString(optimised).hlo_module)


def test_every_chosen_tile_is_listed_and_none_is_cheaper(compiler: TpuCompiler, kernels: list[Kernel]) -> None:
    tiled = [kernel for kernel in kernels if kernel.window is not None and kernel.opcode == "fusion"]
    assert len(tiled) >= 3
    for kernel in tiled:
        search = search_of(compiler, kernel.module)
        assert search is not None
        assert search.instruction == kernel.name
        chosen = [
            each
            for each in search.candidates
            if (each.output_bounds, each.kernel_bounds) == (search.output_bounds, search.kernel_bounds)
        ]
        assert [each.cycles for each in chosen] == [search.candidates[0].cycles]


def test_a_listed_tile_can_be_forced_and_keeps_its_place_in_the_list(
    compiler: TpuCompiler, kernels: list[Kernel]
) -> None:
    kernel = max(kernels, key=lambda each: each.window.estimated_cycles or 0 if each.window else 0)
    candidates = candidates_of(compiler, kernel.module)
    second = candidates[1]
    forced = force_tile(kernel.module, kernel.name, second.output_bounds, second.kernel_bounds, second.cycles)
    code = compiler.compile(forced.SerializeToString(), compile_options(forced, backend_only=True))
    result = xla_pb2.HloModuleProtoWithConfig.FromString(code).hlo_module
    entry = next(each for each in result.computations if each.id == result.entry_computation_id)
    window = next(read_window_config(each) for each in entry.instructions if each.name == kernel.name)
    assert window is not None
    assert (window.output_bounds, window.kernel_bounds) == (second.output_bounds, second.kernel_bounds)
    assert candidates_of(compiler, forced) == candidates, "a forced tile does not hide the others"


def test_a_kernel_that_the_compiler_refuses(compiler: TpuCompiler) -> None:
    impossible = _kernel(KERNEL.replace("T(1024)", "T(256)"))
    with pytest.raises(WorkerFailure, match="layout"):
        candidates_of(compiler, impossible)


def test_published_kernels(libtpu: None, shared: Path) -> None:
    # Bounds measured on TPU v3 (npz of the same names); counts and cycles: shared/design/xla_tpu.md, section 0.
    folder = shared / "data" / "tpugraphs" / "modules"
    with TpuCompiler("v3", time_limit=120) as compiler:
        loop, product, reshape = (
            search_of(compiler, read(folder / f"{name}.pb", keep_optimised=True).proto)
            for name in ("fusion.250", "fusion.205", "reshape.39")
        )
    assert loop == LOOP_SEARCH
    assert product is not None
    assert set(PRODUCT_SEARCH.candidates) <= set(product.candidates)
    assert product.candidates[0] == PRODUCT_SEARCH.candidates[0]
    assert reshape is None
