"""Where a server listens: HOST:PORT, and whether that is this host alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from autotune.errors import AutotuneError

SCHEME = "grpc://"
DEFAULT_PORT = 8470


@dataclass(frozen=True)
class Address:
    """A host and a port.

    Attributes:
        host: a name, or an IPv4 or IPv6 address without brackets.
        port: 0 to let the system choose one (to listen on).
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it. Names other than localhost are not looked up: a name may change."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, *, option: str) -> Address:
    """Read HOST, HOST:PORT, [IPv6]:PORT, each also with grpc:// before it.

    Args:
        text: what the user wrote.
        option: where, for messages.

    Raises:
        AutotuneError: it is none of these.
    """
    rest = text.removeprefix(SCHEME)
    if rest.startswith("["):
        host, closed, port = rest[1:].partition("]")
        valid = bool(closed) and (not port or port.startswith(":"))
        port = port[1:]
    else:
        host, _, port = rest.partition(":")
        valid = ":" not in port and "/" not in host
    number = int(port) if port.isascii() and port.isdigit() else DEFAULT_PORT if not port else -1
    if not valid or not host or not 0 <= number <= 65_535:
        raise AutotuneError(f"{option} {text!r}: expected HOST:PORT, such as localhost:{DEFAULT_PORT} or [::1]:8470")
    return Address(host, number)


def parse_addresses(text: str, *, option: str) -> list[Address]:
    """Read addresses with commas between them.

    Raises:
        AutotuneError: one is none, or stands there twice.
    """
    addresses = [parse_address(part.strip(), option=option) for part in text.split(",")]
    twice = next((each for each in addresses if addresses.count(each) > 1), None)
    if twice is not None:
        raise AutotuneError(f"{option} {text!r}: {twice} stands there twice; each server once")
    return addresses
