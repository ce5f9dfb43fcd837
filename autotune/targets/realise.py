"""Applying configs to programs without compiling them: what several targets have in common."""

from __future__ import annotations

from typing import Final

from autotune.hlo.rewrite import constrain_layouts
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tile import TILED, TileConfig
from autotune.targets.base import PreparedProgram, TunedProgram

_LIBRARY_BY_DEFAULT: Final = "ynn"


def apply_layouts(prepared: PreparedProgram, config: LayoutConfig) -> TunedProgram:
    """Layouts become custom calls in the module before layout assignment; the default is the program as given."""
    if not config.orders:
        return TunedProgram(prepared.program.module)
    module = constrain_layouts(prepared.module.proto, config.as_mapping())
    return TunedProgram(module.SerializeToString(deterministic=True))


def apply_dot_tile(prepared: PreparedProgram, config: TileConfig) -> TunedProgram:
    """A register tile or a library of XLA:CPU becomes compile options."""
    if config.implementation == _LIBRARY_BY_DEFAULT:
        return TunedProgram(prepared.program.module)
    # Both are needed for the tiled product; without the first it would be left to YNNPACK.
    options: dict[str, str | int | bool] = {
        "xla_cpu_experimental_ynn_fusion_type": "",
        "xla_cpu_multi_thread_eigen": False,
    }
    if config.implementation != TILED:
        return TunedProgram(prepared.program.module, options)
    options["xla_cpu_prefer_vector_width"] = config.vector_bits
    tile = f"{config.rows}:{config.steps}:{config.vectors}*vectwidth"
    extra = {"xla_force_enable_experimental_llvm_ir_gemm": "1", "xla_llvm_ir_gemm_tile_size": tile}
    return TunedProgram(prepared.program.module, options, extra)
