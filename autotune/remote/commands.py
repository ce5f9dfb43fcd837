"""`autotune serve` and `autotune servers status`, and the options of a client. Heavy imports happen inside."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune import errors
from autotune.remote.address import DEFAULT_PORT, SCHEME, Address, parse_address, parse_addresses
from autotune.terminal import console, fail

if TYPE_CHECKING:
    from autotune.remote.credentials import ClientCredentials
    from autotune.targets.base import Target

Authority = Annotated[
    Path | None,
    typer.Option(
        "--server-authority",
        metavar="FILE",
        help="PEM certificates of the authorities that signed the servers' certificates.",
        show_default="those that gRPC trusts; no TLS to this host",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--server-token-file", metavar="FILE", help="The token that the servers ask for.", show_default=False),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--server-certificate", metavar="FILE", help="PEM certificate to show to the servers.", show_default=False
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--server-key", metavar="FILE", help="PEM key of that certificate.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]

servers_commands = typer.Typer(name="servers", help="Measurement servers: how they are.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(serve)
    app.add_typer(servers_commands)


def client_credentials(
    authority: Path | None, token_file: Path | None, certificate: Path | None, key: Path | None
) -> ClientCredentials:
    """What the options of a client say."""
    from autotune.remote.credentials import ClientCredentials

    return ClientCredentials(authority, certificate, key, token_file)


def serve(
    target: Annotated[str, typer.Option(help="What to serve: cpu or tpu, of this host, or tpu:v5e, ...")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; other hosts can reach all but localhost.")
    ] = f"localhost:{DEFAULT_PORT}",
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate of this server (TLS).", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM key of it.", show_default=False)] = None,
    client_authority: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let in who has a certificate from these (PEM).", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Let in who knows the token in it.", show_default=False)
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            help="Evaluation database: nothing in it is evaluated twice.", show_default="in the user's data folder"
        ),
    ] = None,
    evaluation_time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds that one config may take to compile.", show_default="10 times the default's"),
    ] = None,
    largest_program: Annotated[int, typer.Option(min=1, help="Megabytes that a submitted program may have.")] = 64,
    reflection: Annotated[
        bool, typer.Option("--reflection", help="Tell clients such as grpcurl what calls there are.")
    ] = False,
) -> None:
    """Evaluate programs and configs for searches on other machines, one at a time, until Ctrl-C.

    Peers submit programs and configs, never paths or code. Any address but this host's own demands TLS
    (--certificate, --key) and clients that are known (--client-authority or --token-file).
    """
    from autotune.database.store import default_path
    from autotune.remote.credentials import ServerCredentials
    from autotune.remote.packages import require_grpc
    from autotune.targets import open_target

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    def opened() -> Target:
        return open_target(target, time_limit=evaluation_time_limit)

    def ready(address: Address) -> None:
        typer.echo(f"serving {target} at {SCHEME}{address}")

    try:
        if target.startswith(SCHEME):
            raise errors.AutotuneError(f"--target {target}: a server serves a target of its own, not another server's")
        address = parse_address(listen, option="--listen")
        credentials = ServerCredentials(certificate, key, client_authority, token_file)
        credentials.check(address)
        require_grpc()
        import asyncio

        from autotune.remote.server import ServerOptions
        from autotune.remote.server import serve as run

        options = ServerOptions(address, credentials, database or default_path(), largest_program << 20, reflection)
        asyncio.run(run(opened, options, ready))
    except errors.AutotuneError as error:
        fail(error, as_json=False)


@servers_commands.command()
def status(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="HOST:PORT, with or without grpc://.")],
    authority: Authority = None,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what servers are and how busy they are; the exit code is 7 if one does not answer."""
    from autotune.remote.packages import require_grpc

    try:
        asked = [each for text in addresses for each in parse_addresses(text, option="ADDRESS")]
        credentials = client_credentials(authority, token_file, certificate, key)
        require_grpc(quiet=True)
        from autotune.remote.status import ask, render

        found = ask(asked, credentials)
    except errors.AutotuneError as error:
        fail(error, as_json)
    if as_json:
        typer.echo(json.dumps({"servers": [each.to_json() for each in found]}, indent=2))
    else:
        console().print(render(found))
    silent = [each for each in found if each.facts is None]
    if silent:
        raise typer.Exit(7)
