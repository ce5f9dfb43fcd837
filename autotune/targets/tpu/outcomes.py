"""From what the TPU compiler returned to evaluations, and to executables for a device."""

from __future__ import annotations

from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Outcome
from autotune.hlo.fingerprint import fingerprint
from autotune.spaces.base import Config
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram
from autotune.targets.device_worker import Executable
from autotune.targets.failures import failed_outcome
from autotune.targets.isolation import WorkerFailure
from autotune.targets.tpu.estimate import CompilerEstimate, estimate
from autotune.targets.tpu.executable import for_jax
from autotune.targets.tpu.layout_decisions import compare
from protos import xla_pb2


def evaluation(
    config: Config,
    result: bytes | WorkerFailure,
    prepared: PreparedProgram,
    default: CompilerEstimate,
    seconds: float,
    purpose: str,
) -> Evaluation:
    """What the compiler made of a config, beside the default.

    Args:
        config: that was compiled.
        result: serialized HloModuleProtoWithConfig.
        prepared: the program.
        default: its figures without a config.
        seconds: that the compilation took.
        purpose: as for `Target.evaluate`.
    """
    if isinstance(result, WorkerFailure):
        return Evaluation(config, failed_outcome(result), seconds, purpose)
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(result)
    found = estimate(compiled)
    program = fingerprint(compiled.hlo_module.SerializeToString(deterministic=True))
    details = found.to_details() | _decisions(config, prepared, compiled) | {"optimised_program": program}
    return Evaluation(config, compared(found, default), seconds, purpose, details)


def compared(found: CompilerEstimate, default: CompilerEstimate) -> Outcome:
    """An estimate beside the default's, unless it has fewer cycles because it leaves out more."""
    if found.cycles < default.cycles and found.hides_more_than(default):
        return Failed(
            FailureReason.NOT_COMPARABLE,
            f"{found.cycles:,} cycles, but the compiler prices none of the work on {found.unknown_bytes:,} bytes "
            f"(default: {default.cycles:,} cycles and {default.unknown_bytes:,} bytes)",
        )
    return Estimated(float(found.cycles), float(default.cycles))


def _decisions(
    config: Config, prepared: PreparedProgram, compiled: xla_pb2.HloModuleProtoWithConfig
) -> dict[str, float | str]:
    """What became of the layouts that were asked for."""
    if not isinstance(config, LayoutConfig) or not config.orders:
        return {}
    return dict(compare(config, prepared.module.proto, compiled).to_details())


def executable(
    config: Config, result: tuple[bytes, bytes] | WorkerFailure, prepared: PreparedProgram, seconds: float
) -> Executable | Failed:
    """A config for a device; the estimate and the layouts taken are in its facts.

    Args:
        config: that was compiled.
        result: serialized HloModuleProtoWithConfig, and what PJRT serialized.
        prepared: the program.
        seconds: that the compilation took.
    """
    if isinstance(result, WorkerFailure):
        return failed_outcome(result)
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(result[0])
    facts = estimate(compiled).to_details() | _decisions(config, prepared, compiled)
    for name in ("cycles", "weighed_cycles"):
        facts[f"estimated_{name}"] = facts.pop(name)
    facts["optimised_program"] = fingerprint(compiled.hlo_module.SerializeToString(deterministic=True))
    return Executable(for_jax(result[1], compiled.hlo_module), seconds, facts)
