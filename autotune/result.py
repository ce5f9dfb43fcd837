"""What a search found, with its evidence, and the files that it leaves behind."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation, Failed, LabelKind, Measured
from autotune.ranking import Standing
from autotune.report.explanation import FILE as EXPLANATION_FILE
from autotune.report.explanation import Explanation
from autotune.spaces.base import Config, JsonObject, Space, config_id
from autotune.targets.base import PreparedProgram, TargetDescription, TiledProgram, TunedProgram
from autotune.targets.isolation import run_in_child
from cost_model.files import replace_file
from cost_model.version import tool_version

if TYPE_CHECKING:
    from autotune.tiles import KernelTiles

SMALLEST_GAIN = 0.05
"""A gain that is never called one: identical copies of a program differ by up to 4.2 % (xla_cpu.md, section 1)."""

_SAME_GAIN = 0.005
"""Two gains closer than this are not told apart in words."""

WEIGHED_CYCLES = "weighed_cycles"
"""The detail of an evaluation that has the compiler's cycles weighed by kind of kernel."""

_BACKEND_ONLY = "Compile it with run_backend_only (executable_build_options of CompileOptionsProto)."


@dataclass(frozen=True)
class Comparison:
    """The finalists, the references and the default, evaluated together.

    Attributes:
        evaluations: with purpose "confirm".
    """

    evaluations: tuple[Evaluation, ...]

    def of(self, config: Config) -> Evaluation | None:
        """The evaluation of one config, if it took part."""
        identity = config_id(config)
        return next((e for e in self.evaluations if config_id(e.config) == identity), None)

    def default(self, default: Config) -> Evaluation | None:
        """The default's evaluation, unless it failed."""
        evaluation = self.of(default)
        return evaluation if evaluation is not None and evaluation.cost is not None else None


def noise_level(evaluation: Evaluation) -> float:
    """The gain below which two programs cannot be told apart; 0 for estimates, which have no noise."""
    match evaluation.outcome:
        case Measured() as measured:
            return max(SMALLEST_GAIN, measured.noise)
        case _:
            return 0.0


@dataclass(frozen=True)
class SearchResult:
    """The outcome of one search.

    Attributes:
        prepared: the program.
        target: who evaluated.
        space: what was varied.
        strategy, cost_model, seed, budget: how.
        default: the default's evaluation.
        best: the best config that beats the default by more than the noise; else the default itself.
        tuned: the best config applied, for the compiler.
        runner_up: the fastest config besides the default, whether or not it beats the noise.
        noise: gain below which two configs cannot be told apart (0.05 = 5 %).
        evaluations: of every config, those of earlier searches included.
        comparison: the final one; None when the search was interrupted before it, or for estimates.
        scores: of the cost model, by config id.
        reused: how many evaluations came from the database.
        ranking: how well proposals were ranked at the end; None without a cost model.
        stopped: why the search ended.
        seconds: wall time of the search.
        tiles: of the dearest kernels, where the target tries them after the layouts.
        tiled: the program with the best layouts and with the tiles among these that have fewer cycles than the
            compiler's choice when their kernel is alone; None if there are none.
        explanation: what the default and `runner_up` consist of, for a report; None if nobody asked.
    """

    prepared: PreparedProgram
    target: TargetDescription
    space: Space
    strategy: str
    cost_model: str
    seed: int
    budget: int
    default: Evaluation
    best: Evaluation
    tuned: TunedProgram
    runner_up: Evaluation
    noise: float
    evaluations: tuple[Evaluation, ...]
    comparison: Comparison | None
    scores: Mapping[str, float]
    reused: int
    ranking: Standing | None
    stopped: str
    seconds: float
    tiles: tuple[KernelTiles, ...] = ()
    tiled: TiledProgram | None = None
    explanation: Explanation | None = None

    @property
    def rank_correlation(self) -> float:
        """Kendall's tau between the scores of the cost model, as it is, and the costs; nan if unknown."""
        return math.nan if self.ranking is None else self.ranking.first_correlation

    @property
    def improved(self) -> bool:
        """Whether a config beats the default by more than the noise."""
        return config_id(self.best.config) != config_id(self.default.config)

    @property
    def speedup(self) -> float:
        """Default over best: measured seconds, or estimated cycles; 1 when no difference was found."""
        return 1.0 / self.best.cost if self.improved and self.best.cost else 1.0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the search."""
        return self.stopped == "interrupted"

    @cached_property
    def counts(self) -> dict[str, int]:
        """Evaluations by kind: measured, estimated, failed (references and the default included)."""
        counts = {"measured": 0, "estimated": 0, "failed": 0}
        for evaluation in self.evaluations:
            counts[evaluation.kind] += 1
        return counts

    @cached_property
    def failures(self) -> dict[str, int]:
        """Failed evaluations by reason."""
        counts: dict[str, int] = {}
        for evaluation in self.evaluations:
            if isinstance(evaluation.outcome, Failed):
                counts[evaluation.outcome.reason.value] = counts.get(evaluation.outcome.reason.value, 0) + 1
        return counts

    @cached_property
    def layout_requests(self) -> dict[str, dict[str, int]]:
        """What became of the layouts that configs asked for, where the compiler tells.

        Returns:
            How many were "kept", "refused", "free" and "unknown" (see `autotune.targets.tpu.layout_decisions`), in all
            configs together, by opcode and tensor ("dot first_input").
        """
        counts: dict[str, dict[str, int]] = {}
        for evaluation in self.evaluations:
            for name, count in evaluation.details.items():
                match name.split("_", 3):
                    case ["layouts", fate, opcode, tensor] if isinstance(count, float):
                        fates = counts.setdefault(f"{opcode} {tensor}", {})
                        fates[fate] = fates.get(fate, 0) + int(count)
        return counts

    @property
    def ties(self) -> list[str]:
        """References that the best config cannot be told apart from, by label."""
        if self.comparison is None or not self.improved or self.best.cost is None:
            return []
        references = {label: self.comparison.of(config) for label, config in self.space.references.items()}
        return [
            label
            for label, evaluation in references.items()
            if evaluation is not None and evaluation.cost is not None
            if evaluation.config != self.best.config and evaluation.cost / self.best.cost < 1.0 + self.noise
        ]

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.target.label is LabelKind.ESTIMATED:
            unit = f"estimated (compiler cycles, {self.target.name.replace(':', ' ', 1)})"
            unit += f"; {self.prepared.caveat}" if self.prepared.caveat else ""
            if self.improved:
                return f"{self.speedup:.3f}x fewer cycles than the default{self._weighed()}: {unit}"
            return f"no config has fewer cycles than the default: {unit}; use the default"
        if self.improved:
            ties = f"; no faster than {', '.join(self.ties)} by more than that" if self.ties else ""
            return f"{self.speedup:.2f}x faster than the default (measured, noise {self.noise:.1%}{ties})"
        noise = f"nothing beats the default by more than the noise of {self.noise:.1%}"
        return f"no difference found ({noise}): use the default"

    @property
    def weighed_speedup(self) -> float | None:
        """Default over best in cycles that are weighed by kind of kernel, see `autotune.targets.tpu.kernel_kinds`.

        None where they are not known: of measurements, and of estimates that were recorded before these were kept.
        """
        if self.target.label is not LabelKind.ESTIMATED:
            return None
        default, best = (each.details.get(WEIGHED_CYCLES) for each in (self.default, self.best))
        return default / best if isinstance(default, float) and isinstance(best, float) and best > 0 else None

    def _weighed(self) -> str:
        gain = self.weighed_speedup
        if gain is None or abs(gain / self.speedup - 1.0) < _SAME_GAIN:
            return ""
        doubt = ", so it may be none: measure it" if gain < 1.0 + _SAME_GAIN else ""
        return f" ({gain:.3f}x when kinds of kernels are weighed as measured on a TPU v3{doubt})"

    def to_json(self) -> JsonObject:
        """Everything a machine may want to know, without the programs themselves."""
        return {
            "tool": f"xla-autotune {tool_version()}",
            "program": {
                "name": self.prepared.program.name,
                "fingerprint": self.prepared.program.fingerprint,
                "source": self.prepared.program.source,
                "notes": list(self.prepared.notes),
                "caveat": self.prepared.caveat or None,
            },
            "target": {
                "name": self.target.name,
                "device_kind": self.target.device_kind,
                "compiler_version": self.target.compiler_version,
                "label": self.target.label.value,
            },
            "space": {"kind": self.space.kind, "size": str(self.space.size)},
            "search": {
                "strategy": self.strategy,
                "cost_model": self.cost_model,
                "seed": self.seed,
                "budget": self.budget,
                "stopped": self.stopped,
                "seconds": round(self.seconds, 3),
                "reused": self.reused,
                "ranking": None if self.ranking is None else self.ranking.to_json(),
            },
            "verdict": self.verdict,
            "improved": self.improved,
            "speedup": self.speedup,
            "weighed_speedup": self.weighed_speedup if self.improved else None,
            "noise": self.noise,
            "default": evaluation_json(self.default),
            "best": evaluation_json(self.best) | {"decisions": self.space.explain(self.best.config)},
            "runner_up": evaluation_json(self.runner_up),
            "comparison": [evaluation_json(e) for e in self.comparison.evaluations] if self.comparison else None,
            "evaluations": self.counts,
            "failures": self.failures,
            "layout_requests": self.layout_requests,
            "tiles": [each.to_json() for each in self.tiles],
            "whole_program_with_tiles": self._tiled_json(),
        }

    def _tiled_json(self) -> JsonObject | None:
        if self.tiled is None:
            return None
        facts: JsonObject = {
            "asked": list(self.tiled.asked),
            "held": list(self.tiled.held),
            "cycles": self.tiled.cycles,
            "note": "cycles of forced tiles are the compiler's for the kernel alone, echoed",
        }
        match self.tiled.measured:
            case Measured() as measured:
                facts |= {"seconds": measured.seconds, "default_seconds": measured.default_seconds}
            case Failed() as failed:
                facts |= {"reason": failed.reason.value, "message": failed.message}
        return facts

    def save(self, folder: str | Path) -> list[Path]:
        """Write the result folder: best.json, the tuned program as HLO text and proto, all evaluations.

        Args:
            folder: made if it does not exist; files in it are replaced one by one, each atomically.

        Returns:
            The files written.

        Raises:
            AutotuneError: the folder cannot be written.
        """
        folder, tuned = Path(folder), self.tuned
        best = self.to_json() | {
            "compile_options": {"options": dict(tuned.options), "extra_options": dict(tuned.extra_options)},
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "how_to_use": _how_to_use(tuned, self.tiled),
        }
        lines = "".join(
            json.dumps(evaluation_json(e) | {"score": self.scores.get(config_id(e.config))}) + "\n"
            for e in self.evaluations
        )
        contents: dict[str, bytes] = {
            "best.json": (json.dumps(best, indent=2) + "\n").encode(),
            **_program_files(tuned),
            "evaluations.jsonl": lines.encode(),
        }
        if self.explanation is not None:
            contents[EXPLANATION_FILE] = self.explanation.to_bytes()
        if self.tiled is not None:
            contents["tuned_with_tiles.pb"] = self.tiled.module
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                replace_file(folder / name, content)
        except OSError as error:
            message = f"result folder {folder}: cannot be written ({error}); choose another with --out"
            raise AutotuneError(message) from error
        return [folder / name for name in contents]


def check_writable(folder: Path, *, kind: str = "result folder", option: str = "--out") -> None:
    """Find out before a long search whether its files can be saved.

    Args:
        folder: where they will go.
        kind: what to call it in the message.
        option: of the command line that names it.

    Raises:
        AutotuneError: the folder (or the nearest one above it that exists) cannot be written, or is a file.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise AutotuneError(f"{kind} {folder}: {nearest} is a file; choose another place with {option}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise AutotuneError(f"{kind} {folder}: {nearest} cannot be written; choose another place with {option}")


def evaluation_json(evaluation: Evaluation) -> JsonObject:
    """One evaluation as JSON; seconds and cycles stand under different keys."""
    facts: dict[str, Any] = {
        "config_id": config_id(evaluation.config),
        "config": evaluation.config.to_json(),
        "family": evaluation.config.family,
        "kind": evaluation.kind,
        "purpose": evaluation.purpose,
        "compile_seconds": evaluation.compile_seconds,
        "details": dict(evaluation.details),
    }
    match evaluation.outcome:
        case Measured() as measured:
            facts |= {
                "seconds": measured.seconds,
                "spread": measured.spread,
                "default_seconds": measured.default_seconds,
                "default_spread": measured.default_spread,
                "repeat_spread": measured.repeat_spread,
                "passes": measured.passes,
                "runs": measured.runs,
                "relative_to_default": measured.cost,
            }
        case Estimated() as estimated:
            facts |= {
                "cycles": estimated.cycles,
                "default_cycles": estimated.default_cycles,
                "relative_to_default": estimated.cost,
            }
        case Failed() as failed:
            facts |= {"reason": failed.reason.value, "message": failed.message}
    return facts


def _program_files(tuned: TunedProgram) -> dict[str, bytes]:
    """The tuned program as text and as a proto, if there is one, by name."""
    if not tuned.module:
        return {}
    hlo_text: str = run_in_child("autotune.hlo.jaxlib", "print_hlo_text", tuned.module, time_limit=600.0)
    return {"tuned.hlo": hlo_text.encode(), "tuned.pb": tuned.module}


def _how_to_use(tuned: TunedProgram, tiled: TiledProgram | None) -> str:
    flags: Iterable[str] = [f"{name}={value}" for name, value in tuned.options.items()]
    if not tuned.module:
        return "There is no program here: what was replayed has evaluations without one."
    if tuned.backend_only:
        return f"tuned.hlo (text) and tuned.pb (HloModuleProto) hold the same kernel, with its tile. {_BACKEND_ONLY}"
    text = "tuned.hlo (text) and tuned.pb (HloModuleProto) hold the same program, before XLA's optimisation."
    if tuned.options or tuned.extra_options:
        extra = ",".join(f"{name}={value}" for name, value in tuned.extra_options.items())
        text += f" Compile with the options {', '.join(flags)}"
        text += f" and xla_backend_extra_options={extra}." if extra else "."
    if tiled is not None:
        text += (
            " tuned_with_tiles.pb holds it with tiles as well, optimised up to memory space assignment. "
            + _BACKEND_ONLY
        )
    return text
