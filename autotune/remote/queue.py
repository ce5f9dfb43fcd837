"""Whose turn it is: one request at a time, and one of each client in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque


class QueueFullError(Exception):
    """There are as many requests as the queue takes, of this client or in all."""


class Turn:
    """A request's place in the queue, from `FairQueue.enter` to `FairQueue.leave`."""

    def __init__(self, client: str) -> None:
        self.client = client
        self._came = asyncio.Event()

    @property
    def has_come(self) -> bool:
        """Whether it is this request's turn."""
        return self._came.is_set()

    def start(self) -> None:
        """It is."""
        self._came.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for the turn, but no longer than so many seconds; whether it has come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), seconds)
        return self.has_come


class FairQueue:
    """Gives turns to clients round robin, so that one with many requests does not keep the others waiting.

    To be used from one event loop.

    Args:
        most: requests that may wait in all.
        most_per_client: requests of one client that may wait.
    """

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most, self._most_per_client = most, most_per_client
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()  # the client that is next stands first
        self._running: Turn | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._running is not None

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(len(turns) for turns in self._waiting.values())

    @property
    def clients(self) -> int:
        """Clients that wait or have the turn."""
        running = {self._running.client} if self._running is not None else set()
        return len(running | self._waiting.keys())

    def enter(self, client: str) -> Turn:
        """Queue up.

        Args:
            client: whose request it is.

        Raises:
            QueueFullError: there are too many; says which limit was reached.
        """
        if self.waiting >= self._most:
            raise QueueFullError(f"{self._most} requests are waiting already")
        if len(self._waiting.get(client, ())) >= self._most_per_client:
            raise QueueFullError(f"{self._most_per_client} requests of this client are waiting already")
        turn = Turn(client)
        self._waiting.setdefault(client, deque()).append(turn)
        self._pass_on()
        return turn

    def leave(self, turn: Turn) -> None:
        """Give the turn back, or stop waiting for it."""
        if turn is self._running:
            self._running = None
            self._pass_on()
        else:
            turns = self._waiting[turn.client]
            turns.remove(turn)
            if not turns:
                del self._waiting[turn.client]

    def before(self, turn: Turn) -> int:
        """How many requests come before one, the running one included, if no others queue up; 0 when it has come."""
        if turn.has_come:
            return 0
        rounds = self._waiting[turn.client].index(turn)
        clients = list(self._waiting)
        place = clients.index(turn.client)
        of_others = sum(
            min(len(turns), rounds + (number < place))
            for number, turns in enumerate(self._waiting.values())
            if number != place
        )
        return 1 + rounds + of_others

    def _pass_on(self) -> None:
        """Let the next client have the turn; it stands last from then on."""
        if self._running is not None or not self._waiting:
            return
        client, turns = self._waiting.popitem(last=False)
        self._running = turns.popleft()
        if turns:
            self._waiting[client] = turns
        self._running.start()
