"""The child's side of targets that measure: holds one program, and times variants of it against the default.

A variant is compiled here, or was compiled elsewhere and is loaded. A program may be a loop around a kernel
(`autotune.hlo.repeat`): its first argument then says how often a launch runs the kernel, and times are divided by that.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from autotune.hlo import jaxlib
from autotune.targets.allocator import keep_freed_memory
from autotune.targets.base import TunedProgram
from autotune.targets.child import enter_phase
from autotune.targets.inputs import InputSpec, describe_bytes, make_inputs
from autotune.targets.outputs import Reference
from autotune.targets.timing import Effort, PassTimes, Runner, time_rotation

LAUNCH_SECONDS: Final = 0.02
"""How long one launch of a loop should take: 200 times the 0.1 ms that launching a program on a TPU takes."""

MOST_EXECUTIONS: Final = 1_000_000
"""In one launch."""


@dataclass(frozen=True)
class Executable:
    """A variant that was compiled elsewhere.

    Attributes:
        serialized: as jaxlib's clients take it (`autotune.hlo.jaxlib.Device.load`).
        compile_seconds: what that took.
        facts: of the optimised program, for the evaluation's details.
    """

    serialized: bytes
    compile_seconds: float = 0.0
    facts: Mapping[str, float | str] = field(default_factory=dict)


Variant = TunedProgram | Executable


@dataclass(frozen=True)
class HeldProgram:
    """What the child holds while variants come and go.

    Attributes:
        default: what variants are compared with.
        inputs: how to fill its arguments.
        tolerance: of outputs, see `autotune.targets.outputs`.
        repeated: whether the first argument says how often a kernel runs in one launch.
    """

    default: Variant
    inputs: Sequence[InputSpec]
    tolerance: float
    repeated: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds for one variant.

    Attributes:
        compile_seconds: for its compilation.
        run_seconds: for its first run (the measurement that follows is bounded by what that run took).
        memory: bytes that arguments, results and temporaries may take together; None for what the device has.
    """

    compile_seconds: float
    run_seconds: float
    memory: int | None


@dataclass(frozen=True)
class VariantReport:
    """What became of one variant.

    Attributes:
        phase: where it failed ("compiling", "running", "checking"), or "" when it was timed.
        message: why it failed.
        times: of one execution, when it was timed.
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


@dataclass(frozen=True)
class _Checked:
    """A variant whose outputs are right, ready to be timed."""

    program: jaxlib.LoadedProgram
    arguments: list[Any]
    compile_seconds: float
    run_seconds: float
    details: dict[str, float | str]

    def run(self) -> object:
        return self.program(self.arguments)


class DeviceWorker:
    """State of the child: one program's inputs, its default executable and the default's outputs.

    Args:
        platform: "cpu" for XLA:CPU in this process; else the platform whose first device jax sees, such as "tpu".

    Raises:
        RuntimeError: jax sees no such device.
    """

    def __init__(self, platform: str = "cpu") -> None:
        if platform == "cpu":
            keep_freed_memory()
        self._device = jaxlib.cpu_device() if platform == "cpu" else jaxlib.attached_device(platform)
        self._default: _Checked | None = None
        self._reference: Reference | None = None
        self._executions = 1

    def device(self) -> tuple[str, int | None]:
        """Its kind, and how many bytes of memory of its own it has, if it says."""
        return self._device.kind, self._device.memory

    def prepare(self, module: bytes, directory: str) -> tuple[bytes, bytes]:
        """HloProtos just before and after layout assignment; `directory` is an empty folder for the dump."""
        enter_phase("compiling the default")
        return jaxlib.dump_layout_assignment(module, directory)

    def load(self, held: HeldProgram, limits: Limits, seed: int) -> dict[str, float | str]:
        """Compile or load the default, make its inputs, and run it.

        Returns:
            Facts of the default: seconds to compile and to run, bytes, a hash of the optimised program, and how often
            a launch runs it.
        """
        self._default = None  # its inputs would take memory beside the new ones
        enter_phase("compiling the default", limits.compile_seconds)
        program, compile_seconds, facts = self._obtain(held.default)
        memory = program.memory()
        needed = memory["argument"] + memory["output"] + memory["temp"]
        allowed = limits.memory if limits.memory is not None else self._device.memory
        if allowed is not None and needed > allowed:
            raise ProgramTooLargeError(
                f"the compiled program needs {describe_bytes(needed)} "
                f"({describe_bytes(memory['argument'])} of arguments, {describe_bytes(memory['output'])} of results, "
                f"{describe_bytes(memory['temp'])} of temporaries), the limit is {describe_bytes(allowed)}"
            )
        enter_phase("making inputs", 60 + memory["argument"] / 20e6)
        layouts = program.parameter_layouts
        arguments = [
            self._device.put(array, layout)
            for array, layout in zip(make_inputs(list(held.inputs), seed), layouts, strict=True)
        ]
        enter_phase("running the default", limits.run_seconds)
        self._executions = 1
        if held.repeated:
            arguments[0] = self._device.put(np.array(1, np.int32), layouts[0])
        outputs, run_seconds = _run(program, arguments)
        disturbed = None
        if allowed is not None and 4 * memory["argument"] + needed < allowed:
            enter_phase("running the default", 60 + 10 * run_seconds)
            moved = [
                self._device.put(_disturb(np.asarray(array), seed), layout)
                for array, layout in zip(arguments, layouts, strict=True)
            ]
            disturbed = program.outputs(moved)
        if held.repeated:
            enter_phase("running the default", limits.run_seconds)
            self._executions, run_seconds = self._executions_per_launch(program, arguments, layouts[0])
        self._default = _Checked(program, arguments, compile_seconds, run_seconds, facts)
        self._reference = Reference.make(outputs, disturbed, held.tolerance)
        return {
            "compile_seconds": compile_seconds,
            "run_seconds": run_seconds,
            "executions_per_launch": float(self._executions),
            **{f"{name}_bytes": count for name, count in memory.items()},
            "finite_outputs": self._reference.finite_fraction,
            **facts,
        }

    def evaluate(self, variants: Sequence[Variant], effort: Effort, limits: Limits, seed: int) -> list[VariantReport]:
        """Compile or load, check and time variants in one rotation with copies of the default."""
        assert self._default is not None
        tried = [self._try(variant, limits) for variant in variants]
        timed = [each for each in tried if isinstance(each, _Checked)]
        times = self._time(timed, effort, seed) if timed else []
        defaults = tuple(times[len(timed) :])
        own = iter(times)
        return [
            VariantReport("", "", next(own), defaults, each.compile_seconds, each.details)
            if isinstance(each, _Checked)
            else each
            for each in tried
        ]

    def _time(self, timed: Sequence[_Checked], effort: Effort, seed: int) -> list[PassTimes]:
        """Seconds of one execution, of these and then of the default's copies."""
        assert self._default is not None
        default = self._default
        more = effort.copies(default.run_seconds) - 1
        copies: list[Runner] = [default.run, *(partial(default.program.copy(), default.arguments) for _ in range(more))]
        first_runs = [*(each.run_seconds for each in timed), *([default.run_seconds] * len(copies))]
        slowest_pass = sum(max(effort.pass_seconds, effort.pass_seconds_at_most, seconds) for seconds in first_runs)
        enter_phase("measuring", 60 + 5 * effort.affordable_passes(slowest_pass) * slowest_pass)
        runners = [*(each.run for each in timed), *copies]
        launches = time_rotation(runners, effort, seed=seed, first_run_seconds=first_runs)
        return [each.of_one_execution(self._executions) for each in launches]

    def _try(self, variant: Variant, limits: Limits) -> VariantReport | _Checked:
        """Compile or load one variant, run it once and compare its outputs."""
        assert self._reference is not None
        enter_phase("compiling", limits.compile_seconds)
        start = time.perf_counter()
        try:
            program, compile_seconds, details = self._obtain(variant)
        except Exception as error:
            return VariantReport("compiling", str(error), None, (), time.perf_counter() - start, {})
        enter_phase("running", limits.run_seconds)
        try:
            arguments = self._arguments_for(program)
            outputs, run_seconds = _run(program, arguments)
        except Exception as error:
            return VariantReport("running", str(error), None, (), compile_seconds, details)
        correct, largest_error, message = self._reference.check(outputs)
        details["largest_error"] = largest_error
        if not correct:
            return VariantReport("checking", message, None, (), compile_seconds, details)
        return _Checked(program, arguments, compile_seconds, run_seconds, details)

    def _obtain(self, variant: Variant) -> tuple[jaxlib.LoadedProgram, float, dict[str, float | str]]:
        """The program, the seconds that its compilation took, and facts about it."""
        if isinstance(variant, Executable):
            return self._device.load(variant.serialized), variant.compile_seconds, dict(variant.facts)
        start = time.perf_counter()
        program = self._device.compile(variant.module, options=variant.options, extra_options=variant.extra_options)
        return program, time.perf_counter() - start, _facts(program, variant)

    def _arguments_for(self, program: jaxlib.LoadedProgram) -> list[Any]:
        """The default's arguments, those that this program wants in another layout moved."""
        assert self._default is not None
        pairs = zip(
            self._default.arguments, self._default.program.parameter_layouts, program.parameter_layouts, strict=True
        )
        return [
            argument if layout == wanted else self._device.put(np.asarray(argument), wanted)
            for argument, layout, wanted in pairs
        ]

    def _executions_per_launch(
        self, program: jaxlib.LoadedProgram, arguments: list[Any], layout: Any
    ) -> tuple[int, float]:
        """Set the first argument so that a launch takes about `LAUNCH_SECONDS`, or one execution if that takes longer.

        Returns:
            How many executions that are, and the seconds of such a launch.
        """
        executions = 1
        while True:
            arguments[0] = self._device.put(np.array(executions, np.int32), layout)
            start = time.perf_counter()
            program(arguments)
            seconds = time.perf_counter() - start
            if seconds >= LAUNCH_SECONDS or executions == MOST_EXECUTIONS:
                return executions, seconds
            # Less than the launch itself tells nothing of the kernel, so no step is larger than tenfold.
            factor = min(10.0, 1.1 * LAUNCH_SECONDS / seconds)
            executions = min(MOST_EXECUTIONS, math.ceil(executions * factor) + 1)


def _run(program: jaxlib.LoadedProgram, arguments: Sequence[Any]) -> tuple[list[NDArray[Any]], float]:
    """The outputs of one launch, and what it took (without bringing them to the host)."""
    start = time.perf_counter()
    results = program(arguments)
    seconds = time.perf_counter() - start
    return program.to_host(results), seconds


def _disturb(array: NDArray[Any], seed: int) -> NDArray[Any]:
    """Change floating point values by up to one rounding error of float32 (or of their own type, if less precise)."""
    if array.dtype.name not in ("float32", "float64", "complex64", "complex128"):
        return array  # moving a 16-bit value by a rounding error would already use up the whole tolerance
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, array.shape)
    return np.asarray(array * (1.0 + np.finfo(np.float32).eps * noise)).astype(array.dtype)


def _facts(program: jaxlib.LoadedProgram, variant: TunedProgram) -> dict[str, float | str]:
    """What the compiler made of it; equal hashes mean equal machine code."""
    text = re.sub(r", (?:metadata|origin)=\{[^\n]*$", "", program.optimised_text(), flags=re.MULTILINE)
    body = text[text.find("\n") :]  # the first line holds the module's name
    options = f"{sorted(variant.options.items())}{sorted(variant.extra_options.items())}"  # tiles do not show in HLO
    return {
        "copies": float(len(re.findall(r" (?:copy|transpose)\(", body))),
        "fusions": float(body.count(" fusion(")),
        "optimised_program": hashlib.sha256((body + options).encode()).hexdigest()[:16],
    }
