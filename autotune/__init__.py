"""An autotuner for XLA programs: choose layouts and tiles with a cost model, compile and measure only the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api import search
    from autotune.frontends.jax import jit, tune
    from autotune.frontends.saved import load
    from autotune.frontends.switch import disabled
    from autotune.hlo.reader import read
    from autotune.optuna_export import save_study
    from autotune.result import SearchResult
    from autotune.tuning_export import save_tuning_data

__all__ = ["SearchResult", "disabled", "jit", "load", "read", "save_study", "save_tuning_data", "search", "tune"]

_HOMES = {
    "SearchResult": "autotune.result",
    "disabled": "autotune.frontends.switch",
    "jit": "autotune.frontends.jax",
    "load": "autotune.frontends.saved",
    "read": "autotune.hlo.reader",
    "save_study": "autotune.optuna_export",
    "save_tuning_data": "autotune.tuning_export",
    "search": "autotune.api",
    "tune": "autotune.frontends.jax",
}


def __getattr__(name: str) -> Any:
    """Import on first use: child processes and `autotune --help` need none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'autotune' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
