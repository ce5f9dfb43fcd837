"""From a search result to what `autotune.jit` and `autotune.load` run: StableHLO, made in a child process."""

from __future__ import annotations

from autotune.database.tuned import TunedRecord
from autotune.result import SearchResult
from autotune.targets.base import TunedProgram
from autotune.targets.isolation import WorkerFailure, run_in_child

_CONVERSION_SECONDS = 600.0


def tuned_record(result: SearchResult) -> TunedRecord:
    """What a search found, for the database.

    Args:
        result: of a search that ended by itself.
    """
    code, problem = (b"", "") if not result.improved else tuned_stablehlo(result.tuned)
    return TunedRecord(
        program=result.prepared.program.fingerprint,
        space=result.space.kind,
        device_kind=result.target.device_kind,
        compiler_version=result.target.compiler_version,
        target=result.target.name,
        label=result.target.label,
        improved=result.improved,
        speedup=max(1.0, result.speedup),
        verdict=result.verdict,
        stablehlo=code,
        options=dict(result.tuned.options) if result.improved else {},
        problem=problem,
    )


def tuned_stablehlo(tuned: TunedProgram) -> tuple[bytes, str]:
    """A tuned program as MLIR bytecode.

    Returns:
        The code and "", or nothing and the reason why jax cannot run the program.
    """
    if not tuned.module:
        return b"", "what was replayed has evaluations without a program"
    if tuned.backend_only:
        return b"", "it is to be compiled by the backend alone, which jax.jit cannot ask for"
    if tuned.extra_options:
        names = ", ".join(tuned.extra_options)
        return b"", f"jax.jit cannot pass XLA's backend_extra_options to the compiler ({names})"
    try:
        code: bytes = run_in_child(
            "autotune.hlo.jaxlib", "module_to_stablehlo", tuned.module, time_limit=_CONVERSION_SECONDS
        )
    except WorkerFailure as failure:
        return b"", f"XLA does not express it in StableHLO: {str(failure).partition(chr(10))[0]}"
    return code, ""
