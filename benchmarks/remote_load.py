"""Many clients of one measurement server: is the order fair, and does its memory stay bounded?

Run it as: python -m benchmarks.remote_load --json FILE

One server process with a table for a target that takes 5 ms per config (no compiler: the load is the point), and eight
clients, each with a connection of its own and 200 evaluations. Seven ask for one config at a time; the eighth is greedy
and asks for 64 in each call.

- evaluations: of the client until the first of the others was done. Fair is: equal for all, the greedy one included.
- mean, worst wait: seconds between asking and answer for one config.
- memory: of the server, in MB: at the beginning, after a quarter of the work, at the end.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from autotune.remote.address import parse_addresses
from autotune.remote.service import MOST_CONFIGS
from autotune.targets.remote import open_remote
from benchmarks.common import parser, publish
from tests import programs
from tests.remote.server_process import ServerProcess, server

SECONDS: Final = 0.005
"""That one evaluation takes."""

_MEGABYTE: Final = 1 << 20


@dataclass
class Client:
    """One client, in a thread of its own.

    Attributes:
        url: of the server.
        count: evaluations that it makes.
        step: configs that it asks for at once.
        times: when each answer came, as `time.monotonic()`.
        waits: seconds from asking to answer, per config.
    """

    url: str
    count: int
    step: int
    times: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def run(self, start: threading.Barrier) -> None:
        """Prepare, wait for the others, and evaluate."""
        # A server's database has what another client asked for: each asks again all the same.
        with open_remote(parse_addresses(self.url, option="benchmark"), repeat=True) as target:
            prepared = target.prepare(programs.two_dots())
            configs = list(itertools.islice(target.space(prepared, "layout").enumerate(), self.count))
            start.wait()
            for place in range(0, self.count, self.step):
                asked = time.monotonic()
                evaluations = target.evaluate(prepared, configs[place : place + self.step])
                now = time.monotonic()
                self.times += [now] * len(evaluations)
                self.waits += [(now - asked) / len(evaluations)] * len(evaluations)


def load(clients: int, count: int, there: ServerProcess) -> tuple[list[Client], list[float]]:
    """Let clients loose on a server.

    Args:
        clients: how many; the last is greedy.
        count: evaluations of each.
        there: the server.

    Returns:
        The clients, and the server's memory over time, MB.
    """
    all_clients = [Client(there.url, count, 1) for _ in range(clients - 1)]
    all_clients.append(Client(there.url, count, MOST_CONFIGS))
    start = threading.Barrier(clients + 1)
    threads = [threading.Thread(target=client.run, args=(start,)) for client in all_clients]
    for thread in threads:
        thread.start()
    start.wait()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(there.memory() / _MEGABYTE)
        time.sleep(0.05)
    return all_clients, memory


def main() -> None:
    """Run and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--evaluations", type=int, default=200, help="of each client")
    options = arguments.parse_args()
    with server(target={"seconds": SECONDS}) as there:
        started = time.monotonic()
        clients, memory = load(options.clients, options.evaluations, there)
        seconds = time.monotonic() - started
    first_done = min(max(client.times) for client in clients[:-1])
    rows: list[dict[str, Any]] = []
    for number, client in enumerate(clients, start=1):
        rows.append(
            {
                "client": f"{number}{' (greedy)' if client.step > 1 else ''}",
                "evaluations": sum(moment <= first_done for moment in client.times),
                "mean wait": float(np.mean(client.waits)),
                "worst wait": max(client.waits),
            }
        )
    shares = np.array([row["evaluations"] for row in rows], dtype=float)
    total = options.clients * options.evaluations
    rows.append(
        {
            "client": "all",
            "evaluations": total,
            "seconds": seconds,
            "per second": total / seconds,
            "fairness (Jain)": float(shares.sum() ** 2 / (len(shares) * (shares**2).sum())),
            "memory: start": memory[0],
            "a quarter": memory[len(memory) // 4],
            "end": memory[-1],
        }
    )
    publish(f"{options.clients} clients, {options.evaluations} evaluations each, one server", rows, options.json)


if __name__ == "__main__":
    main()
