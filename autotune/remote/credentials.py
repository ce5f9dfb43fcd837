"""How both sides prove who they are: TLS certificates, and a token that is read from a file.

Who can reach a server can have programs compiled and run there. So it listens on loopback only, unless it has a
certificate of its own and a way to know its clients. A token never goes over a line that others could read.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import AutotuneError
from autotune.remote.address import Address

if TYPE_CHECKING:
    import grpc

_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 4096


@dataclass(frozen=True)
class ServerCredentials:
    """What a server is given.

    Attributes:
        certificate: PEM file with its certificate and those up to the authority's; None for no TLS.
        key: PEM file with its private key.
        client_authority: PEM file; clients must have a certificate that one of these authorities signed.
        token_file: clients must know the token in it.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_authority: Path | None = None
    token_file: Path | None = None

    def check(self, address: Address) -> None:
        """Find out whether a server with these may listen there.

        Raises:
            AutotuneError: it may not; says what is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise AutotuneError("--certificate and --key: expected both or neither, found one")
        if self.client_authority is not None and self.certificate is None:
            raise AutotuneError("--client-authority: client certificates need TLS: add --certificate and --key")
        if address.is_loopback:
            return
        missing = [] if self.certificate is not None else ["--certificate FILE and --key FILE (TLS)"]
        if self.client_authority is None and self.token_file is None:
            missing.append("--client-authority FILE (client certificates) or --token-file FILE")
        if missing:
            raise AutotuneError(
                f"--listen {address}: others can reach this address, and who reaches a server can have programs run "
                f"there; add {' and '.join(missing)}, or listen on localhost and let clients in through ssh -L"
            )

    def load(self) -> grpc.ServerCredentials | None:
        """Read the files; None without TLS.

        Raises:
            AutotuneError: one cannot be read.
        """
        if self.certificate is None or self.key is None:
            return None
        import grpc

        authority = _read(self.client_authority, "--client-authority") if self.client_authority else None
        pair = (_read(self.key, "--key"), _read(self.certificate, "--certificate"))
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


@dataclass(frozen=True)
class ClientCredentials:
    """What a client is given.

    Attributes:
        authority: PEM file with the authorities that may have signed servers' certificates; None for those that
            gRPC trusts by itself (and for no TLS with servers of this host).
        certificate: PEM file with the client's own certificate; None for none.
        key: PEM file with its private key.
        token_file: has the token that servers ask for.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise AutotuneError("--server-certificate and --server-key: expected both or neither, found one")

    def load(self, address: Address) -> grpc.ChannelCredentials | None:
        """Read the files; None where a line without TLS is enough: to a server of this host.

        Raises:
            AutotuneError: one cannot be read.
        """
        if address.is_loopback and self.authority is None and self.certificate is None:
            return None
        import grpc

        return grpc.ssl_channel_credentials(
            _read(self.authority, "--server-authority") if self.authority else None,
            _read(self.key, "--server-key") if self.key else None,
            _read(self.certificate, "--server-certificate") if self.certificate else None,
        )

    def metadata(self) -> Sequence[tuple[str, str]]:
        """What goes with every call.

        Raises:
            AutotuneError: the file of the token cannot be read or is not private.
        """
        if self.token_file is None:
            return ()
        return ((TOKEN_HEADER, token_header(read_token(self.token_file, option="--server-token-file"))),)


TOKEN_HEADER = "authorization"


def token_header(token: str) -> str:
    """The value of `TOKEN_HEADER` (RFC 6750, section 2.1)."""
    return f"Bearer {token}"


def read_token(path: Path, *, option: str) -> str:
    """Read a token: one line of printable ASCII in a file that nobody else can read.

    Args:
        path: of the file.
        option: that named it, for messages.

    Raises:
        AutotuneError: the file cannot be read, others can read it, or it holds no token. Says nothing of its content.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AutotuneError(f"{option} {path}: cannot be read ({error.strerror})") from None
    if stat.S_IMODE(mode) & 0o077:
        raise AutotuneError(f"{option} {path}: others can read this file; make it private with: chmod 600 {path}")
    content = _read(path, option)
    token = content.decode("ascii", "replace").strip()
    if not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise AutotuneError(
            f"{option} {path}: expected one line of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} printable characters, found "
            f"something else; make one with: (umask 077; openssl rand -hex 32 > {path})"
        )
    return token


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AutotuneError(f"{option} {path}: cannot be read ({error.strerror})") from None
