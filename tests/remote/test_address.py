"""Where servers are."""

from __future__ import annotations

import pytest

from autotune.errors import AutotuneError
from autotune.remote.address import Address, parse_address, parse_addresses


@pytest.mark.parametrize(
    ("text", "address", "written", "loopback"),
    [
        ("localhost", Address("localhost", 8470), "localhost:8470", True),
        ("grpc://localhost:9000", Address("localhost", 9000), "localhost:9000", True),
        ("127.0.0.3:0", Address("127.0.0.3", 0), "127.0.0.3:0", True),
        ("[::1]:9", Address("::1", 9), "[::1]:9", True),
        ("[::1]", Address("::1", 8470), "[::1]:8470", True),
        ("0.0.0.0:8470", Address("0.0.0.0", 8470), "0.0.0.0:8470", False),
        ("[::]:8470", Address("::", 8470), "[::]:8470", False),
        ("localhost.example.com:1", Address("localhost.example.com", 1), "localhost.example.com:1", False),
        ("10.0.0.1:1", Address("10.0.0.1", 1), "10.0.0.1:1", False),
    ],
)
def test_addresses(text: str, address: Address, written: str, loopback: bool) -> None:
    found = parse_address(text, option="--listen")
    assert (found, str(found), found.is_loopback) == (address, written, loopback)


@pytest.mark.parametrize(
    "text", ["", ":1", "host:port", "host:70000", "host:-1", "::1", "[::1", "[::1]9", "http://a:1", "a/b"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(AutotuneError, match=r"--listen .*expected HOST:PORT"):
        parse_address(text, option="--listen")


def test_several() -> None:
    assert parse_addresses("a:1, b:2", option="x") == [Address("a", 1), Address("b", 2)]
    with pytest.raises(AutotuneError, match="stands there twice"):
        parse_addresses("a:1,grpc://a:1", option="x")
    with pytest.raises(AutotuneError, match="expected HOST:PORT"):
        parse_addresses("a:1,", option="x")
