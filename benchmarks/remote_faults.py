"""Many faults in one search through measurement servers: is anything lost?

Run it as: python -m benchmarks.remote_faults --json FILE

Three server processes with a table for a target (no compiler: the faults are the point) share one search, each behind
a line that can be cut. Meanwhile, in random order:

- killed: SIGKILL, and started again on the same port.
- stopped: SIGSTOP for longer than the client waits for a sign of life, then SIGCONT.
- line closed: all connections of a server are closed.
- cut in a message: they are closed after a few more bytes of the server's.
- garbage: random bytes instead of a call.
- too large: a message beyond the server's limit.
- stranger: a call with a wrong token.

An evaluation is lost if it was committed and is not there at the end, or if a config of the budget has no number. Work
that a fault interrupts is done again, and counted as such.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc

from autotune import api
from autotune.remote.address import parse_addresses
from autotune.remote.credentials import ClientCredentials
from autotune.remote.pool import PoolOptions
from autotune.result import SearchResult
from autotune.targets.remote import open_remote
from benchmarks.common import parser, publish
from protos import measurement_pb2 as messages
from protos import measurement_pb2_grpc
from tests import programs
from tests.remote.proxy import Proxy, proxy
from tests.remote.server_process import ServerProcess, server
from tests.rows import committed

TOKEN: Final = "the token of this benchmark"
SERVERS: Final = 3
SILENCE: Final = 5.0
"""Seconds after which the client takes a server for lost; a server shows life every two."""


class Faults:
    """Injects faults of all kinds until there were enough.

    Args:
        servers: with their lines.
        count: of faults.
        database: of the search; what is committed is looked at before every fault.
        seed: of the order.
    """

    def __init__(self, servers: list[tuple[ServerProcess, Proxy]], count: int, database: Path, seed: int) -> None:
        self._servers, self._count, self._database = servers, count, database
        self._rng = random.Random(seed)
        self._locks = [threading.Lock() for _ in servers]
        self.injected: Counter[str] = Counter()
        self.seen: list[list[str]] = []
        """What was committed before each fault."""
        self.over = threading.Event()
        self._kinds: dict[str, Callable[[ServerProcess, Proxy], None]] = {
            "killed": _kill,
            "stopped": _stop,
            "line closed": lambda there, line: line.cut(),
            "cut in a message": lambda there, line: line.cut_after(self._rng.randrange(1, 300)),
            "garbage": self._garbage,
            "too large": lambda there, line: _call(there, TOKEN, bytes(3 << 20)),
            "stranger": lambda there, line: _call(there, "another token", b""),
        }

    def run(self) -> None:
        """Inject all of them, each a moment after the one before; a server has one at a time."""
        order = [name for name in self._kinds for _ in range(-(-self._count // len(self._kinds)))][: self._count]
        self._rng.shuffle(order)
        threads = []
        for kind in order:
            time.sleep(self._rng.uniform(0.2, 0.8))
            self.seen.append(committed(self._database))
            thread = threading.Thread(target=self._inject, args=(kind, self._rng.randrange(len(self._servers))))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        self.over.set()

    def _inject(self, kind: str, number: int) -> None:
        with self._locks[number]:
            self._kinds[kind](*self._servers[number])
            self.injected[kind] += 1

    def _garbage(self, there: ServerProcess, line: Proxy) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", there.port), timeout=5) as raw:
            raw.sendall(self._rng.randbytes(2000))


def _kill(there: ServerProcess, line: Proxy) -> None:
    there.kill()
    time.sleep(0.5)
    there.start()


def _stop(there: ServerProcess, line: Proxy) -> None:
    there.signal(signal.SIGSTOP)
    time.sleep(SILENCE + 1.5)
    there.signal(signal.SIGCONT)


def _call(there: ServerProcess, token: str, module: bytes) -> None:
    """A call that the server must refuse.

    Raises:
        RuntimeError: it did not.
    """
    metadata = [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(there.address, [("grpc.max_send_message_length", -1)]) as line:
        stub: Any = measurement_pb2_grpc.MeasurementStub(line)
        try:
            list(stub.Prepare(messages.PrepareRequest(module=module), metadata=metadata, timeout=30))
        except grpc.RpcError:
            return
    raise RuntimeError("a server took what it must refuse")


def search_with_faults(count: int, seed: int, folder: Path) -> tuple[SearchResult, Faults, dict[str, int]]:
    """One search, with so many faults.

    Args:
        count: of faults; the budget grows with it, so that the search lasts as long as they do.
        seed: of their order.
        folder: for the database and other files, empty.

    Returns:
        The result, the faults, and what is known of the evaluations.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    database = folder / "evaluations.sqlite"
    budget = 12 * count
    with contextlib.ExitStack() as stack:
        servers = []
        for number in range(SERVERS):
            there = stack.enter_context(
                server(
                    target={"seconds": 0.25, "journal": str(folder / f"journal{number}")},
                    options={"largest_program": 1 << 20},
                    credentials={"token_file": str(token)},
                )
            )
            servers.append((there, stack.enter_context(proxy(there.port))))
        addresses = parse_addresses(",".join(line.url for _, line in servers), option="benchmark")
        options = PoolOptions(silence=SILENCE, patience=60.0, attempts=count)
        target = stack.enter_context(
            open_remote(addresses, credentials=ClientCredentials(token_file=token), options=options)
        )
        faults = Faults(servers, count, database, seed)
        injector = threading.Thread(target=faults.run)
        injector.start()
        result = api.search(
            programs.two_dots(), target=target, database=database, budget=budget, strategy="random", model="none"
        )
        in_time = faults.over.is_set()
        injector.join()
    final = committed(database)
    begun = [line for number in range(SERVERS) for line in _lines(folder / f"journal{number}")]
    facts = {
        "evaluations": len(final),
        "committed and gone": sum(final[: len(before)] != before for before in faults.seen),
        "in the budget and without a number": budget + 1 - result.counts["measured"],
        "recorded twice": len(final) - len(set(final)),
        "begun again after a fault": len(begun) - len(set(begun)),
        "faults after the search": 0 if in_time else 1,
    }
    return result, faults, facts


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("search")] if path.exists() else []


def main() -> None:
    """Run, print, and fail if anything was lost."""
    arguments = parser(__doc__)
    arguments.add_argument("--faults", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="autotune-faults-") as folder:
        result, faults, facts = search_with_faults(options.faults, options.seed, Path(folder))
    rows: list[dict[str, Any]] = [
        {"what": f"fault: {name}", "count": count} for name, count in sorted(faults.injected.items())
    ]
    rows += [{"what": "faults in all", "count": faults.injected.total()}]
    rows += [{"what": name, "count": count} for name, count in facts.items()]
    rows += [{"what": "seconds", "count": round(time.monotonic() - started)}]
    publish(f"{options.faults} faults in one search through {SERVERS} servers: {result.stopped}", rows, options.json)
    lost = {
        name: facts[name] for name in ("committed and gone", "in the budget and without a number", "recorded twice")
    }
    if any(lost.values()):
        sys.exit(f"evaluations were lost: {json.dumps(lost)}")


if __name__ == "__main__":
    main()
