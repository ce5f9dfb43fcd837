"""The workers of a cluster, and the calls that they are given.

A worker that is lost (killed, its node gone) costs the call that it was working on: that is made again, by another,
a few times. Somebody else is hired in its place, who starts as soon as the cluster has room.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from autotune.errors import AutotuneError, WorkerError
from training.collecting.cluster.leases import Call, Hired, Lease, Member, Slot, next_work
from training.collecting.cluster.resources import Need
from training.collecting.cluster.worker import OtherModuleError, WorkerFacts
from training.errors import ClusterError

logger = logging.getLogger(__name__)

_TICK: Final = 0.5
"""Seconds between two looks at the clock."""


@dataclass(frozen=True)
class PoolOptions:
    """How much a pool puts up with.

    Attributes:
        starting: seconds that a collection waits for all workers to start; it begins with those that have by then.
        patience: seconds without any worker after which it ends.
        attempts: workers that one call may cost.
        losses: workers lost in a row, without an answer, after which nobody is hired in their place.
    """

    starting: float = 75.0
    patience: float = 180.0
    attempts: int = 3
    losses: int = 3


class LostCallError(WorkerError):
    """A call cost more workers than it may."""


class WorkerPool:
    """Workers of equal devices and compilers. Methods may be called from any thread.

    Args:
        needs: what each worker takes.
        hire: starts one.
        outcome: the value of a call that has ended; raises ConnectionError if the worker is lost.
        options: how much it puts up with.
        free: what the cluster has left, for messages.
    """

    def __init__(
        self,
        needs: Sequence[Need],
        hire: Callable[[Need], Hired],
        outcome: Callable[[Future[Any]], Any],
        *,
        options: PoolOptions | None = None,
        free: Callable[[], str] = lambda: "unknown",
    ) -> None:
        self._hire, self._outcome, self._free = hire, outcome, free
        self._options = options or PoolOptions()
        self._slots = [Slot(need) for need in needs]
        self._members: list[Member] = []
        self._leases: list[Lease] = []
        self._agreed: Future[WorkerFacts] = Future()
        self._broken: ClusterError | None = None
        self._began = self._last_up = time.monotonic()
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock, self._ended_for_good = threading.Lock(), False
        for slot in self._slots:
            self._fill(slot)
        self._thread = threading.Thread(target=self._run, name="autotune-cluster", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return len(self._slots)

    def facts(self) -> WorkerFacts:
        """What the workers say of themselves; waits until they have.

        Raises:
            ClusterError: they disagree, or none starts.
        """
        return self._agreed.result()

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """For the calls of one program; entering waits for a worker.

        Raises:
            ClusterError: there is none any more.
        """
        lease = Lease()
        self._post(partial(self._begin, lease))
        try:
            lease.granted.result()
            yield lease
        finally:
            self._post(partial(self._end, lease))

    def call(
        self, lease: Lease, method: str, *arguments: object, may_start: Callable[[], bool] = lambda: True
    ) -> Future[Any]:
        """Have a worker do something.

        Returns:
            Its value; or it is cancelled, if it may not start; or it has a LostCallError (it cost too many workers), a
            ClusterError (there is none any more) or what the method raised.
        """
        call = Call(method, arguments, may_start)
        self._post(partial(self._submit, lease, call))
        return call.future

    def close(self) -> None:
        """End all workers, at once; calls that have not ended never will, and say so."""
        self._events.put(partial(self._break, ClusterError("the cluster is not used any more")))
        self._events.put(None)
        self._thread.join()
        with self._lock:
            self._ended_for_good = True
            while not self._events.empty():
                event = self._events.get()
                if event is not None:
                    event()

    def _post(self, event: Callable[[], None]) -> None:
        """Have something happen in the pool's own thread; here, if that has ended: nobody waits for ever."""
        with self._lock:
            if self._ended_for_good:
                event()
            else:
                self._events.put(event)

    # All of the following happens in the pool's own thread.

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=_TICK)
            except queue.Empty:
                event = self._look_at_the_clock
            if event is None:
                break
            try:
                event()
                self._distribute()
            except Exception as error:  # a bug, or Ray itself: nobody must wait for ever
                logger.exception("the pool of workers broke")
                self._break(ClusterError(f"the pool of workers broke: {type(error).__name__}: {error}"))
        for member in self._members:
            member.hired.dismiss()

    def _begin(self, lease: Lease) -> None:
        if self._broken is not None:
            lease.granted.set_exception(self._broken)
        else:
            self._leases.append(lease)

    def _end(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)

    def _submit(self, lease: Lease, call: Call) -> None:
        if self._broken is not None:
            call.future.set_exception(self._broken)
        else:
            lease.waiting.append(call)

    def _fill(self, slot: Slot) -> None:
        """Hire a worker and ask it what it is."""
        member = Member(slot, self._hire(slot.need))
        self._members.append(member)
        self._start(member, None, "open", ())

    def _start(self, member: Member, call: Call | None, method: str, arguments: tuple[object, ...]) -> None:
        member.call = call
        future = member.hired.start(method, *arguments)
        future.add_done_callback(lambda ended: self._post(partial(self._ended, member, ended)))

    def _ended(self, member: Member, ended: Future[Any]) -> None:
        """A call has ended, or the first one of a worker, by which it says what it is."""
        if member not in self._members or self._broken is not None:
            return
        lease, call = member.lease, member.call
        member.lease = member.call = None
        try:
            value = self._outcome(ended)
        except ConnectionError as error:
            self._lose(member, lease, call, str(error))
        except OtherModuleError as error:
            self._give_back(lease, call, str(error))
            self._reject(member, str(error))
        except Exception as error:
            if call is not None:
                member.slot.losses = 0
                call.future.set_exception(error)
            else:
                self._reject(member, str(error) if isinstance(error, AutotuneError) else repr(error))
        else:
            if call is not None:
                member.slot.losses = 0
                call.future.set_result(value)
            else:
                self._welcome(member, value)

    def _welcome(self, member: Member, facts: WorkerFacts) -> None:
        member.facts = facts
        if self._agreed.done() and self._broken is None:
            difference = self._agreed.result().difference(facts)
            if difference:
                self._reject(member, difference)
        self._agree()

    def _lose(self, member: Member, lease: Lease | None, call: Call | None, reason: str) -> None:
        self._remove(member)
        slot = member.slot
        slot.losses += 1
        if slot.losses >= self._options.losses:
            slot.closed = f"lost {slot.losses} times in a row: {reason}"
            logger.warning("%s: %s; nobody else is hired in its place", member, slot.closed)
        else:
            logger.warning("%s: lost (%s); another one is hired", member, reason)
            self._fill(slot)
        self._give_back(lease, call, f"{member}: {reason}")
        self._agree()

    def _reject(self, member: Member, reason: str) -> None:
        """Do without a worker, and without others in its place."""
        self._remove(member)
        member.hired.dismiss()
        member.slot.closed = reason
        logger.warning("%s: not used: %s", member, reason)
        self._agree()

    def _remove(self, member: Member) -> None:
        if member.facts is not None:
            self._last_up = time.monotonic()
        self._members.remove(member)
        for lease in self._leases:
            if lease.home is member:
                lease.home = None

    def _give_back(self, lease: Lease | None, call: Call | None, reason: str) -> None:
        if lease is None or call is None:
            return
        call.losses += 1
        if call.losses >= self._options.attempts:
            call.future.set_exception(LostCallError(f"{call.losses} workers were lost over it; the last, {reason}"))
        else:
            lease.waiting.appendleft(call)

    def _distribute(self) -> None:
        if not self._agreed.done() or self._broken is not None:
            return
        homes = {lease.home for lease in self._leases}
        idle = [member for member in self._members if member.facts is not None and member.call is None]
        for member in sorted(idle, key=lambda member: member not in homes):
            work = next_work(member, self._leases)
            if work is not None:
                member.lease, call = work
                self._start(member, call, call.method, call.arguments)

    def _agree(self) -> None:
        """Once all workers have started, or long enough after the first: are they equal?"""
        if self._agreed.done():
            return self._despair()
        up = [member for member in self._members if member.facts is not None]
        late = time.monotonic() >= self._began + self._options.starting
        if not up or (len(up) < len(self._members) and not late):
            return self._despair()
        first = up[0].facts
        assert first is not None
        if any(first.difference(member.facts) for member in up if member.facts is not None):
            self._break(ClusterError(_disagreement([member.facts for member in up if member.facts is not None])))
        else:
            self._agreed.set_result(first)
        return None

    def _look_at_the_clock(self) -> None:
        self._agree()

    def _despair(self) -> None:
        """End everything if there is no worker left, and none will come."""
        if any(member.facts is not None for member in self._members):
            self._last_up = time.monotonic()
            return
        problems = "; ".join(Counter(slot.closed for slot in self._slots if slot.closed)) or "none was refused"
        if not self._members:
            self._break(ClusterError(f"no worker is left: {problems}"))
        elif time.monotonic() >= self._last_up + self._options.patience:
            self._break(
                ClusterError(
                    f"for {self._options.patience:.0f} seconds no worker has started ({problems}); the cluster has "
                    f"free: {self._free()}; wait for other jobs to end, or start further nodes"
                )
            )

    def _break(self, error: ClusterError) -> None:
        """Whoever waits, or comes, is told."""
        if self._broken is not None:
            return
        self._broken = error
        if not self._agreed.done():
            self._agreed.set_exception(error)
        for lease in self._leases:
            if not lease.granted.done():
                lease.granted.set_exception(error)
            for call in lease.waiting:
                call.future.set_exception(error)
            lease.waiting.clear()
        for member in self._members:
            if member.call is not None:
                member.call.future.set_exception(error)
                member.call = None


def _disagreement(found: Sequence[WorkerFacts]) -> str:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for facts in found:
        about = facts.description
        groups.setdefault((about.device_kind, about.compiler_version, facts.tool), []).append(facts.place)
    listed = "; ".join(
        f"{device}, {compiler}, xla-autotune {tool}: {', '.join(places)}"
        for (device, compiler, tool), places in groups.items()
    )
    return (
        f"expected workers of one device and one compiler, found {len(groups)} kinds, whose numbers cannot be "
        f"compared: {listed}; start the cluster with hosts of one kind (ray start --num-cpus 0 keeps a node out), and "
        "install the same versions"
    )
