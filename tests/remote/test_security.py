"""Who may come in, and what strangers can do: a clear error on one side, a healthy server on the other."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from autotune.errors import AutotuneError, ServerError
from autotune.remote.address import Address
from autotune.remote.credentials import ClientCredentials, ServerCredentials, read_token
from autotune.targets import open_target
from autotune.targets.base import Target
from protos import measurement_pb2 as messages
from protos import measurement_pb2_grpc
from tests import programs
from tests.remote.certificates import Pair, authority, issue
from tests.remote.server_process import ServerProcess, server

TOKEN = "0123456789abcdef-secret"


def token_file(folder: Path, token: str = TOKEN, name: str = "token") -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return path


def strings(**files: Path) -> dict[str, str]:
    return {name: str(path) for name, path in files.items()}


def opened(there: ServerProcess, **credentials: Path) -> Target:
    return open_target(there.url, credentials=ClientCredentials(**credentials))


def is_healthy(there: ServerProcess, channel: grpc.Channel | None = None) -> bool:
    with channel or grpc.insecure_channel(there.address) as line:
        stub: Any = health_pb2_grpc.HealthStub(line)
        answer = stub.Check(health_pb2.HealthCheckRequest(service="xla_autotune.measurement.Measurement"), timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def with_certificates(trusted: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    pair = issue(trusted, tmp_path_factory.mktemp("server"), "server")
    files = strings(certificate=pair.certificate, key=pair.key, client_authority=trusted.certificate)
    with server(credentials=files) as there:
        yield there


@pytest.fixture(scope="module")
def plain() -> Iterator[ServerProcess]:
    with server() as there:
        yield there


# ---- TLS -------------------------------------------------------------------------------------------------------------


def test_client_certificates(with_certificates: ServerProcess, trusted: Pair, tmp_path: Path) -> None:
    ours = issue(trusted, tmp_path, "client")
    with opened(with_certificates, authority=trusted.certificate, certificate=ours.certificate, key=ours.key) as target:
        assert target.prepare(programs.two_dots()).module.module == programs.two_dots().module


@pytest.mark.parametrize("case", ["no certificate", "of another authority", "no TLS", "a server not trusted"])
def test_strangers_are_told_why_and_do_no_harm(
    case: str, with_certificates: ServerProcess, trusted: Pair, tmp_path: Path
) -> None:
    other = authority(tmp_path, "other")
    theirs, ours = issue(other, tmp_path, "theirs"), issue(trusted, tmp_path, "ours")
    credentials, message = {
        "no certificate": ({"authority": trusted.certificate}, "want a --server-certificate"),
        "of another authority": (
            {"authority": trusted.certificate, "certificate": theirs.certificate, "key": theirs.key},
            "want a --server-certificate",
        ),
        "no TLS": ({}, "does the server use TLS"),
        "a server not trusted": (
            {"authority": other.certificate, "certificate": ours.certificate, "key": ours.key},
            "CERTIFICATE_VERIFY_FAILED",
        ),
    }[case]
    with pytest.raises(ServerError, match=message):
        opened(with_certificates, **credentials)
    with opened(with_certificates, authority=trusted.certificate, certificate=ours.certificate, key=ours.key):
        pass
    assert with_certificates.said("Handshake failed"), "gRPC writes failed handshakes into the log"


def test_a_certificate_for_another_host_is_not_trusted(trusted: Pair, tmp_path: Path) -> None:
    pair = issue(trusted, tmp_path, "elsewhere", "DNS:elsewhere.example")
    files = strings(certificate=pair.certificate, key=pair.key, token_file=token_file(tmp_path))
    with server(credentials=files) as there, pytest.raises(ServerError, match="Hostname Verification"):
        opened(there, authority=trusted.certificate, token_file=token_file(tmp_path))


def test_tls_to_a_server_without(plain: ServerProcess, trusted: Pair) -> None:
    with pytest.raises(ServerError, match=r"no trust between the two sides.*does the server use TLS"):
        opened(plain, authority=trusted.certificate)
    assert is_healthy(plain)


# ---- Tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [True, False], ids=["TLS", "this host"])
def test_tokens(encrypted: bool, trusted: Pair, tmp_path: Path) -> None:
    right, wrong = token_file(tmp_path), token_file(tmp_path, "another-token-than-this-one", "wrong")
    files, known = {"token_file": str(right)}, {}
    if encrypted:
        pair = issue(trusted, tmp_path, "server")
        files |= strings(certificate=pair.certificate, key=pair.key)
        known = {"authority": trusted.certificate}
    with server(credentials=files) as there:
        with opened(there, token_file=right, **known) as target:
            assert target.description.name == "known"
        with pytest.raises(ServerError, match="unauthenticated: wrong token"):
            opened(there, token_file=wrong, **known)
        with pytest.raises(ServerError, match="unauthenticated: no token"):
            opened(there, **known)
        assert there.said("refused: wrong token")
        assert there.said("refused: no token")
        assert not any(TOKEN in line or "another-token" in line for line in there.log), "no secrets in the log"
        if not encrypted:
            assert is_healthy(there), "health is no secret"


def test_files_of_tokens(tmp_path: Path) -> None:
    assert read_token(token_file(tmp_path), option="--token-file") == TOKEN
    for content in ("short", "two lines of text\nare no token", "a token with \x00 in it", "x" * 5000, "\u00e9" * 20):
        path = token_file(tmp_path, content, "bad")
        with pytest.raises(AutotuneError, match=r"expected one line of 16 to 4096 printable characters") as caught:
            read_token(path, option="--token-file")
        assert content not in str(caught.value)
    path = token_file(tmp_path)
    path.chmod(0o640)
    with pytest.raises(AutotuneError, match="others can read this file; make it private with: chmod 600"):
        read_token(path, option="--token-file")
    with pytest.raises(AutotuneError, match="No such file"):
        read_token(tmp_path / "none", option="--token-file")


# ---- Where a server may listen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "tpu-vm.example.com"])
def test_others_can_reach_no_server_without_protection(host: str) -> None:
    address, file = Address(host, 1), Path("file")
    tls = {"certificate": file, "key": file}
    with pytest.raises(AutotuneError, match=r"--certificate FILE and --key FILE \(TLS\) and --client-authority"):
        ServerCredentials().check(address)
    with pytest.raises(AutotuneError, match=r"add --certificate FILE and --key FILE \(TLS\), or listen on localhost"):
        ServerCredentials(token_file=file).check(address)
    with pytest.raises(AutotuneError, match="add --client-authority FILE"):
        ServerCredentials(**tls).check(address)
    ServerCredentials(**tls, token_file=file).check(address)
    ServerCredentials(**tls, client_authority=file).check(address)


def test_loopback_needs_none_and_halves_are_refused() -> None:
    for host in ("localhost", "127.0.0.1", "::1"):
        ServerCredentials().check(Address(host, 1))
    with pytest.raises(AutotuneError, match="expected both or neither"):
        ServerCredentials(certificate=Path("a")).check(Address("localhost", 1))
    with pytest.raises(AutotuneError, match="client certificates need TLS"):
        ServerCredentials(client_authority=Path("a")).check(Address("localhost", 1))
    with pytest.raises(AutotuneError, match="expected both or neither"):
        ClientCredentials(key=Path("a"))


def test_a_client_never_sends_a_token_over_an_open_line(tmp_path: Path) -> None:
    credentials = ClientCredentials(token_file=token_file(tmp_path))
    assert credentials.load(Address("localhost", 1)) is None
    assert credentials.load(Address("192.0.2.1", 1)) is not None, "to other hosts there is only TLS"


# ---- Nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff" * 5000, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 999]
)
def test_garbage_bytes(garbage: bytes, plain: ServerProcess) -> None:
    with (
        socket.create_connection(("localhost", plain.port), timeout=30) as line,
        contextlib.suppress(ConnectionError),
    ):
        line.sendall(garbage)
        while line.recv(65_536):
            pass  # until the server hangs up
    assert is_healthy(plain)


def test_messages_that_are_too_large() -> None:
    with server(options={"largest_program": 1 << 20}) as there:
        with grpc.insecure_channel(there.address, [("grpc.max_send_message_length", -1)]) as line:
            stub: Any = measurement_pb2_grpc.MeasurementStub(line)
            with pytest.raises(grpc.RpcError) as much:
                list(stub.Prepare(messages.PrepareRequest(module=bytes(10 << 20)), timeout=60))
            assert much.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            with pytest.raises(grpc.RpcError) as little:
                list(stub.Prepare(messages.PrepareRequest(module=bytes((1 << 20) + 1)), timeout=60))
            assert little.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "this server takes 1,048,576" in str(little.value.details())
        assert there.said("refused: a program of 1,048,577 bytes")
        assert is_healthy(there)


def call(there: ServerProcess, method: str, request: Any) -> grpc.RpcError:
    with grpc.insecure_channel(there.address) as line:
        stub: Any = measurement_pb2_grpc.MeasurementStub(line)
        with pytest.raises(grpc.RpcError) as caught:
            list(getattr(stub, method)(request, timeout=60))
    return caught.value


@pytest.mark.parametrize(
    ("method", "request_", "code", "words"),
    [
        ("Prepare", messages.PrepareRequest(), "INVALID_ARGUMENT", "expected a serialized HloModuleProto"),
        ("Prepare", messages.PrepareRequest(module=b"\xff" * 99), "INVALID_ARGUMENT", "99 bytes of something else"),
        ("Prepare", messages.PrepareRequest(module=b"/etc/passwd"), "INVALID_ARGUMENT", "expected a serialized Hlo"),
        ("Prepare", messages.PrepareRequest(module=b"HloModule m"), "INVALID_ARGUMENT", "expected a serialized Hlo"),
        ("Prepare", messages.PrepareRequest(kernel=b"\xff" * 99), "INVALID_ARGUMENT", "expected a kernel"),
        ("DescribeSpace", messages.SpaceRequest(program="../../x", kind="layout"), "NOT_FOUND", "does not have"),
        ("Evaluate", messages.EvaluateRequest(program="x"), "INVALID_ARGUMENT", "0 configs in one request"),
        ("Evaluate", messages.EvaluateRequest(program="x", configs=["{}"] * 65), "INVALID_ARGUMENT", "65 configs"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(method: str, request_: Any, code: str, words: str, plain: ServerProcess) -> None:
    error: Any = call(plain, method, request_)
    assert error.code() is grpc.StatusCode[code]
    assert words in error.details()
    assert is_healthy(plain)


@pytest.mark.parametrize("config", ["", "{", "[]", "null", "[" * 50_000, '"/etc/passwd"'])
def test_configs_that_are_none(config: str, plain: ServerProcess) -> None:
    with open_target(plain.url) as target:
        target.prepare(programs.two_dots())
    from autotune.remote.station import program_id

    program = program_id(programs.two_dots().module)
    error: Any = call(plain, "Evaluate", messages.EvaluateRequest(program=program, configs=[config], purpose="search"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = call(plain, "Evaluate", messages.EvaluateRequest(program=program, configs=["{}"], purpose="fun"))
    assert "purpose 'fun': expected search or confirm" in error.details()


@pytest.mark.parametrize(
    "config", ['{"layouts": [{"node": 99, "tensor": 0, "minor_to_major": [0, 1]}]}', '{"layouts": 3}', '{"tile": {}}']
)
def test_configs_of_another_space_are_refused(config: str, plain: ServerProcess) -> None:
    with open_target(plain.url) as target:
        target.prepare(programs.two_dots())
    from autotune.remote.station import program_id

    request = messages.EvaluateRequest(
        program=program_id(programs.two_dots().module), configs=[config], purpose="search"
    )
    with grpc.insecure_channel(plain.address) as line:
        stub: Any = measurement_pb2_grpc.MeasurementStub(line)
        (answer,) = stub.Evaluate(request, timeout=60)
    assert answer.refusal.error == "SpaceError"


# ---- Health and reflection -------------------------------------------------------------------------------------------


def test_reflection_only_on_request(plain: ServerProcess) -> None:
    with server(options={"reflection": True}) as there, grpc.insecure_channel(there.address) as line:
        found = ProtoReflectionDescriptorDatabase(line).get_services()
        assert "xla_autotune.measurement.Measurement" in found
    with grpc.insecure_channel(plain.address) as line, pytest.raises(grpc.RpcError) as caught:
        ProtoReflectionDescriptorDatabase(line).get_services()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_second_server_does_not_share_the_port(plain: ServerProcess) -> None:
    second = ServerProcess(port=plain.port)
    with pytest.raises(RuntimeError, match="the address is taken by another process"):
        second.start()
