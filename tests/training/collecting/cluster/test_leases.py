"""Who works on what, without a cluster."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from training.collecting.cluster.leases import Call, Lease, Member, Slot, next_work
from training.collecting.cluster.resources import Need


class _Nobody:
    def start(self, method: str, *arguments: object) -> Future[Any]:
        raise NotImplementedError

    def dismiss(self) -> None: ...


def _member() -> Member:
    return Member(Slot(Need()), _Nobody())


def _lease(*names: str) -> Lease:
    lease = Lease()
    lease.waiting.extend(Call(name, (), lambda: True) for name in names)
    return lease


def _method(work: tuple[Lease, Call] | None) -> str | None:
    return work[1].method if work is not None else None


def test_programs_get_a_home_each_in_their_order() -> None:
    first, second = _lease("a"), _lease()
    one, other = _member(), _member()
    assert _method(next_work(one, [first, second])) == "a"
    assert next_work(other, [first, second]) is None, "the second has no call yet, and is at home here now"
    assert (first.home, second.home) == (one, other)
    assert first.granted.done()
    assert second.granted.done()


def test_who_has_a_program_does_not_help_and_who_has_none_does() -> None:
    first, second = _lease("a", "b", "c"), _lease()
    one, other, helper = _member(), _member(), _member()
    first.home, second.home = one, other
    assert next_work(other, [first, second]) is None
    assert _method(next_work(one, [first, second])) == "a"
    assert _method(next_work(helper, [first, second])) == "b"
    second.waiting.extend(_lease("x", "y").waiting)
    assert _method(next_work(helper, [second, first])) == "c", "it has that program prepared"
    assert _method(next_work(helper, [second, first])) == "x"


def test_calls_that_may_not_start_are_cancelled() -> None:
    lease = _lease()
    late = Call("late", (), lambda: False)
    lease.waiting.extend([late, *_lease("a").waiting])
    assert _method(next_work(_member(), [lease])) == "a"
    assert late.future.cancelled()
