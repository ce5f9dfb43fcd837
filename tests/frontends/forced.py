"""Tuned programs whose layouts were changed for certain: a search finds gains only where there are some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotune.database import Database
from autotune.database.tuned import TunedRecord
from autotune.evaluation import LabelKind
from autotune.frontends.capture import Captured
from autotune.frontends.jax import _halves, capture
from autotune.targets.base import PreparedProgram
from autotune.targets.cpu import CpuTarget
from autotune.tuned import tuned_stablehlo


def force(
    database: Path, function: Any, *args: Any, gradients: bool = False, device_kind: str | None = None, **options: Any
) -> list[TunedRecord]:
    """Record layouts drawn at random as the best for a function, as if a search had found them.

    Args:
        database: where to.
        function: of jax.
        args: its arguments.
        gradients: whether to do the same for the two halves of its derivative.
        device_kind: in place of this host's.
        options: of `jax.jit`.
    """
    captured = capture(function, args, {}, **options)
    parts = [captured, *(_halves(captured).values() if gradients else ())]
    with CpuTarget() as target, Database.open(database) as opened:
        records = [_record(target, part) for part in parts]
        for record in records:
            opened.keep_tuned(replace(record, device_kind=device_kind or record.device_kind))
    return records


def _record(target: CpuTarget, part: Captured) -> TunedRecord:
    prepared: PreparedProgram = target.prepare(part.program)
    space = target.space(prepared, "layout")
    config = space.sample(np.random.default_rng(0))
    tuned = target.realise(prepared, config)
    code, problem = tuned_stablehlo(tuned)
    assert not problem
    description = target.description
    return TunedRecord(
        program=part.program.fingerprint,
        space="layout",
        device_kind=description.device_kind,
        compiler_version=description.compiler_version,
        target="cpu",
        label=LabelKind.MEASURED,
        improved=True,
        speedup=1.5,
        verdict="1.50x faster (forced by a test)",
        stablehlo=code,
    )
