"""`autotune collect`: evaluate configs of many programs, as training data in the format of TpuGraphs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.terminal import console
from training.commands.shared import GOES_ON, Json, reported, wide_console

if TYPE_CHECKING:
    from autotune.database import Database
    from training.collecting.collection import Progress
    from training.collecting.programs import Source
    from training.collecting.request import Request


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("collect")(_collect)


def _collect(
    programs: Annotated[list[Path], typer.Argument(metavar="PROGRAM...", help="Program files, or folders of them.")],
    space: Annotated[
        str, typer.Option(help="layout or tile (of every kernel on a TPU, of every matrix product on a CPU).")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The data set; the collection is a folder in it.")],
    target: Annotated[
        str, typer.Option(help="cpu or tpu, of this host (measured), or tpu:v5e, ... (estimated).")
    ] = "cpu",
    configs: Annotated[int, typer.Option(help="Per program, besides the default.")] = 25,
    draw: Annotated[str, typer.Option(help="random, genetic (from the default), or both in turn.")] = "both",
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds in all after which no evaluation starts.", show_default="none")
    ] = None,
    seconds_per_program: Annotated[
        float | None, typer.Option(help="The same for each program.", show_default="none")
    ] = None,
    evaluation_time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds that one config may take to compile.", show_default="10 times the default's"),
    ] = None,
    least_spread: Annotated[
        float,
        typer.Option(help="Put programs aside whose slowest config is not this much slower than the fastest."),
    ] = 1.3,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    database: Annotated[
        Path | None, typer.Option(help="Evaluation database.", show_default="in the user's data folder")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Most configs at once (of estimated targets); with --ray the workers.",
            show_default="the target's; with --ray as many as the cluster has room for",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Share the work among the workers of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local to "
            "start one on this host.",
            show_default="this process alone",
        ),
    ] = None,
    measure_twice: Annotated[
        bool,
        typer.Option(
            "--measure-twice",
            help="Measure every config once more, all of a program beside each other in another process, and make "
            "labels of both measurements. --seconds-per-program is for the first.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate configs of many programs, as training data in the format of TpuGraphs.

    The same command goes on after an interruption: what is in the database, or finished, is not done again. Programs
    that cannot be used are listed; if all are, the exit code is 1.
    """
    from autotune.database import Database
    from training.collecting.programs import find_sources
    from training.collecting.request import Request
    from training.commands.progress import CountProgress

    with reported(as_json, interrupted=GOES_ON):
        request = Request(
            space, configs, draw, seed, time_limit, seconds_per_program, least_spread, workers, measure_twice
        )
        sources = find_sources(programs)
        run = _here if ray is None else partial(_on_cluster, ray)
        with (
            Database.open(database) as opened,
            CountProgress(console(stderr=True), f"{space}, {target}", doing="collecting", done="done") as progress,
        ):
            statistics = run(target, evaluation_time_limit, sources, request, out, opened, progress.update)
    if as_json:
        typer.echo(json.dumps(statistics, indent=2))
    else:
        _print_tables(statistics)
    if statistics["refused"] and not statistics["programs"]:
        raise typer.Exit(1)


def _here(
    target: str,
    time_limit: float | None,
    sources: list[Source],
    request: Request,
    out: Path,
    database: Database,
    progress: Progress,
) -> dict[str, Any]:
    from autotune.targets import open_target
    from training.collecting.collect import collect

    with open_target(target, time_limit=time_limit) as evaluator:
        return collect(sources, evaluator, request, out, database, progress)


def _on_cluster(
    address: str,
    target: str,
    time_limit: float | None,
    sources: list[Source],
    request: Request,
    out: Path,
    database: Database,
    progress: Progress,
) -> dict[str, Any]:
    from autotune.extras import require
    from autotune.targets import open_target
    from training.collecting.cluster.resources import check_target

    require("cluster", "--ray needs Ray", "ray")
    check_target(target)
    from training.collecting.cluster.collect import collect_on_cluster
    from training.collecting.cluster.evaluator import ClusterEvaluator
    from training.collecting.cluster.session import RaySession

    opener = partial(open_target, target, time_limit=time_limit)
    with (
        RaySession(address) as session,
        ClusterEvaluator(session, target, opener, workers=request.workers) as evaluator,
    ):
        return collect_on_cluster(sources, evaluator, request, out, database, progress)


def _file(record: dict[str, Any]) -> str:
    """The file of a program, or how many of its parts have one."""
    kinds = [kind for kind in ("kernels", "products") if kind in record]
    return record.get("file") or "".join(f"{len(record[f'{kind}_written'])} of {record[kind]} {kind}" for kind in kinds)


def _print_tables(statistics: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("program", "file", "configs", "rows", "merged", "failed", "spread", "noise", "seconds")
    for name, each in statistics["programs"].items():
        noise = each.get("noise")
        table.add_row(
            name,
            _file(each),
            str(each["configs"]),
            str(each["rows"]),
            str(each.get("merged_duplicates", "")),
            ", ".join(f"{count} {reason}" for reason, count in each.get("failed", {}).items()),
            f"{each['spread']:.2f}" if each.get("spread") else "",
            f"{noise['copies_of_default']:.1%}" if noise else "",
            f"{each['seconds']:.1f}",
        )
    terminal = wide_console()
    terminal.print(table)
    for name, reason in statistics["refused"].items():
        terminal.print(f"left out: {name}: {reason}", markup=False)
    collection = statistics["collection"]
    terminal.print(
        f"{collection['name']}: {statistics['configs']} configs, {statistics['rows']} rows of "
        f"{len(statistics['programs'])} programs ({collection['label']}); {statistics['stopped']}",
        markup=False,
    )
