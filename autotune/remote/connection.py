"""A line to one server: calls with deadlines, and one of three answers: a result, a refusal, or no server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc

from autotune import errors
from autotune.remote.address import SCHEME, Address
from autotune.remote.credentials import ClientCredentials
from autotune.remote.messages import INSTANCE_HEADER, PROTOCOL, UNFORESEEN, MessageError, description_from_message
from autotune.targets.base import TargetDescription
from protos import measurement_pb2 as messages
from protos import measurement_pb2_grpc

DESCRIBE_SECONDS: Final = 10.0
"""For a server to say what it is: it does so beside its queue."""

_LARGEST_ANSWER: Final = 1 << 30

_RECONNECT_MS: Final = 100

_MISTRUST: Final = re.compile(r"certificate|handshake|WRONG_VERSION_NUMBER|Verification", re.IGNORECASE)
"""What gRPC says when TLS does not come about; by its code it could be any loss."""

_CONNECTING: Final = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: ")
_CLOSED: Final = re.compile(_CONNECTING.pattern + r".*Socket closed")
"""What gRPC says when the other side hangs up before there is a line: it expects TLS, or a certificate."""

_FINAL_CODES: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)

_ABOUT_THE_PROGRAM: Final = (errors.UnsupportedProgramError, errors.SpaceError)
"""Refusals that read the same wherever the target is."""


class LostServerError(Exception):
    """The server is gone, does not answer, or its line broke; it may come back."""


class BusyServerError(Exception):
    """The server's queue is full."""


class UnknownProgramError(Exception):
    """The server does not have the program (any more)."""


class RejectedError(Exception):
    """The server will not serve us, or is none of ours: trying again is of no use."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself.

    Attributes:
        description: of its target.
        tool_version: of xla-autotune there.
        parallel: configs that are best given to one call.
        takes_programs_apart: whether it has kernels.
        largest_program: bytes that a program may have.
        waiting: requests in its queue.
        clients: that have requests there.
        busy: whether it works on one now.
        evaluations: made since its start.
        uptime: seconds since its start.
    """

    description: TargetDescription
    tool_version: str
    parallel: int
    takes_programs_apart: bool
    largest_program: int
    waiting: int
    clients: int
    busy: bool
    evaluations: int
    uptime: float


class Connection:
    """A line to a server; to be used from the shared loop.

    Args:
        address: of the server.
        credentials: the client's.
        silence: seconds without a sign of life after which a server is taken for lost.
        deadline: seconds that a call may take in all.
    """

    def __init__(self, address: Address, credentials: ClientCredentials, *, silence: float, deadline: float) -> None:
        self._address, self._silence, self._deadline = address, silence, deadline
        self._metadata = tuple(credentials.metadata())
        secret = credentials.load(address)
        self._encrypted = secret is not None
        self._instance = ""
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),  # a new line does not wait for the pause of an old one
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS),
            ("grpc.max_receive_message_length", _LARGEST_ANSWER),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        name = str(address)
        self._channel = (
            grpc.aio.insecure_channel(name, options)
            if secret is None
            else grpc.aio.secure_channel(name, secret, options)
        )
        self._stub: Any = measurement_pb2_grpc.MeasurementStub(self._channel)

    async def describe(self, seconds: float = DESCRIBE_SECONDS) -> ServerFacts:
        """Ask a server what it is.

        Raises:
            LostServerError: it does not answer.
            RejectedError: it does not let us in, or speaks another language.
        """
        try:
            found: messages.ServerDescription = await self._stub.Describe(
                messages.DescribeRequest(), timeout=seconds, metadata=self._metadata
            )
            if found.protocol != PROTOCOL:
                raise MessageError(f"expected protocol {PROTOCOL}, found {found.protocol}")
            description = description_from_message(found.target)
            self._instance = found.instance
        except grpc.RpcError as error:
            raise self._failure(error) from None
        except MessageError as error:
            versions = "install the same version of xla-autotune on both sides"
            raise RejectedError(f"it speaks another language than this client ({error}); {versions}") from None
        return ServerFacts(
            description,
            found.tool_version,
            max(1, found.parallel),
            found.takes_programs_apart,
            found.largest_program_bytes,
            found.waiting,
            found.clients,
            found.busy,
            found.evaluations,
            found.uptime_seconds,
        )

    async def answers(self, method: str, request: Any) -> AsyncIterator[messages.Answer]:
        """Make a call to the server that has described itself, and pass on its answers but for the signs of life.

        Args:
            method: name of a method of the service that answers with a stream.
            request: its message.

        Raises:
            LostServerError: the line broke, or there was no sign of life for too long.
            BusyServerError: the server has too much to do.
            UnknownProgramError: the program must be submitted again.
            RejectedError: the server does not want us.
            AutotuneError: of the class that the target raised.
        """
        metadata = (*self._metadata, (INSTANCE_HEADER, self._instance))
        call = getattr(self._stub, method)(request, timeout=self._deadline, metadata=metadata)
        try:
            while True:
                try:
                    answer = await asyncio.wait_for(call.read(), self._silence)
                except TimeoutError:
                    raise LostServerError(f"no sign of life for {self._silence:g} s") from None
                except grpc.RpcError as error:
                    raise self._failure(error) from None
                if answer is grpc.aio.EOF:
                    await self._check_end(call)
                    return
                match answer.WhichOneof("content"):
                    case "progress":
                        continue
                    case "refusal":
                        raise self._refusal(answer.refusal)
                    case _:
                        yield answer
        finally:
            call.cancel()

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close()

    async def _check_end(self, call: Any) -> None:
        """A stream may end without an error of its own, and yet not well."""
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise self._classified(code, await call.details() or "")

    def _failure(self, error: grpc.RpcError) -> Exception:
        assert isinstance(error, grpc.aio.AioRpcError)
        return self._classified(error.code(), error.details() or "")

    def _classified(self, code: grpc.StatusCode, details: str) -> Exception:
        words = " ".join(details.split())[:600]
        advice = f"; {self._advice()}" if _CLOSED.match(words) else ""
        words = _CONNECTING.sub("", words) + advice
        match code:
            case grpc.StatusCode.NOT_FOUND:
                return UnknownProgramError()
            case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in words:
                return errors.UnsupportedProgramError(f"{SCHEME}{self._address}: the program is too large: {words}")
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return BusyServerError(words)
            case grpc.StatusCode.INVALID_ARGUMENT:
                return errors.ServerError(f"{SCHEME}{self._address}: {words}")
            case grpc.StatusCode.INTERNAL if words.endswith(UNFORESEEN):
                return errors.ServerError(f"{SCHEME}{self._address}: {words}")
            case grpc.StatusCode.UNAVAILABLE if _MISTRUST.search(words) and not advice:
                return RejectedError(f"no trust between the two sides (TLS): {words}; {self._advice()}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return LostServerError("no answer before the deadline")
        if code in _FINAL_CODES:
            return RejectedError(f"{code.name.lower().replace('_', ' ')}: {words}")
        return LostServerError(f"{code.name.lower().replace('_', ' ')}: {words}")

    def _advice(self) -> str:
        if self._encrypted:
            return (
                "does the server use TLS, is its certificate for this name and from --server-authority, and does it "
                "want a --server-certificate?"
            )
        return "does the server use TLS? Then name its --server-authority"

    def _refusal(self, refusal: messages.Refusal) -> errors.AutotuneError:
        kind = getattr(errors, refusal.error, errors.AutotuneError)
        if not (isinstance(kind, type) and issubclass(kind, errors.AutotuneError)):
            kind = errors.AutotuneError
        return kind(refusal.message if kind in _ABOUT_THE_PROGRAM else f"{SCHEME}{self._address}: {refusal.message}")
