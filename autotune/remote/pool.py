"""Several servers that share the configs of one search.

A server that dies, hangs or is cut off costs what it was evaluating: that is evaluated again by whichever server has
time. Lost servers are asked again and again, at growing intervals, and taken back when they answer. The search ends
when all of them have been away for longer than its patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from autotune.errors import AutotuneError, ServerError
from autotune.remote.address import Address
from autotune.remote.connection import BusyServerError, Connection, LostServerError, RejectedError
from autotune.remote.credentials import ClientCredentials
from autotune.remote.member import Member, Submission
from autotune.targets.base import TargetDescription
from protos import measurement_pb2 as messages

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 20.0
_BUSY_PAUSE: Final = 1.0
_TICK: Final = 1.0
"""Seconds after which whoever waits looks at the clock."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class PoolOptions:
    """How much a pool puts up with.

    Attributes:
        silence: seconds without a sign of life after which a server is taken for lost.
        deadline: seconds that a call may take in all, its time in the server's queue included.
        patience: seconds that a search waits when no server is left.
        attempts: servers that one config may cost; after that it has failed.
    """

    silence: float = 20.0
    deadline: float = 7200.0
    patience: float = 120.0
    attempts: int = 3


@dataclass(frozen=True)
class LostEvaluation:
    """A config without an evaluation, since the servers that worked on it were lost."""

    reason: str


@dataclass
class _Work:
    """The configs of one call.

    Attributes:
        configs: as JSON.
        together: whether all must be evaluated by one server, in one call.
        waiting: places of those that nobody works on.
        results: by place; None while there is none.
        attempts: by place, how many servers were lost over it.
    """

    configs: Sequence[str]
    together: bool
    waiting: deque[int] = field(default_factory=deque)
    results: list[messages.Evaluation | LostEvaluation | None] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting.extend(range(len(self.configs)))
        self.results.extend([None] * len(self.configs))
        self.attempts.extend([0] * len(self.configs))

    @property
    def done(self) -> bool:
        """Whether every config has a result."""
        return all(result is not None for result in self.results)

    def take(self, most: int) -> list[int]:
        """Places of configs for one server."""
        count = len(self.waiting) if self.together else min(most, len(self.waiting))
        return [self.waiting.popleft() for _ in range(count)]

    def give_back(self, places: Sequence[int], *, lost: str = "", attempts: int = 0) -> None:
        """What a server did not get done.

        Args:
            places: that it took.
            lost: why the server was lost over them; "" if it was not.
            attempts: after which a config has failed.
        """
        for place in places:
            if self.results[place] is None:
                self.attempts[place] += bool(lost)
                if lost and self.attempts[place] >= attempts:
                    self.results[place] = LostEvaluation(f"{attempts} times the server was lost meanwhile; {lost}")
                else:
                    self.waiting.append(place)


class _Changes:
    """Wakes everyone who waits for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def announce(self) -> None:
        """Something changed."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        while not condition():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), _TICK)


class Pool:
    """Servers of equal device kinds and compilers. All methods run in the shared loop (`autotune.remote.loop`).

    Args:
        addresses: of the servers.
        credentials: the client's, for all of them.
        options: how much it puts up with.
    """

    def __init__(self, addresses: Sequence[Address], credentials: ClientCredentials, options: PoolOptions) -> None:
        def connect(address: Address) -> Connection:
            return Connection(address, credentials, silence=options.silence, deadline=options.deadline)

        self.members = [Member(address, connect) for address in addresses]
        self._options = options
        self._changes = _Changes()
        self._last_up = time.monotonic()
        self._returning: set[asyncio.Task[None]] = set()
        self._description: TargetDescription | None = None

    @property
    def description(self) -> TargetDescription:
        """What all servers agree on."""
        assert self._description is not None
        return self._description

    @property
    def parallel(self) -> int:
        """Configs that all servers that are there take at once."""
        return max(1, sum(member.facts.parallel for member in self.members if member.up))

    @property
    def takes_programs_apart(self) -> bool:
        """Whether the servers have kernels."""
        return all(member.facts.takes_programs_apart for member in self.members if member.up)

    async def open(self) -> None:
        """Open lines to all servers; those that do not answer are waited for in the background.

        Raises:
            ServerError: none answers, one does not want us, or they do not agree.
        """
        outcomes = await asyncio.gather(*(self._try(member) for member in self.members))
        problems = [problem for problem in outcomes if isinstance(problem, RejectedError)]
        there = [member for member in self.members if member.up]
        if problems or not there:
            raise ServerError(f"no search with these servers: {self._problems()}")
        self._description = there[0].facts.description
        for member in there[1:]:
            if difference := self._difference(member):
                raise ServerError(f"{there[0]} and {member} cannot share a search: {difference}")
        for member in self.members:
            if not member.up:
                self._lose(member, member.problem)

    async def prepare(self, submission: Submission) -> messages.PreparedProgram:
        """Have one server prepare a program; the others do when they need it.

        Raises:
            ServerError: no server is left.
            AutotuneError: the target says no to the program.
        """
        return await self._on_one(submission, lambda member: member.prepare(submission))

    async def answer(self, submission: Submission, method: str, request: Any) -> messages.Answer:
        """Have one server answer a call about a program.

        Raises:
            ServerError: no server is left.
            AutotuneError: the target says no.
        """
        return await self._on_one(submission, lambda member: member.answer(submission, method, request))

    async def evaluate(
        self, submission: Submission, configs: Sequence[str], *, purpose: str, repeat: bool
    ) -> list[messages.Evaluation | LostEvaluation]:
        """Share configs among the servers; those to confirm go to one, to be measured in one rotation.

        Args:
            submission: of their program.
            configs: as JSON.
            purpose: "search" or "confirm".
            repeat: evaluate also what the servers' databases have.

        Returns:
            One per config, in the given order.

        Raises:
            ServerError: no server is left and none of the configs is evaluated. If some are, the others are returned
                as lost, so that nothing that was measured is lost with them.
        """
        work = _Work(configs, together=purpose == "confirm")
        workers = [
            asyncio.create_task(self._work(member, submission, work, purpose, repeat)) for member in self.members
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if not any(isinstance(result, messages.Evaluation) for result in work.results) and not work.done:
            raise self._nobody_left()
        return [result or LostEvaluation(f"no server is left: {self._problems()}") for result in work.results]

    async def close(self) -> None:
        """End all lines."""
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        await asyncio.gather(*(member.close() for member in self.members))

    # -- work -----------------------------------------------------------------------------------------------------

    async def _work(self, member: Member, submission: Submission, work: _Work, purpose: str, repeat: bool) -> None:
        """Have one server evaluate configs as long as there are any and it is there."""
        while True:
            await self._changes.until(lambda: work.done or self._hopeless or bool(member.up and work.waiting))
            if work.done or not (member.up and work.waiting):
                return
            there = sum(each.up for each in self.members)
            places = work.take(min(member.facts.parallel, math.ceil(len(work.waiting) / there)))
            request = messages.EvaluateRequest(
                program=submission.identity,
                configs=[work.configs[place] for place in places],
                purpose=purpose,
                repeat=repeat,
            )
            lost = ""
            try:
                left = deque(places)
                async for answer in member.answers(submission, "Evaluate", request):
                    if not left:
                        raise RejectedError("it sends more evaluations than it was asked for")
                    work.results[left.popleft()] = answer.evaluation
                if left:
                    raise RejectedError("it sends fewer evaluations than it was asked for")
            except LostServerError as error:
                lost = f"{member}: {error}"
                self._lose(member, str(error))
            except BusyServerError:
                await asyncio.sleep(_BUSY_PAUSE)
            except (RejectedError, AutotuneError) as error:
                self._reject(member, str(error))
            finally:
                work.give_back(places, lost=lost, attempts=self._options.attempts)
                self._changes.announce()

    async def _on_one(self, submission: Submission, call: Callable[[Member], Coroutine[Any, Any, Value]]) -> Value:
        for _ in range(self._options.attempts):
            while True:
                await self._changes.until(lambda: self._hopeless or any(member.up for member in self.members))
                member = next((each for each in self.members if each.up), None)
                if member is None:
                    raise self._nobody_left()
                try:
                    return await call(member)
                except BusyServerError:
                    await asyncio.sleep(_BUSY_PAUSE)
                except RejectedError as error:
                    self._reject(member, str(error))
                except LostServerError as error:
                    self._lose(member, str(error))
                    break
        raise ServerError(
            f"program {submission.name!r}: {self._options.attempts} times the server was lost meanwhile: "
            f"{self._problems()}"
        )

    # -- who is there ---------------------------------------------------------------------------------------------

    @property
    def _hopeless(self) -> bool:
        if any(member.up for member in self.members):
            return False
        return (
            all(member.rejected for member in self.members) or time.monotonic() - self._last_up > self._options.patience
        )

    def _nobody_left(self) -> ServerError:
        return ServerError(
            f"no measurement server is left; what was evaluated is in the database, and the same command goes on from "
            f"there: {self._problems()}"
        )

    def _problems(self) -> str:
        return "; ".join(f"{member}: {member.problem}" for member in self.members if member.problem)

    def _difference(self, member: Member) -> str:
        ours, theirs = self.description, member.facts.description
        for name in ("device_kind", "compiler_version", "name", "label"):
            if getattr(ours, name) != getattr(theirs, name):
                what = name.replace("_", " ").replace("name", "target")
                return f"expected the {what} {getattr(ours, name)!r}, found {getattr(theirs, name)!r}"
        return ""

    async def _try(self, member: Member) -> Exception | None:
        """Open a line; what went wrong is also noted."""
        try:
            await member.connect()
        except (LostServerError, RejectedError) as error:
            member.problem, member.rejected = str(error), isinstance(error, RejectedError)
            return error
        member.problem = ""
        self._last_up = time.monotonic()
        return None

    def _lose(self, member: Member, reason: str) -> None:
        """Do without a server until it answers again."""
        if member.up:
            self._last_up = time.monotonic()
        member.problem = reason
        logger.warning("%s: lost (%s); it is asked again until it answers", member, reason)
        task = asyncio.create_task(self._take_back(member))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)
        self._changes.announce()

    def _reject(self, member: Member, reason: str) -> None:
        """Do without a server for good."""
        member.problem, member.rejected = reason, True
        logger.warning("%s: not used any more: %s", member, reason)
        self._changes.announce()

    async def _take_back(self, member: Member) -> None:
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # or all clients would come at once
            pause = min(2 * pause, _LONGEST_PAUSE)
            problem = await self._try(member)
            if isinstance(problem, RejectedError):
                return self._reject(member, str(problem))
            if problem is None:
                if difference := self._difference(member):
                    return self._reject(member, f"it came back as another: {difference}")
                logger.warning("%s: back", member)
                return self._changes.announce()
