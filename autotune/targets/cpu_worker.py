"""The child's side of the CPU target: holds one program, compiles variants of it and times them against the default."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.hlo import jaxlib
from autotune.targets.base import TunedProgram
from autotune.targets.child import enter_phase
from autotune.targets.inputs import InputSpec, describe_bytes, make_inputs
from autotune.targets.outputs import Reference
from autotune.targets.timing import Effort, PassTimes, Runner, time_rotation


@dataclass(frozen=True)
class Limits:
    """Bounds for one variant.

    Attributes:
        compile_seconds: for its compilation.
        run_seconds: for its first run (the measurement that follows is bounded by what that run took).
        memory: bytes that arguments, results and temporaries may take together.
    """

    compile_seconds: float
    run_seconds: float
    memory: int


@dataclass(frozen=True)
class VariantReport:
    """What became of one variant.

    Attributes:
        phase: where it failed ("compiling", "running", "checking"), or "" when it was timed.
        message: why it failed.
        times: when it was timed.
        default_times: of the default's copies in the same rotation.
        compile_seconds: wall time.
        details: copies, largest error, a hash of the optimised program, ...
    """

    phase: str
    message: str
    times: PassTimes | None
    default_times: tuple[PassTimes, ...]
    compile_seconds: float
    details: dict[str, float | str]


class ProgramTooLargeError(Exception):
    """What the compiler says the program needs is more than the memory limit."""


class CpuWorker:
    """State of the child: one program's inputs, its default executable and the default's outputs."""

    def __init__(self) -> None:
        self._arguments: list[Any] = []
        self._default: jaxlib.CpuProgram | None = None
        self._reference: Reference | None = None
        self._run_seconds = 0.0

    def prepare(self, module: bytes, directory: str) -> bytes:
        """The HloProto just before layout assignment; `directory` is an empty folder for the compiler's dump."""
        enter_phase("compiling the default")
        return jaxlib.dump_before_layout_assignment(module, directory)

    def load(
        self, module: bytes, specs: Sequence[InputSpec], tolerance: float, limits: Limits, seed: int
    ) -> dict[str, float | str]:
        """Compile the default, make its inputs, and run it.

        Returns:
            Facts of the default: seconds to compile and to run, bytes, a hash of the optimised program.
        """
        enter_phase("compiling the default", limits.compile_seconds)
        start = time.perf_counter()
        default = jaxlib.compile_for_cpu(module)
        compile_seconds = time.perf_counter() - start
        memory = default.memory()
        needed = memory["argument"] + memory["output"] + memory["temp"]
        if needed > limits.memory:
            raise ProgramTooLargeError(
                f"the compiled program needs {describe_bytes(needed)} "
                f"({describe_bytes(memory['argument'])} of arguments, {describe_bytes(memory['output'])} of results, "
                f"{describe_bytes(memory['temp'])} of temporaries), the limit is {describe_bytes(limits.memory)}"
            )
        enter_phase("making inputs", 60 + memory["argument"] / 20e6)
        self._arguments = [jaxlib.to_device(array) for array in make_inputs(list(specs), seed)]
        enter_phase("running the default", limits.run_seconds)
        start = time.perf_counter()
        outputs = default.outputs(self._arguments)
        run_seconds = time.perf_counter() - start
        disturbed = None
        if 4 * memory["argument"] + needed < limits.memory:
            enter_phase("running the default", 60 + 10 * run_seconds)
            disturbed = default.outputs([jaxlib.to_device(_disturb(np.asarray(a), seed)) for a in self._arguments])
        self._default = default
        self._run_seconds = run_seconds
        self._reference = Reference.make(outputs, disturbed, tolerance)
        return {
            "compile_seconds": compile_seconds,
            "run_seconds": run_seconds,
            **{f"{name}_bytes": count for name, count in memory.items()},
            "finite_outputs": self._reference.finite_fraction,
            **_facts(default, TunedProgram(module)),
        }

    def evaluate(
        self, variants: Sequence[TunedProgram], effort: Effort, limits: Limits, seed: int
    ) -> list[VariantReport]:
        """Compile, check and time variants in one rotation with copies of the default."""
        assert self._default is not None
        reports: list[VariantReport | None] = []
        runners: list[Runner] = []
        timed: list[tuple[int, float, dict[str, float | str]]] = []
        first_runs: list[float] = []
        for index, variant in enumerate(variants):
            result = self._try(variant, limits)
            reports.append(result if isinstance(result, VariantReport) else None)
            if not isinstance(result, VariantReport):
                program, compile_seconds, run_seconds, details = result
                runners.append(self._runner(program))
                timed.append((index, compile_seconds, details))
                first_runs.append(run_seconds)
        if timed:
            copies = [self._default, *(self._default.copy() for _ in range(effort.copies(self._run_seconds) - 1))]
            runners.extend(self._runner(copy) for copy in copies)
            first_runs += [self._run_seconds] * len(copies)
            slowest_pass = sum(max(effort.pass_seconds, effort.pass_seconds_at_most, seconds) for seconds in first_runs)
            enter_phase("measuring", 60 + 5 * effort.affordable_passes(slowest_pass) * slowest_pass)
            times = time_rotation(runners, effort, seed=seed, first_run_seconds=first_runs)
            for (index, compile_seconds, details), own in zip(timed, times, strict=False):
                reports[index] = VariantReport("", "", own, tuple(times[len(timed) :]), compile_seconds, details)
        return [report for report in reports if report is not None]

    def _runner(self, program: jaxlib.CpuProgram) -> Runner:
        return lambda: program(self._arguments)

    def _try(
        self, variant: TunedProgram, limits: Limits
    ) -> VariantReport | tuple[jaxlib.CpuProgram, float, float, dict[str, float | str]]:
        """Compile one variant, run it once and compare its outputs."""
        assert self._reference is not None
        enter_phase("compiling", limits.compile_seconds)
        start = time.perf_counter()
        try:
            program = jaxlib.compile_for_cpu(
                variant.module, options=variant.options, extra_options=variant.extra_options
            )
        except Exception as error:
            return VariantReport("compiling", str(error), None, (), time.perf_counter() - start, {})
        compile_seconds = time.perf_counter() - start
        details = _facts(program, variant)
        enter_phase("running", limits.run_seconds)
        start = time.perf_counter()
        try:
            outputs = program.outputs(self._arguments)
        except Exception as error:
            return VariantReport("running", str(error), None, (), compile_seconds, details)
        run_seconds = time.perf_counter() - start
        correct, largest_error, message = self._reference.check(outputs)
        details["largest_error"] = largest_error
        if not correct:
            return VariantReport("checking", message, None, (), compile_seconds, details)
        return program, compile_seconds, run_seconds, details


def _disturb(array: NDArray[Any], seed: int) -> NDArray[Any]:
    """Change floating point values by up to one rounding error of float32 (or of their own type, if less precise)."""
    if array.dtype.name not in ("float32", "float64", "complex64", "complex128"):
        return array  # moving a 16-bit value by a rounding error would already use up the whole tolerance
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, array.shape)
    return np.asarray(array * (1.0 + np.finfo(np.float32).eps * noise)).astype(array.dtype)


def _facts(program: jaxlib.CpuProgram, variant: TunedProgram) -> dict[str, float | str]:
    """What the compiler made of it; equal hashes mean equal machine code."""
    text = re.sub(r", (?:metadata|origin)=\{[^\n]*$", "", program.optimised_text(), flags=re.MULTILINE)
    body = text[text.find("\n") :]  # the first line holds the module's name
    options = f"{sorted(variant.options.items())}{sorted(variant.extra_options.items())}"  # tiles do not show in HLO
    return {
        "copies": float(len(re.findall(r" (?:copy|transpose)\(", body))),
        "fusions": float(body.count(" fusion(")),
        "optimised_program": hashlib.sha256((body + options).encode()).hexdigest()[:16],
    }
