"""The command line: `autotune search | inspect | report | serve | servers | data | train | evaluate | ...`.

Exit codes: 0 done (a difference found or not), 1 an error that is none of the following, 2 wrong usage, 3 the file
cannot be read as a program, 4 the program or the space is not supported by the target, 5 a compiler or library is
missing or too new, 6 the default config cannot be evaluated, 7 no measurement server can be used, 8 a tuned program is
required and there is none, 130 interrupted (what was found is saved).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from autotune import errors
from autotune.frontends import commands as frontend_commands
from autotune.remote import commands as remote_commands
from autotune.report import commands as report_commands
from autotune.terminal import EXIT_CODES as EXIT_CODES
from autotune.terminal import INTERRUPTED, console, fail

# Elsewhere `autotune` imports nothing of `training`; a command line that offers both must know both.
from training import commands as training_commands

app = typer.Typer(
    name="autotune",
    help="Find faster layouts and tiles for XLA programs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
training_commands.register(app)
remote_commands.register(app)
report_commands.register(app)
frontend_commands.register(app)

File = Annotated[Path, typer.Argument(help="A program: HLO text, HLO proto, StableHLO, or TpuGraphs tuning data.")]
ModuleName = Annotated[str | None, typer.Option("--module", help="Which module, if the file holds several.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from cost_model.version import tool_version

        typer.echo(f"xla-autotune {tool_version()}")
        raise typer.Exit


@app.callback()
def _version_option(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """The callback of the option does it: without a command this function would never be called."""


@app.command()
def search(
    file: File,
    target: Annotated[
        str,
        typer.Option(
            help="Where to evaluate: cpu or tpu, of this host (measured), tpu:v5e, tpu:v6e:2x2, ... (estimated), or "
            "servers: grpc://HOST:PORT,HOST:PORT; replay:FILE answers from recorded evaluations."
        ),
    ] = "cpu",
    budget: Annotated[
        int, typer.Option(min=1, help="Configs to evaluate besides the default, those in the database included.")
    ] = 50,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which no further evaluation starts.", show_default="none")
    ] = None,
    space: Annotated[
        str,
        typer.Option(
            help="layout, tile, or auto (on a TPU layouts, then tiles; of a file that is one kernel its tiles)."
        ),
    ] = "auto",
    strategy: Annotated[
        str, typer.Option(help="auto (screening for layouts of a TPU, else evolutionary), evolutionary or random.")
    ] = "auto",
    model: Annotated[
        str,
        typer.Option(help="Cost model: auto (one that ships, or analytical), none, name or path."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result.", show_default="FILE with the ending .autotune")
    ] = None,
    database: Annotated[
        Path | None, typer.Option(help="Evaluation database.", show_default="in the user's data folder")
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse/--no-reuse",
            " /--repeat",
            help="Count evaluations that the database already has, or evaluate again (also on servers).",
        ),
    ] = True,
    require_cached: Annotated[
        bool,
        typer.Option(
            "--require-cached", help="Evaluate nothing: the result of an earlier search, or an error (exit code 8)."
        ),
    ] = False,
    evaluation_time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds that one config may take to compile.", show_default="10 times the default's"),
    ] = None,
    tuning_data: Annotated[
        Path | None,
        typer.Option(
            "--save-tuning-data",
            metavar="DIR",
            help="Also write all evaluations as TpuGraphs data (.pb and .npz), and labels.json: measured or estimated.",
            show_default=False,
        ),
    ] = None,
    with_report: Annotated[
        bool, typer.Option("--report", help="Also write report.html, as `autotune report` does.")
    ] = False,
    study: Annotated[
        str | None,
        typer.Option(
            "--save-study",
            metavar="URL|FILE",
            help="Also write all evaluations as trials of Optuna, for optuna-dashboard: into a database by URL, or a "
            "file (.db: SQLite, .log: journal).",
            show_default=False,
        ),
    ] = None,
    server_authority: remote_commands.Authority = None,
    server_token_file: remote_commands.TokenFile = None,
    server_certificate: remote_commands.Certificate = None,
    server_key: remote_commands.Key = None,
    module_name: ModuleName = None,
    as_json: Json = False,
) -> None:
    """Search for a config that is faster than the default."""
    from autotune import api
    from autotune.optuna_export import save_study
    from autotune.optuna_storage import check_study_storage, described
    from autotune.rendering.search import SearchProgress, render_result
    from autotune.report.writing import require_packages, write_report
    from autotune.result import check_writable
    from autotune.tuning_export import check_tuning_folder, save_tuning_data

    terminal = console(stderr=True)
    folder = out if out is not None else file.with_suffix(".autotune")
    try:
        check_writable(folder)
        if with_report:
            require_packages()
        if tuning_data is not None:
            check_tuning_folder(tuning_data)
        if study is not None:
            check_study_storage(study)
        credentials = remote_commands.client_credentials(
            server_authority, server_token_file, server_certificate, server_key
        )
        with SearchProgress(terminal, budget) as progress:
            result = api.search(
                file,
                target=target,
                credentials=credentials,
                space=space,
                budget=budget,
                time_limit=time_limit,
                strategy=strategy,
                model=model,
                seed=seed,
                database=database,
                reuse=reuse,
                require_cached=require_cached,
                module_name=module_name,
                evaluation_time_limit=evaluation_time_limit,
                on_progress=progress.update,
                on_stage=progress.stage,
            )
        files = result.save(folder)
        files += [write_report(folder)] if with_report else []
        saved = save_tuning_data(result, tuning_data) if tuning_data is not None else []
        studies = save_study(result, study) if study is not None else []
    except KeyboardInterrupt:
        terminal.print("interrupted before anything was measured")
        raise typer.Exit(INTERRUPTED) from None
    except errors.AutotuneError as error:
        fail(error, as_json)
    if as_json:
        extra = {"files": [str(path) for path in (*files, *saved)]} | ({"studies": studies} if studies else {})
        typer.echo(json.dumps(result.to_json() | extra, indent=2))
    else:
        console().print(render_result(result, files))
        if saved:
            console().print(f"tuning data: {tuning_data}/ ({', '.join(path.name for path in saved)})", markup=False)
        for name in studies:
            console().print(f"study: {name}; optuna-dashboard {described(study or '')}", markup=False)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def inspect(
    file: File,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.npz",
            help="Write the program's graph, and the configs and runtimes of tuning data, as TpuGraphs arrays. "
            "An optimised program is then taken (and shown) as it is, not un-fused.",
            show_default=False,
        ),
    ] = None,
    module_name: ModuleName = None,
    as_json: Json = False,
) -> None:
    """Show what is in a program and what could be changed about it."""
    from autotune.hlo.features_file import check_writable, write_features
    from autotune.hlo.reader import read
    from autotune.hlo.statistics import space_sizes, statistics
    from autotune.rendering.inspect import render_features, render_statistics

    try:
        if features is not None:
            check_writable(features, file)
        # Published arrays, and the runs of tuning data, number the nodes of the file as it is.
        program = read(file, module_name=module_name, keep_optimised=features is not None)
        facts = statistics(program)
        sizes = space_sizes(program)
        written = write_features(program, features) if features is not None else None
    except errors.AutotuneError as error:
        fail(error, as_json)
    if as_json:
        spaces = {kind: size if isinstance(size, str) else str(size) for kind, size in sizes.items()}
        extra = {"features": written.to_json()} if written is not None else {}
        typer.echo(json.dumps(facts.to_json() | {"spaces": spaces} | extra, indent=2))
        return
    terminal = console()
    terminal.print(render_statistics(facts, sizes))
    if written is not None:
        terminal.print(render_features(written))


def main() -> None:
    """Entry point of the `autotune` command."""
    try:
        app()
    except BrokenPipeError:  # `autotune inspect ... | head`
        sys.stderr.close()


if __name__ == "__main__":
    main()
