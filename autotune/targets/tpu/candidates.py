"""Asking the TPU compiler which tiles it considers for a kernel."""

from __future__ import annotations

from autotune.errors import ToolchainError
from autotune.hlo.kernels import schedule_in_file_order
from autotune.hlo.modules import entry_computation
from autotune.hlo.window_config import TileCandidate, read_window_config, remove_window_config
from autotune.targets.tpu.compiler import TpuCompiler
from autotune.targets.tpu.options import compile_options
from autotune.targets.tpu.tile_log import HELP, TileSearch, parse_searches
from protos import hlo_pb2, xla_pb2


def candidates_of(
    compiler: TpuCompiler, kernel: hlo_pb2.HloModuleProto, *, time_limit: float | None = None
) -> list[TileCandidate]:
    """Lets the compiler list its tiles for a kernel.

    Args:
        compiler: of any topology; its verbose child stays for the next kernel.
        kernel: a program that is one kernel, from `split_kernels` or TpuGraphs; not changed. A tile that it already
            has is left out, for then the compiler does not look for one.
        time_limit: seconds; None for that of the compiler.

    Returns:
        In ascending order of cycles; empty if the compiler does not tile this kernel by search (a copy that
        transposes, a plain reshape).

    Raises:
        WorkerFailure: the compiler refused the kernel or died.
        ToolchainError: the log is in a format that is not known, cut short, or contradicts the compiled program.
    """
    search = search_of(compiler, kernel, time_limit=time_limit)
    return [] if search is None else list(search.candidates)


def search_of(
    compiler: TpuCompiler, kernel: hlo_pb2.HloModuleProto, *, time_limit: float | None = None
) -> TileSearch | None:
    """As `candidates_of`, with what the compiler chose; None where it does not search."""
    alone = _without_tile(kernel)
    code, log = compiler.verbose_compile(
        alone.SerializeToString(deterministic=True), compile_options(alone, backend_only=True), time_limit=time_limit
    )
    optimised = xla_pb2.HloModuleProtoWithConfig.FromString(code).hlo_module
    searches = parse_searches(log)
    if not searches:
        _check_no_search(optimised)
        return None
    name = _root(alone).name
    own = [search for search in searches if search.instruction == name] if len(searches) > 1 else searches
    if not own:
        names = ", ".join(search.instruction for search in searches)
        raise ToolchainError(f"kernel {name!r}: expected the tiles of one instruction, found those of {names}; {HELP}")
    return own[0]


def _without_tile(kernel: hlo_pb2.HloModuleProto) -> hlo_pb2.HloModuleProto:
    """A copy without the tile that it may have, and with a schedule, without which the backend does not begin."""
    alone = hlo_pb2.HloModuleProto()
    alone.CopyFrom(kernel)
    remove_window_config(_root(alone))
    if not alone.HasField("schedule"):
        schedule_in_file_order(alone)
    return alone


def _check_no_search(optimised: hlo_pb2.HloModuleProto) -> None:
    """Refuses to believe that there was no search for a fusion that has a tile.

    Of 454 kernels of four programs (v5e), 435 have a search; the 19 others are copies that transpose. They have a tile
    all the same, from a rule instead of a search.
    """
    computations = {computation.id: computation for computation in optimised.computations}
    for instruction in entry_computation(optimised).instructions:
        if instruction.opcode != "fusion" or read_window_config(instruction) is None:
            continue
        fused = computations[instruction.called_computation_ids[0]].instructions
        if not any(each.opcode in ("copy", "transpose") for each in fused):
            raise ToolchainError(
                f"{instruction.name!r} has a tile, but the compiler's log lists no candidates for it: the "
                f"format of the log has changed, or it is not written; {HELP}"
            )


def _root(module: hlo_pb2.HloModuleProto) -> hlo_pb2.HloInstructionProto:
    entry = entry_computation(module)
    return next(instruction for instruction in entry.instructions if instruction.id == entry.root_id)
