"""The child's side of `autotune.targets.isolation`: `python -m autotune.targets.child CONNECTION_FD LIFELINE_FD`."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

_connection: Connection[Any, Any] | None = None


def enter_phase(name: str, time_limit: float | None = None) -> None:
    """Tell the parent what comes next, so that a crash or a hang is blamed on the right thing.

    Args:
        name: a present participle, such as "compiling".
        time_limit: seconds that this phase may take; None leaves the current deadline as it is.
    """
    if _connection is not None:
        _connection.send(("phase", name, time_limit))


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel end this process when the parent is gone, even inside a compiler that never returns.

    The parent alone holds the write end of the pipe; when it closes, SIGIO arrives, whose default action is to
    terminate. (PR_SET_PDEATHSIG would also fire when only the parent's thread ends.)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    # The parent may have died before the line above: then the pipe is at its end already.
    with contextlib.suppress(BlockingIOError):
        if os.read(lifeline, 1) == b"":
            os._exit(1)


def _resolve(handler: str, arguments: dict[str, Any]) -> Any:
    module_name, _, class_name = handler.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, class_name)(**arguments) if class_name else module


def _serve(connection: Connection[Any, Any]) -> None:
    handler_name, arguments, memory_limit, cores = connection.recv()
    if cores is not None:
        os.sched_setaffinity(0, cores)
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    try:
        handler = _resolve(handler_name, arguments)
    except Exception as error:
        connection.send(("error", type(error).__name__, str(error)))
        return
    connection.send(("result", None))
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            value = getattr(handler, function)(*args, **kwargs)
        except Exception as error:
            connection.send(("error", type(error).__name__, str(error)))
        else:
            connection.send(("result", value))


def main() -> None:
    """Serve calls until the parent closes the connection."""
    global _connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent(int(sys.argv[2]))
    with Connection(int(sys.argv[1])) as connection:
        # `python -m` runs this file as __main__; handlers import it by its real name and must find the connection.
        importlib.import_module("autotune.targets.child").__dict__["_connection"] = connection
        _connection = connection
        _serve(connection)


if __name__ == "__main__":
    main()
