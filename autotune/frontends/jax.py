"""`autotune.jit` and `autotune.tune`: tuned programs behind ordinary functions of jax."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from autotune import api
from autotune.database import Database
from autotune.database.store import default_path
from autotune.database.tuned import TunedRecord
from autotune.errors import AutotuneError
from autotune.frontends.calls import backward_half, forward_half, traceable
from autotune.frontends.capture import Captured
from autotune.frontends.device import default_target, runs_here
from autotune.frontends.lookup import Lookup
from autotune.frontends.switch import REQUIRE_CACHED, is_disabled, is_set
from autotune.hlo.program import Program
from autotune.result import SearchResult
from autotune.tuned import tuned_record


class JitOptions(TypedDict, total=False):
    """What `jax.jit` takes under the same names: which arguments are static, and which may be overwritten."""

    static_argnums: int | Sequence[int]
    static_argnames: str | Sequence[str]
    donate_argnums: int | Sequence[int]
    donate_argnames: str | Sequence[str]


class TunableFunction:
    """A function under `jax.jit` whose programs are looked up while jax traces it, hence once per set of shapes.

    Args:
        function: of pytrees of arrays.
        database: path of the evaluation database; None for the one in the user's folder.
        require_cached: whether a program that was never tuned for this device is an error (NotTunedError) rather than
            run as it is. None asks the environment variable AUTOTUNE_REQUIRE_CACHED.
        known: tuned programs by fingerprint, which come before those of the database where they are for this device.
        compiler_options: XLA flags to compile it with, as for `jax.jit`.
        **jit_options: for `jax.jit`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        database: str | Path | None = None,
        require_cached: bool | None = None,
        known: Mapping[str, TunedRecord] | None = None,
        compiler_options: Mapping[str, str | int | bool] | None = None,
        **jit_options: Unpack[JitOptions],
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        lookup = Lookup(
            Path(database) if database is not None else None,
            known=known,
            required=is_set(REQUIRE_CACHED) if require_cached is None else require_cached,
            options=compiler_options,
        )
        self._tuned = jax.jit(
            traceable(function, lookup), compiler_options=dict(compiler_options or {}) or None, **jit_options
        )
        self._plain = jax.jit(function, **jit_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, tuned where it was tuned."""
        return (self._plain if is_disabled() else self._tuned)(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As `jax.jit(function).lower`."""
        return (self._plain if is_disabled() else self._tuned).lower(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind it, where it is used as a method."""
        return self if instance is None else types.MethodType(self, instance)


def jit(
    function: Callable[..., Any] | None = None,
    *,
    database: str | Path | None = None,
    require_cached: bool | None = None,
    **jit_options: Unpack[JitOptions],
) -> Any:
    """`jax.jit`, but a program that was tuned for this device runs tuned.

    At the first call with given shapes the function's program is looked up in the database: by its fingerprint, the
    device kind and the compiler version. What came of it is logged once (logger "autotune", level INFO). Calls after
    that cost what `jax.jit`'s cost.

    Args:
        function: of pytrees of arrays; without one this is a decorator.
        database: path of the evaluation database; None for the one in the user's folder.
        require_cached: whether a program that was never tuned for this device is an error; None asks the environment
            variable AUTOTUNE_REQUIRE_CACHED.
        **jit_options: `static_argnums`, `static_argnames`, `donate_argnums` and `donate_argnames` of `jax.jit`.

    Returns:
        A function that can be differentiated in reverse mode (each half of the derivative is looked up as well) and
        vectorised like the one that was given.

    Raises:
        NotTunedError: at a call, as said at `require_cached`.
    """
    if function is None:
        return functools.partial(jit, database=database, require_cached=require_cached, **jit_options)
    return TunableFunction(function, database=database, require_cached=require_cached, **jit_options)


class TunedFunction(TunableFunction):
    """What `autotune.tune` returns: the function, tuned for the shapes that it was tuned with.

    Attributes:
        result: of the search of the function itself.
        results: of all searches by what they were of: "function", and with gradients "forward" and "backward".
    """

    def __init__(
        self,
        function: Callable[..., Any],
        captured: Captured,
        results: Mapping[str, SearchResult],
        records: Sequence[TunedRecord],
        *,
        database: Path,
        **jit_options: Unpack[JitOptions],
    ) -> None:
        super().__init__(
            function,
            known={record.program: record for record in records},
            compiler_options=records[0].options if runs_here(records[0]) else None,
            database=database,
            **jit_options,
        )
        self.results = dict(results)
        self.result = self.results["function"]
        self._captured = captured
        self._record = records[0]

    def save(self, folder: str | Path) -> list[Path]:
        """Write the result folder, for `autotune.load`.

        Args:
            folder: usually with the ending .autotune; made if it does not exist.

        Returns:
            The files written: those of `SearchResult.save`, and the function for jax.

        Raises:
            AutotuneError: the folder cannot be written.
        """
        from autotune.frontends.saved import save_function

        return [*self.result.save(folder), save_function(Path(folder), self._captured, self._record.stablehlo)]


def tune(
    function: Callable[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    budget: int = 50,
    target: str = "auto",
    gradients: bool = False,
    space: str = "layout",
    database: str | Path | None = None,
    progress: bool | None = None,
    **options: Any,
) -> TunedFunction:
    """Search for a faster version of a function, for the shapes of these arguments.

    Args:
        function: of pytrees of arrays.
        *args: arguments; only their shapes and dtypes count (`jax.ShapeDtypeStruct` will do), static ones as they are.
        kwargs: keyword arguments of the function.
        budget: configs that may be evaluated; with `gradients` for each of the three programs.
        target: who evaluates; "auto" measures on this host's CPU, or, where jax's default device is a TPU, compiles
            for it (estimated: this process owns the TPU). What is tuned for another device than jax's does not run in
            this process (a warning says so), but can be saved for one that has it.
        gradients: whether to tune the two halves of the derivative as well, for functions called under `jax.grad`.
        space: "layout", or "tile" where the target has tiles for the program.
        database: path of the evaluation database; None for the one in the user's folder.
        progress: whether to show the search on standard error; None: where that is a terminal.
        **options: of `jax.jit`: static_argnums, static_argnames, donate_argnums, donate_argnames; and further ones of
            `autotune.search`: time_limit, strategy, model, seed, reuse, ...

    Returns:
        The tuned function: for these shapes the tuned program runs (or the function's own, if nothing was faster), for
        others what the database has. Its `result` has the evidence.

    Raises:
        AutotuneError: as `autotune.search`; the function is for several devices or has callbacks.
    """
    jit_options = cast(JitOptions, {name: options.pop(name) for name in JitOptions.__annotations__ if name in options})
    captured = capture(function, args, kwargs or {}, **jit_options)
    captured.exported()  # what cannot be exported is refused before the search
    parts = {"function": captured} | (_halves(captured) if gradients else {})
    path = Path(database) if database is not None else default_path()
    target = default_target() if target == "auto" else target
    results, records = {}, []
    with Database.open(path) as opened:
        for name, part in parts.items():
            results[name] = _search(
                part.program, progress, budget, target=target, space=space, database=opened, **options
            )
            records.append(_record(opened, results[name]))
            if results[name].interrupted:
                break
    return TunedFunction(function, captured, results, records, database=path, **jit_options)


def _record(database: Database, result: SearchResult) -> TunedRecord:
    """What the search has kept; one that was interrupted has kept nothing."""
    fingerprint, target = result.prepared.program.fingerprint, result.target
    kept = database.tuned(fingerprint, target.device_kind, target.compiler_version, space=result.space.kind)
    return tuned_record(result) if result.interrupted or kept is None else kept


def capture(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], **jit_options: Unpack[JitOptions]
) -> Captured:
    """A call as jax would trace it.

    Args:
        function: that is called.
        args: positional arguments: arrays or their shapes, static ones as they are.
        kwargs: keyword arguments, likewise.
        **jit_options: for `jax.jit`.

    Raises:
        Exception: what jax says of arguments that it cannot trace.
    """
    found: list[Captured] = []

    def probe(*inner: Any, **inner_kwargs: Any) -> None:
        found.append(Captured.of(function, inner, inner_kwargs))

    if jit_options:
        functools.update_wrapper(probe, function)  # jax matches names and numbers by the signature
    jax.jit(probe, **jit_options).trace(*args, **kwargs)
    return found[0]


def _halves(captured: Captured) -> dict[str, Captured]:
    """The two halves of a derivative, captured with the shapes that the first has as output."""
    forward = Captured.of(forward_half(captured), captured.shapes, {})
    try:
        outputs, pullback = jax.eval_shape(forward.function, *captured.shapes)
    except TypeError as error:
        raise AutotuneError(
            f"{captured.name} cannot be differentiated: {error}. With gradients=True every array argument and every "
            "output is one of jax.vjp; pass integers and keys as static arguments, or tune jax.grad of a loss instead"
        ) from error
    cotangents = [_cotangent(each) for each in outputs]
    backward = Captured.of(backward_half(captured), (pullback, cotangents), {})
    return {"forward": forward, "backward": backward}


def _cotangent(output: Any) -> Any:
    if jnp.issubdtype(output.dtype, jnp.inexact):
        return jax.ShapeDtypeStruct(output.shape, output.dtype)
    return np.zeros(output.shape, jax.dtypes.float0)


def _search(program: Program, progress: bool | None, budget: int, **options: Any) -> SearchResult:
    from autotune.rendering.search import SearchProgress
    from autotune.terminal import console

    terminal = console(stderr=True)
    if not (terminal.is_terminal if progress is None else progress):
        return api.search(program, budget=budget, **options)
    with SearchProgress(terminal, budget) as live:
        return api.search(program, budget=budget, on_progress=live.update, on_stage=live.stage, **options)
