"""`autotune serve`: the server process."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from autotune.errors import AutotuneError
from autotune.remote.address import Address
from autotune.remote.credentials import TOKEN_HEADER, ServerCredentials, read_token, token_header
from autotune.remote.service import MeasurementService
from autotune.remote.station import Station
from autotune.targets.base import Target
from protos import measurement_pb2, measurement_pb2_grpc

logger = logging.getLogger("autotune.server")

LARGEST_PROGRAM: Final = 64 << 20
"""Bytes: the largest of 181 programs of the zoo has 3 MB; constants make programs large."""

SERVICE: Final = measurement_pb2.DESCRIPTOR.services_by_name["Measurement"].full_name

_ROOM_AROUND_A_PROGRAM: Final = 1 << 20
_MOST_CALLS: Final = 512
_GRACE_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0

_HEALTH: Final = "/grpc.health.v1.Health/"


@dataclass(frozen=True)
class ServerOptions:
    """How to serve.

    Attributes:
        address: where to listen.
        credentials: who the server is, and who may come in.
        database: of the evaluations made here; None for one that lives as long as the server.
        largest_program: bytes that a submitted program may have.
        reflection: whether to tell clients such as grpcurl what calls there are.
    """

    address: Address
    credentials: ServerCredentials = field(default_factory=ServerCredentials)
    database: Path | None = None
    largest_program: int = LARGEST_PROGRAM
    reflection: bool = False


async def serve(open_target: Callable[[], Target], options: ServerOptions, on_ready: Callable[[Address], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        open_target: opens the target that is served; it is used from one thread.
        options: how.
        on_ready: called with the address once calls are taken.

    Raises:
        AutotuneError: the target cannot be opened, the credentials are not enough for the address or cannot be used,
            or the address is taken.
    """
    options.credentials.check(options.address)
    token_file = options.credentials.token_file
    token = read_token(token_file, option="--token-file") if token_file is not None else None
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="target") as thread:
        station = await loop.run_in_executor(thread, partial(Station, open_target, options.database))
        try:
            async with contextlib.AsyncExitStack() as stack:
                service = MeasurementService(station, thread, options.largest_program)
                server, address, healthy = await _start(service, options, token)
                stack.push_async_callback(server.stop, _GRACE_SECONDS)
                stop = _stop_signal(loop)
                on_ready(address)
                await stop.wait()
                await healthy.enter_graceful_shutdown()
        finally:
            await _close(station, thread)


async def _close(station: Station, thread: ThreadPoolExecutor) -> None:
    """Close the station when its thread has finished what runs; who hangs there is not waited for."""
    closing = asyncio.get_running_loop().run_in_executor(thread, station.close)
    if not (await asyncio.wait([closing], timeout=_CLOSE_SECONDS))[0]:
        logger.warning("what runs does not end; it is given up")
        logging.shutdown()
        os._exit(0)  # children end with this process, and every evaluation was committed when it was made
    closing.result()


async def _start(
    service: MeasurementService, options: ServerOptions, token: str | None
) -> tuple[grpc.aio.Server, Address, Any]:
    server = grpc.aio.server(
        interceptors=[_TokenCheck(token)] if token is not None else [],
        maximum_concurrent_rpcs=_MOST_CALLS,
        options=[
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake
            ("grpc.max_receive_message_length", options.largest_program + _ROOM_AROUND_A_PROGRAM),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    measurement_pb2_grpc.add_MeasurementServicer_to_server(service, server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", SERVICE):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    if options.reflection:
        from grpc_reflection.v1alpha import reflection

        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credentials = options.credentials.load()
    wanted = str(options.address)
    try:
        port = server.add_insecure_port(wanted) if credentials is None else server.add_secure_port(wanted, credentials)
    except RuntimeError as error:
        raise AutotuneError(
            f"--listen {wanted}: cannot listen there: the address is taken by another process, is none of this host, "
            f"or the certificate and the key do not belong together ({error})"
        ) from None
    await server.start()
    return server, Address(options.address.host, port), healthy


def _stop_signal(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Set by SIGINT and SIGTERM; the second of them ends the process at once."""
    stop = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def told() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, told)
    return stop


class _TokenCheck(grpc.aio.ServerInterceptor):
    """Lets nobody in who does not know the token; health is no secret."""

    def __init__(self, token: str) -> None:
        self._expected = token_header(token).encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Look at the call's metadata, before its message is read."""
        if handler_call_details.method.startswith(_HEALTH):
            return await continuation(handler_call_details)
        found = [value for name, value in handler_call_details.invocation_metadata or () if name == TOKEN_HEADER]
        if len(found) == 1 and hmac.compare_digest(_as_bytes(found[0]), self._expected):
            return await continuation(handler_call_details)
        return _denial("wrong token" if found else "no token")


def _denial(reason: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def deny(request: Any, context: Any) -> None:
        logger.warning("%s: refused: %s", context.peer(), reason)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{reason}; this server wants the one in its --token-file")

    return grpc.stream_stream_rpc_method_handler(deny)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else value
