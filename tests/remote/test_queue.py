"""Whose turn it is."""

from __future__ import annotations

import asyncio

import pytest

from autotune.remote.queue import FairQueue, QueueFullError, Turn


def served(queue: FairQueue, turns: list[Turn]) -> list[str]:
    """Clients in the order in which they have their turns, each turn given back at once."""
    order = []
    waiting = list(turns)
    while waiting:
        (turn,) = [each for each in waiting if each.has_come]
        order.append(turn.client)
        waiting.remove(turn)
        queue.leave(turn)
    return order


def test_clients_take_turns_however_many_requests_one_has() -> None:
    queue = FairQueue(100, 100)
    turns = [queue.enter(client) for client in "aaaabbc"]
    # a came first and has the turn; then each in the order in which they first came, round after round
    assert served(queue, turns) == list("a" + "abc" + "ab" + "a")
    assert (queue.busy, queue.waiting, queue.clients) == (False, 0, 0)


def test_how_many_come_before() -> None:
    queue = FairQueue(100, 100)
    turns = [queue.enter(client) for client in "aaaabbc"]
    # served as a | a b c | a b | a: the places of a, a, a, a, b, b, c
    assert [queue.before(turn) for turn in turns] == [0, 1, 4, 6, 2, 5, 3]
    assert (queue.busy, queue.waiting, queue.clients) == (True, 6, 3)


def test_who_stops_waiting_makes_room() -> None:
    queue = FairQueue(100, 100)
    running, first, second = (queue.enter(client) for client in "abc")
    queue.leave(first)
    assert queue.before(second) == 1
    queue.leave(running)
    assert second.has_come


def test_limits() -> None:
    queue = FairQueue(3, 2)
    turns = [queue.enter("a") for _ in range(3)]  # one has the turn, two wait
    with pytest.raises(QueueFullError, match="2 requests of this client"):
        queue.enter("a")
    queue.enter("b")
    with pytest.raises(QueueFullError, match="3 requests are waiting"):
        queue.enter("c")
    queue.leave(turns[0])
    queue.enter("c")


def test_waiting_ends_when_the_turn_comes() -> None:
    async def scenario() -> None:
        queue = FairQueue(10, 10)
        first, second = queue.enter("a"), queue.enter("b")
        assert await first.wait(0.0)
        assert not await second.wait(0.0)
        waiting = asyncio.create_task(second.wait(60))
        queue.leave(first)
        assert await waiting

    asyncio.run(scenario())
