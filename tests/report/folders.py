"""Result folders written by hand: every number in them was chosen, and what the report must say was worked out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.report.explanation import (
    CompiledProgram,
    Edge,
    Explanation,
    InstructionCost,
    LayoutChange,
    Neighbourhood,
    Node,
)

DEFAULT_ID, BEST_ID = "d" * 16, "b" * 16
NASTY = "</script><img src=x onerror=alert(1)>&{{ 7*7 }}"
"""A name that breaks a page whose text is not escaped."""


def measured(identity: str, cost: float, score: float | None = None) -> dict[str, Any]:
    """An evaluation of cost times 2 ms."""
    return {
        "config_id": identity,
        "kind": "measured",
        "seconds": 0.002 * cost,
        "spread": 0.031,
        "default_seconds": 0.002,
        "relative_to_default": cost,
        "family": "layout",
        "score": score,
    }


def estimated(identity: str, cost: float, score: float | None = None) -> dict[str, Any]:
    """An evaluation of cost times 10,000 cycles."""
    return {
        "config_id": identity,
        "kind": "estimated",
        "cycles": 10_000.0 * cost,
        "default_cycles": 10_000.0,
        "relative_to_default": cost,
        "family": "layout",
        "score": score,
    }


def failed(identity: str, reason: str, message: str) -> dict[str, Any]:
    return {"config_id": identity, "kind": "failed", "reason": reason, "message": message, "score": None}


def best(kind: str = "measured", **changes: Any) -> dict[str, Any]:
    """The facts of best.json: the best config takes 0.8 of what the default takes."""
    line = measured if kind == "measured" else estimated
    facts: dict[str, Any] = {
        "tool": "xla-autotune 0.1.0",
        "program": {"name": NASTY, "fingerprint": "f" * 32, "source": "model.hlo", "notes": [], "caveat": None},
        "target": {
            "name": "cpu" if kind == "measured" else "tpu:v5e",
            "device_kind": "a processor",
            "compiler_version": "a compiler",
            "label": kind,
        },
        "space": {"kind": "layout", "size": "1" + "0" * 40},
        "search": {
            "strategy": "evolutionary",
            "cost_model": "analytical:cpu",
            "seed": 0,
            "budget": 4,
            "stopped": "budget used up",
            "seconds": 12.0,
            "reused": 0,
            "ranking": None,
        },
        "verdict": "1.25x faster than the default (measured, noise 5.0%)",
        "improved": True,
        "speedup": 1.25,
        "noise": 0.05 if kind == "measured" else 0.0,
        "default": line(DEFAULT_ID, 1.0),
        "best": line(BEST_ID, 0.8) | {"decisions": []},
        "runner_up": line(BEST_ID, 0.8),
        "comparison": [line(BEST_ID, 0.8), line(DEFAULT_ID, 1.0)] if kind == "measured" else None,
        "created": "2026-11-28T05:06:59+00:00",
        "how_to_use": "as it is",
    }
    return facts | changes


def evaluations(kind: str = "measured") -> list[dict[str, Any]]:
    """Five, of which one failed. Of the six pairs of the others five are in order, one is not: tau = (5 - 1) / 6."""
    line = measured if kind == "measured" else estimated
    return [
        line(DEFAULT_ID, 1.0, score=3.0),
        line("1" * 16, 1.5, score=4.0),
        failed("2" * 16, "compile error", f"no such layout: {NASTY}"),
        line(BEST_ID, 0.8, score=2.0),
        line("3" * 16, 0.9, score=1.0),  # before the best one, but after it in truth
    ]


TAU = 4 / 6


def instruction(name: str, cost: float | None, **changes: Any) -> InstructionCost:
    facts: dict[str, Any] = {"opcode": "fusion", "work": "dot", "operation": "", "shape": "f32[8,8]{1,0}"}
    return InstructionCost(name=name, executions=1, cost=cost, **(facts | changes))


def explanation(kind: str = "measured", **changes: Any) -> Explanation:
    """Three copies of 3,000 bytes before, one of 1,000 after."""
    scale = 1e-6 if kind == "measured" else 1.0
    facts: dict[str, Any] = {
        "program": "f" * 32,
        "target": "cpu" if kind == "measured" else "tpu:v5e",
        "default_id": DEFAULT_ID,
        "config_id": BEST_ID,
        "unit": "seconds" if kind == "measured" else "compiler cycles",
        "source": "worked out by hand",
        "default": CompiledProgram(
            90 * scale, (instruction(NASTY, 60 * scale), instruction("copy.1", 30 * scale)), 0, 0.0, 0, 3, 3000
        ),
        "tuned": CompiledProgram(50 * scale, (instruction(NASTY, 50 * scale),), 0, 0.0, 0, 1, 1000),
        "layouts": (
            LayoutChange(2, "dot.1", "dot", "first input", "f32[8,16]", 512, (1, 0), (0, 1), True, ""),
            LayoutChange(2, "dot.1", "dot", "output", "f32[8,8]", 256, (1, 0), (1, 0), False, ""),
        ),
        "neighbourhood": Neighbourhood(
            nodes=(
                Node(0, NASTY, "parameter", "f32[8,16]", changed=False),
                Node(1, "w", "parameter", "f32[16,8]", changed=False),
                Node(2, "dot.1", "dot", "f32[8,8]", changed=True),
            ),
            edges=(Edge(0, 2, (0, 1)), Edge(1, 2, ())),
            changed=1,
        ),
    }
    return Explanation(**(facts | changes))


def write(
    folder: Path,
    facts: dict[str, Any] | None = None,
    lines: list[dict[str, Any]] | None = None,
    explained: Explanation | None = None,
) -> Path:
    """A result folder; measured, unless told otherwise."""
    folder.mkdir(exist_ok=True)
    (folder / "best.json").write_text(json.dumps(best() if facts is None else facts))
    lines = evaluations() if lines is None else lines
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if explained is not None:
        (folder / "explanation.json").write_bytes(explained.to_bytes())
    return folder
