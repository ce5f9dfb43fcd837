"""One server of a pool: whether it is there, and what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import UnsupportedProgramError
from autotune.hlo.modules import digest as module_digest
from autotune.remote.address import SCHEME, Address
from autotune.remote.connection import (
    Connection,
    LostServerError,
    RejectedError,
    ServerFacts,
    UnknownProgramError,
)
from autotune.remote.station import program_id
from protos import measurement_pb2 as messages


@dataclass
class Submission:
    """A program (or a kernel) on its way to servers.

    Attributes:
        name: for messages.
        request: what is sent.
        digest: of what the first server made of it; configs name nodes of that, so the others must agree.
    """

    name: str
    request: messages.PrepareRequest
    digest: str = ""
    identity: str = field(init=False)
    """What calls name it by."""

    def __post_init__(self) -> None:
        self.identity = program_id(self.request.module or self.request.kernel)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.request.module) + len(self.request.kernel)


class Member:
    """A server and the line to it.

    Args:
        address: of the server.
        connect: opens a line.
    """

    def __init__(self, address: Address, connect: Callable[[Address], Connection]) -> None:
        self.address = address
        self._connect = connect
        self._connection: Connection | None = None
        self._programs: set[str] = set()
        self._facts: ServerFacts | None = None
        self.problem = "not asked yet"
        """Why it cannot be used; "" if it can."""
        self.rejected = False
        """Whether it will not be asked again."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.address}"

    @property
    def up(self) -> bool:
        """Whether it can be used."""
        return not self.problem

    @property
    def facts(self) -> ServerFacts:
        """What it has said of itself."""
        assert self._facts is not None
        return self._facts

    async def connect(self) -> ServerFacts:
        """Open a line, a fresh one after a loss.

        Raises:
            LostServerError: it does not answer.
            RejectedError: it does not want us.
        """
        await self.close()
        self._programs.clear()  # a server that was started again knows nothing
        self._connection = self._connect(self.address)
        self._facts = await self._connection.describe()
        return self._facts

    async def prepare(self, submission: Submission) -> messages.PreparedProgram:
        """Submit a program.

        Raises:
            UnsupportedProgramError: the server does not take it.
            RejectedError: this server makes something else of it than the first one.
            LostServerError, BusyServerError, AutotuneError: as `Connection.answers`.
        """
        limit = self.facts.largest_program
        if submission.size > limit:
            raise UnsupportedProgramError(
                f"program {submission.name!r} has {submission.size:,} bytes, and {self} takes {limit:,}: start that "
                "server with a larger --largest-program"
            )
        prepared = (await self._last("Prepare", submission.request)).prepared
        digest = f"{module_digest(prepared.module)} {hashlib.sha256(prepared.program).hexdigest()}"
        submission.digest = submission.digest or digest
        if digest != submission.digest:
            raise RejectedError(f"it makes another module of program {submission.name!r} than the first server does")
        self._programs.add(submission.identity)
        return prepared

    async def answers(self, submission: Submission, method: str, request: Any) -> AsyncIterator[messages.Answer]:
        """Make a call about a program, which is submitted before if the server does not have it.

        Raises:
            LostServerError, BusyServerError, RejectedError, AutotuneError: as `prepare`.
        """
        for _ in range(2):
            if submission.identity not in self._programs:
                await self.prepare(submission)
            try:
                async for answer in self._line().answers(method, request):
                    yield answer
                return
            except UnknownProgramError:
                self._programs.discard(submission.identity)
        raise LostServerError("it forgets programs as soon as it has them")

    async def answer(self, submission: Submission, method: str, request: Any) -> messages.Answer:
        """The last answer to such a call."""
        found = None
        async for answer in self.answers(submission, method, request):
            found = answer
        return _existing(found)

    async def close(self) -> None:
        """End the line."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _last(self, method: str, request: Any) -> messages.Answer:
        found = None
        async for answer in self._line().answers(method, request):
            found = answer
        return _existing(found)

    def _line(self) -> Connection:
        if self._connection is None:
            raise LostServerError("there is no line to it")
        return self._connection


def _existing(answer: messages.Answer | None) -> messages.Answer:
    if answer is None:
        raise LostServerError("the answer ended before it began")
    return answer
