"""The files of a result folder, checked before anything is drawn.

What a folder must have is what `SearchResult.save` writes; keys that are not used here may be missing or new.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from autotune.errors import AutotuneError
from autotune.report.explanation import FILE, FORMAT, Explanation

Kind = Literal["measured", "estimated"]


@dataclass(frozen=True)
class MeasuredLine:
    """One evaluation by a clock, see `autotune.evaluation.Measured`."""

    config_id: str
    kind: Literal["measured"]
    seconds: float
    spread: float
    relative_to_default: float
    family: str = ""
    score: float | None = None


@dataclass(frozen=True)
class EstimatedLine:
    """One evaluation by a compiler, see `autotune.evaluation.Estimated`."""

    config_id: str
    kind: Literal["estimated"]
    cycles: float
    relative_to_default: float
    family: str = ""
    score: float | None = None


@dataclass(frozen=True)
class FailedLine:
    """One evaluation without a number."""

    config_id: str
    kind: Literal["failed"]
    reason: str
    message: str
    family: str = ""
    score: float | None = None


Line = Annotated[MeasuredLine | EstimatedLine | FailedLine, Field(discriminator="kind")]


@dataclass(frozen=True)
class ProgramFacts:
    """The program of a search."""

    name: str
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()
    caveat: str | None = None


@dataclass(frozen=True)
class TargetFacts:
    """Who evaluated."""

    name: str
    device_kind: str
    compiler_version: str
    label: Kind


@dataclass(frozen=True)
class SpaceFacts:
    """What was varied; the size is text, because it may be any number."""

    kind: str
    size: str


@dataclass(frozen=True)
class Ranking:
    """How proposals were ranked at the end, see `autotune.ranking.Standing`."""

    model: str
    adapted: bool
    asked: bool
    correlation: float | None
    first_correlation: float | None


@dataclass(frozen=True)
class SearchFacts:
    """How the search went."""

    strategy: str
    cost_model: str
    seed: int
    budget: int
    stopped: str
    seconds: float
    reused: int
    ranking: Ranking | None


@dataclass(frozen=True)
class Best:
    """`best.json`."""

    tool: str
    program: ProgramFacts
    target: TargetFacts
    space: SpaceFacts
    search: SearchFacts
    verdict: str
    improved: bool
    speedup: float
    noise: float
    default: Line
    best: Line
    comparison: tuple[Line, ...] | None
    runner_up: Line | None = None
    layout_requests: dict[str, dict[str, int]] = field(default_factory=dict)
    tiles: tuple[dict[str, Any], ...] = ()
    created: str = ""
    how_to_use: str = ""


@dataclass(frozen=True)
class ResultFolder:
    """What a search left behind.

    Attributes:
        folder: where.
        best: `best.json`.
        evaluations: `evaluations.jsonl`, in the order of the search, the default first.
        explanation: `explanation.json`; None without one of this search.
    """

    folder: Path
    best: Best
    evaluations: tuple[Line, ...]
    explanation: Explanation | None

    @property
    def fastest(self) -> Line:
        """The best config, or where nothing beats the default the fastest other (or the default, if it is alone)."""
        if self.best.improved:
            return self.best.best
        if self.best.runner_up is not None:
            return self.best.runner_up
        known = self.best.comparison or self.evaluations
        numbered = [e for e in known if not isinstance(e, FailedLine) and e.config_id != self.best.default.config_id]
        return min(numbered, key=lambda e: e.relative_to_default, default=self.best.default)


def read_folder(folder: Path) -> ResultFolder:
    """Read what a search left behind.

    Args:
        folder: that `SearchResult.save` wrote.

    Raises:
        AutotuneError: there is no such folder, or a file in it is missing, damaged, or of another version.
    """
    path = folder / "best.json"
    if not path.is_file():
        found = "a file" if folder.is_file() else "no best.json in it" if folder.is_dir() else "no such folder"
        raise AutotuneError(
            f"{folder}: expected the folder that a search writes (FILE.autotune, or --out), found {found}; "
            "make one with: autotune search FILE"
        )
    content = _read(path)
    best = _validated(TypeAdapter(Best), content, path, _tool(content, path))
    path = folder / "evaluations.jsonl"
    if not path.is_file():
        raise AutotuneError(f"{path}: missing, so there is nothing to draw; search again with: autotune search FILE")
    adapter: TypeAdapter[Any] = TypeAdapter(Line)
    lines = [
        _validated(adapter, line.encode(), f"{path}, line {number}", best.tool)
        for number, line in enumerate(_read(path).decode(errors="replace").splitlines(), 1)
        if line.strip()
    ]
    if any(line.kind not in ("failed", best.target.label) for line in [*lines, best.default]):
        raise AutotuneError(
            f"{path}: holds measured and estimated evaluations, or others than best.json speaks of; the files are of "
            "different searches, so search again"
        )
    lines.sort(key=lambda line: line.config_id != best.default.config_id)
    return ResultFolder(folder, best, tuple(lines), _explanation(folder / FILE, best))


def _explanation(path: Path, best: Best) -> Explanation | None:
    """None where there is none, or it was left by another search."""
    if not path.is_file():
        return None
    content = _read(path)
    facts = _json(content, path)
    if isinstance(facts, dict) and isinstance(facts.get("format"), int) and facts["format"] > FORMAT:
        raise AutotuneError(
            f"{path}: of format {facts['format']}, this version knows {FORMAT}; update xla-autotune, or search again"
        )
    explanation = _validated(TypeAdapter(Explanation), content, path, best.tool)
    shown = best.best if best.improved or best.runner_up is None else best.runner_up
    same = (explanation.program, explanation.target, explanation.config_id)
    return explanation if same == (best.program.fingerprint, best.target.name, shown.config_id) else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AutotuneError(f"{path}: cannot be read ({error})") from error


def _json(content: bytes, where: object) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AutotuneError(
            f"{where}: expected JSON, found {error}; the file is damaged, so search again (what was evaluated is in "
            "the database and is not evaluated again)"
        ) from None


def _tool(content: bytes, path: Path) -> str:
    facts = _json(content, path)
    return str(facts.get("tool", "an unknown version")) if isinstance(facts, dict) else "something else"


def _validated(adapter: TypeAdapter[Any], content: bytes, where: object, tool: str) -> Any:
    _json(content, where)  # says what is wrong with text that is none
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise AutotuneError(
            f"{where}: written by {tool} in a form that this version does not read ({place}: {problem['msg']}); "
            "search again with this version (evaluations in the database are not made again)"
        ) from None
