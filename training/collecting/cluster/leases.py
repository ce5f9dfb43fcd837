"""Who works on what: the workers of a pool, the programs in work, and their calls.

A program has a home: one worker that nobody else's program has. Its calls go there as long as there are any. A worker
without a program of its own helps others, for which it must prepare their program once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from training.collecting.cluster.resources import Need
from training.collecting.cluster.worker import WorkerFacts


class Hired(Protocol):
    """A worker on a node."""

    def start(self, method: str, *arguments: object) -> Future[Any]:
        """Begin a call."""
        ...

    def dismiss(self) -> None:
        """End it, in the middle of a call if need be."""
        ...


@dataclass
class Slot:
    """A place for a worker: whoever is lost is followed by another.

    Attributes:
        need: what the worker takes.
        losses: workers lost in a row, without an answer of any.
        closed: why there will be no other; "" while there may.
    """

    need: Need
    losses: int = 0
    closed: str = ""


@dataclass(eq=False)
class Call:
    """A call of a worker's method.

    Attributes:
        method: its name.
        arguments: of it.
        may_start: asked right before; a call that may not is cancelled.
        future: gets the value.
        losses: workers that were lost over it.
    """

    method: str
    arguments: tuple[object, ...]
    may_start: Callable[[], bool]
    future: Future[Any] = field(default_factory=Future)
    losses: int = 0


@dataclass(eq=False)
class Lease:
    """A program in work.

    Attributes:
        waiting: calls that nobody works on.
        home: the worker that is there for it; None while there is none.
        granted: done as soon as there was a home.
    """

    waiting: deque[Call] = field(default_factory=deque)
    home: Member | None = None
    granted: Future[None] = field(default_factory=Future)

    def next_call(self) -> Call | None:
        """A call that may start; those that may not are cancelled."""
        while self.waiting:
            call = self.waiting.popleft()
            if call.may_start():
                return call
            call.future.cancel()
            call.future.set_running_or_notify_cancel()  # wakes who waits for several
        return None


@dataclass(eq=False)
class Member:
    """A worker.

    Attributes:
        slot: of it.
        hired: the worker itself.
        facts: what it said of itself; None until then.
        lease, call: what it works on.
        helped: the lease that it helped last.
    """

    slot: Slot
    hired: Hired
    facts: WorkerFacts | None = None
    lease: Lease | None = None
    call: Call | None = None
    helped: Lease | None = None

    def __str__(self) -> str:
        return f"worker {self.facts.place}" if self.facts is not None else "a worker that had not started"


def next_work(member: Member, leases: Iterable[Lease]) -> tuple[Lease, Call] | None:
    """What an idle worker is to do.

    Args:
        member: the worker; it becomes the home of a lease that has none.
        leases: in the order in which they began.

    Returns:
        A call and the lease that it is of; None if there is nothing, or nothing yet.
    """
    leases = list(leases)
    own = next((lease for lease in leases if lease.home is member), None)
    if own is None:
        own = next((lease for lease in leases if lease.home is None), None)
        if own is not None:
            own.home = member
            if not own.granted.done():
                own.granted.set_result(None)
    if own is not None:
        # Without a call it waits: whoever has its program draws the next configs in a moment.
        call = own.next_call()
        return (own, call) if call is not None else None
    for lease in sorted(leases, key=lambda lease: lease is not member.helped):
        call = lease.next_call()
        if call is not None:
            member.helped = lease
            return lease, call
    return None
