"""Programs that do not fit a TPU's memory: what their kernels would cost if they did.

The compiler refuses such a program at the very end, before it chooses tiles: nothing that it has made up to there
carries an estimate. (Tried with libtpu 0.0.52: of the 150 dumps of a refused program, among them the one after all
optimisations and the "oom_intermediate_module", none has a tile.) But the program just before memory space assignment
is there, fused and with its layouts; taken apart, each kernel fits, and the compiler gives each alone its estimate.

The sum is of another kind than that of a whole program, where operands may lie in VMEM: it is only ever compared with
sums of the same kind. What does not appear in it: collectives, custom kernels and moves without an estimate (counted
as unknown, as for whole programs), and whatever the program would have to do to fit.

On programs that fit, both kinds order layouts much alike (31 random configs, v5e: Kendall tau .89 for the demo program,
.85 for mha_block_bf16), although the sum may be twice the whole's (124,039 cycles against 57,694; 7,437 against 6,638;
llama3_8b_prefill, which fits a v5p: 379 million against 372).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from autotune.errors import UnsupportedProgramError
from autotune.hlo.kernels import Kernel, split_kernels
from autotune.hlo.modules import instructions
from autotune.hlo.window_config import WindowConfig, read_window_config
from autotune.targets.isolation import WorkerFailure
from autotune.targets.tpu.compiler import CompileRequest, TpuCompiler
from autotune.targets.tpu.estimate import CompilerEstimate, estimate
from autotune.targets.tpu.options import compile_options
from protos import hlo_pb2, xla_pb2

_TIME_LIMIT: Final = 300.0
"""Seconds for one kernel."""

_SIZES: Final = re.compile(r"\(([\d.]+[KMGT]?)\) exceeds available HBM \(([\d.]+[KMGT]?)\)")
"""libtpu 0.0.52: "... required for HLO temporaries (43.90G) exceeds available HBM (15.75G)"."""


@dataclass(frozen=True)
class _Alone:
    """One kernel compiled by itself."""

    figures: CompilerEstimate
    window: WindowConfig | None


class KernelSums:
    """Adds up kernels, each compiled once however often it comes.

    Args:
        compiler: not closed here.
    """

    def __init__(self, compiler: TpuCompiler) -> None:
        self._compiler = compiler
        self._known: dict[str, _Alone | WorkerFailure] = {}  # by fingerprint of the kernel

    def kernels(self, program: hlo_pb2.HloModuleProto) -> list[Kernel]:
        """The kernels of a program, each with the tile that the compiler chooses for it alone.

        Args:
            program: just before memory space assignment.

        Raises:
            UnsupportedProgramError: a kernel cannot be compiled even alone.
        """
        kernels = split_kernels(program)
        self._compile([each for each in kernels if each.fingerprint not in self._known])
        return [replace(each, window=self._alone(each).window) for each in kernels]

    def estimate(self, program: hlo_pb2.HloModuleProto) -> CompilerEstimate:
        """The figures of a program as the sum over its kernels; of VMEM the largest, of HBM what the program shows.

        Raises:
            UnsupportedProgramError: as in `kernels`.
        """
        kernels = self.kernels(program)
        own = estimate(xla_pb2.HloModuleProtoWithConfig(hlo_module=program))
        figures = [(each.executions, self._alone(each).figures) for each in kernels]

        def total(name: str) -> Any:
            return sum(executions * getattr(each, name) for executions, each in figures)

        return replace(
            own,
            cycles=total("cycles"),
            weighed_cycles=total("weighed_cycles"),
            kernels=total("kernels"),
            unknown=total("unknown"),
            unknown_bytes=total("unknown_bytes"),
            vmem_bytes=max((each.vmem_bytes for _, each in figures), default=0),
        )

    def _alone(self, kernel: Kernel) -> _Alone:
        found = self._known[kernel.fingerprint]
        if isinstance(found, WorkerFailure):
            raise UnsupportedProgramError(f"kernel {kernel.name!r} ({kernel.opcode}) does not compile alone: {found}")
        return found

    def _compile(self, kernels: Sequence[Kernel]) -> None:
        different = {each.fingerprint: each for each in kernels}
        requests = [
            CompileRequest(
                each.module.SerializeToString(deterministic=True), compile_options(each.module, backend_only=True)
            )
            for each in different.values()
        ]
        results = self._compiler.compile_many(requests, time_limit=_TIME_LIMIT)
        for (fingerprint, kernel), result in zip(different.items(), results, strict=True):
            self._known[fingerprint] = result if isinstance(result, WorkerFailure) else _read(kernel, result)


def describe(refusal: str) -> str:
    """What a user has to know of every number, from the compiler's refusal: how much is needed, how much there is."""
    sizes = _SIZES.search(refusal)
    words = f"{sizes[1]} needed, {sizes[2]} available" if sizes else refusal.partition("\n")[0]
    return f"the program does not fit this TPU's memory ({words}); estimated kernel by kernel, as if it did"


def _read(kernel: Kernel, code: bytes) -> _Alone:
    compiled = xla_pb2.HloModuleProtoWithConfig.FromString(code)
    windows = {each.name: read_window_config(each) for each in instructions(compiled.hlo_module)}
    return _Alone(estimate(compiled), windows.get(kernel.name))
