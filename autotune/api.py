"""`autotune.search`: the same thing as the command, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.database import Database
from autotune.errors import AutotuneError
from autotune.hlo.kernels import is_one_kernel, split_kernels
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from autotune.ranking.models import ModelsOf, choose_models
from autotune.remote.credentials import ClientCredentials
from autotune.report import explaining
from autotune.result import SearchResult
from autotune.spaces.base import Space
from autotune.strategies import STRATEGIES
from autotune.targets import open_target
from autotune.targets.base import KernelProvider, PreparedProgram, ProgramReader, Target
from autotune.targets.cached import CachedTarget
from autotune.tiles import KernelTiles, better_tiles, search_tiles, tile_budget
from autotune.tuned import tuned_record
from autotune.tuner import Progress, Tuner
from cost_model import CostModel


def search(
    program: str | Path | Program,
    *,
    target: str | Target = "cpu",
    space: str = "auto",
    budget: int = 50,
    time_limit: float | None = None,
    strategy: str = "auto",
    model: str | CostModel = "auto",
    seed: int = 0,
    database: str | Path | Database | None = None,
    reuse: bool = True,
    require_cached: bool = False,
    module_name: str | None = None,
    evaluation_time_limit: float | None = None,
    credentials: ClientCredentials | None = None,
    explain: bool = True,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> SearchResult:
    """Find a config of a program that is faster than the default.

    Args:
        program: a file in any format that `autotune.hlo.reader` knows, or a program already read.
        target: name of a target ("cpu", "grpc://localhost:8470"), or one that the caller owns.
        space: "layout", "tile", or "auto" (on a CPU tiles where the program has them, else layouts; on a TPU layouts,
            then the tiles of the dearest kernels, with a third of the budget). A file that is one optimised kernel
            has, on a TPU, its tiles.
        budget: how many configs may be evaluated besides the default, those already in the database included.
        time_limit: seconds after which no further evaluation starts; None for no limit.
        strategy: "auto" (screening for layouts of a TPU, else evolution), "evolutionary" or "random".
        model: ranks proposals: "auto" for the one that ships for the target and the space (for tiles of a TPU, and
            where none ships, the analytical one); "analytical", "none", a name or path for `CostModel.load`, or a
            model. It is adapted to the program while evaluations come in, and the analytical one stands in where it
            ranks better.
        seed: of the search; the same seed proposes the same configs (measurements still differ).
        database: path of the evaluation database, or one that the caller owns; None for the one in the user's folder.
        reuse: whether evaluations in the database count, and a server's own ones; else all are made again.
        require_cached: evaluate nothing: what the database has of an earlier search is the result, or an error.
        module_name: which module, for files that hold several.
        evaluation_time_limit: seconds that one config may take to compile, and to run once.
        credentials: for a target of servers; None for servers of this host that ask for nothing.
        explain: whether to compile the default and the best config once more at the end, for a report that says where
            the time goes.
        on_progress: called after every evaluation.
        on_stage: called with a few words before each stage that may take long.

    Returns:
        What was found. Ctrl-C ends the search early with the best so far.

    Raises:
        NotTunedError: with `require_cached`, for what the database does not have.
        AutotuneError: the file cannot be read, the program cannot run on the target, ... (see `autotune.errors`).
    """
    if budget < 1:
        raise AutotuneError(f"budget {budget}: expected at least 1 evaluation")
    if time_limit is not None and time_limit <= 0:
        raise AutotuneError(f"time limit {time_limit}: expected a positive number of seconds")
    if require_cached and not reuse:
        raise AutotuneError("require_cached needs the evaluations of the database: not together with reuse=False")
    if strategy not in STRATEGIES:
        raise AutotuneError(f"strategy {strategy!r}: expected one of {', '.join(STRATEGIES)}")
    owned_target = None
    if isinstance(target, str):
        owned_target = open_target(target, time_limit=evaluation_time_limit, repeat=not reuse, credentials=credentials)
    owned_database = None
    try:
        chosen = owned_target if owned_target is not None else target
        assert not isinstance(chosen, str)
        kernels = isinstance(chosen, KernelProvider) and space != "layout"
        on_stage("reading the program")
        if not isinstance(program, Program):
            path = Path(program)
            if isinstance(chosen, ProgramReader):
                program = chosen.read(path, module_name)
            else:
                program = read(path, module_name=module_name, keep_kernels=kernels)
        models = choose_models(model, chosen.description.cost_model_device)
        if not isinstance(database, Database):
            database = owned_database = Database.open(Path(database) if database is not None else None)
        if require_cached:
            chosen, budget = CachedTarget(chosen, str(database.path)), 1
        run = _Run(chosen, models, database, budget, time_limit, strategy, seed, reuse, on_progress, on_stage)
        if kernels and is_one_kernel(program.proto):
            return _search_kernel(run, program)
        result = _search_program(run, program, space)
        if not result.interrupted:
            database.keep_tuned(tuned_record(result))
        if explain and not result.interrupted:
            on_stage("explaining the result")
            result = replace(result, explanation=explaining.explain(chosen, result))
        return result
    finally:
        if owned_database is not None:
            owned_database.close()
        if owned_target is not None:
            owned_target.close()


@dataclass(frozen=True)
class _Run:
    """What the stages of one search have in common: the arguments of `search`."""

    target: Target
    models: ModelsOf
    database: Database
    budget: int
    time_limit: float | None
    strategy: str
    seed: int
    reuse: bool
    on_progress: Callable[[Progress], None]
    on_stage: Callable[[str], None]

    def tuner(self, target: Target, prepared: PreparedProgram, space: Space, budget: int) -> Tuner:
        models = self.models(space.kind)
        return Tuner(
            target=target,
            prepared=prepared,
            space=space,
            strategy=STRATEGIES[self.strategy](space),
            cost_models=models,
            graph=prepared.graph if models else None,
            database=self.database,
            budget=budget,
            time_limit=self.time_limit,
            seed=self.seed,
            reuse=self.reuse,
            on_progress=self.on_progress,
        )


def _search_program(run: _Run, program: Program, space: str) -> SearchResult:
    """One space; with "auto" on a target that takes programs apart layouts, then tiles."""
    target = run.target
    run.on_stage("compiling the default")
    prepared = target.prepare(program)
    choices = target.space(prepared, space)
    both = space == "auto" and choices.kind == "layout" and isinstance(target, KernelProvider)
    for_tiles = tile_budget(run.budget) if both else 0
    result = run.tuner(target, prepared, choices, run.budget - for_tiles).run()
    if not for_tiles or result.interrupted:
        return result
    assert isinstance(target, KernelProvider)
    run.on_stage("taking the program apart into kernels")
    tiles = search_tiles(
        target.kernel_target,
        target.kernels(prepared, result.best.config),
        models=run.models("tile"),
        database=run.database,
        budget=for_tiles,
        strategy=run.strategy,
        seed=run.seed,
        reuse=run.reuse,
        on_progress=run.on_progress,
        on_stage=run.on_stage,
    )
    if any(each.interrupted for each in tiles):
        return replace(result, tiles=tuple(tiles), stopped="interrupted", budget=run.budget)
    better = better_tiles(tiles)
    tiled = None
    if better and not prepared.caveat:  # a program that does not fit has no whole to put them into
        run.on_stage(f"recompiling the program with {len(better)} tiles")
        tiled = target.apply_tiles(prepared, result.best.config, better)
    return replace(result, tiles=tuple(tiles), tiled=tiled, budget=run.budget)


def _search_kernel(run: _Run, program: Program) -> SearchResult:
    """The tiles of a file that is one kernel."""
    assert isinstance(run.target, KernelProvider)
    (kernel,) = split_kernels(program.proto)
    target = run.target.kernel_target
    run.on_stage(f"tiles of kernel {kernel.name}")
    prepared = target.prepare_kernel(kernel)
    named = replace(prepared.program, source=program.source, notes=program.notes)
    prepared = replace(prepared, program=named, notes=program.notes)
    result = run.tuner(target, prepared, target.space(prepared, "tile"), run.budget).run()
    return replace(result, tiles=(KernelTiles(kernel, (kernel.name,), 1.0, result),))
