"""The line to Ray. Import this after `autotune.extras.require`; nothing else imports Ray."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Self

import ray
import ray.exceptions

from autotune.targets.base import Target
from training.collecting.cluster.resources import Need
from training.collecting.cluster.worker import EvaluationWorker
from training.errors import ClusterError

LOCAL: Final = "local"
_LONGEST_REASON: Final = 300
_KNOCK_SECONDS: Final = 10.0


class RaySession:
    """A connection to a cluster, as a context manager.

    Args:
        address: as Ray takes it: "auto", "host:port", "ray://host:port", or "local" to start one on this host.

    Raises:
        ClusterError: there is no cluster, or it does not want us.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        settings: dict[str, Any] = {}
        if address == LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
            if "RAY_AUTH_MODE" not in os.environ:
                # Ray would leave one in the user's home, and every later cluster of the user would ask for it.
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            settings["include_dashboard"] = False
        try:
            _knock(address)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about Ray's own plans
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **settings)
        except Exception as error:  # OSError, RuntimeError, ValueError, and others of Ray's parts
            raise ClusterError(
                f"--ray {address}: no Ray cluster answers ({_first_line(error)}); expected auto, HOST:PORT of a head "
                "node (ray start --head), ray://HOST:10001, or local, with the same versions of Python and Ray as "
                "here, and the same token if it asks for one (set RAY_AUTH_MODE=token here, too)"
            ) from None

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """The nodes, with their resources."""
        found: Sequence[Mapping[str, Any]] = ray.nodes()
        return found

    def free(self) -> str:
        """What nobody has taken, for messages."""
        available = ray.available_resources()
        return ", ".join(f"{name} {available.get(name, 0):g}" for name in ("CPU", "TPU"))

    def share(self, value: object) -> Any:
        """Put a value where all nodes find it; what is returned stands for it in the arguments of calls."""
        return ray.put(value)

    def hire(self, need: Need, opener: Callable[[], Target]) -> RayWorker:
        """Start a worker; it may have to wait for its resources."""
        return RayWorker(need, opener)

    def close(self) -> None:
        """End the connection; a cluster that was started here ends, too."""
        ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RayWorker:
    """An `EvaluationWorker` on a node.

    Args:
        need: what it takes.
        opener: opens its target.
    """

    def __init__(self, need: Need, opener: Callable[[], Target]) -> None:
        options: dict[str, Any] = {"num_cpus": need.cpus, "scheduling_strategy": "SPREAD"}
        if need.tpus:
            options["resources"] = {"TPU": need.tpus}
        # Whoever is lost is replaced by the pool, which knows what it was working on.
        actor_class: Any = ray.remote(EvaluationWorker)
        self._actor: Any = actor_class.options(max_restarts=0, max_task_retries=0, **options).remote(opener)

    def start(self, method: str, *arguments: object) -> Future[Any]:
        """Begin a call; what became of it is for `outcome`."""
        future: Future[Any] = getattr(self._actor, method).remote(*arguments).future()
        return future

    def dismiss(self) -> None:
        """End it, in the middle of a call if need be."""
        ray.kill(self._actor)


def outcome(future: Future[Any]) -> Any:
    """The value of a call that has ended.

    Raises:
        ConnectionError: the worker is lost; says why.
        Exception: what the method raised.
    """
    try:
        return future.result()
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise RuntimeError(str(error)) from None
    except ray.exceptions.RayError as error:
        raise ConnectionError(_reason(str(error))) from None


def _reason(text: str) -> str:
    """Why a worker is lost, without what Ray adds about itself."""
    if "creation task" in text:  # a traceback of the other side; its last line says it
        return f"it cannot start: {text.strip().splitlines()[-1]}"
    lines = [
        line for line in text.splitlines() if not re.match(r"\s", line) and not line.startswith("The actor died un")
    ]
    words = " ".join(" ".join(lines).split()).partition(" Some common causes")[0]
    return words[:_LONGEST_REASON] or text[:_LONGEST_REASON]


def _knock(address: str) -> None:
    """Find out whether anybody listens: Ray itself would ask for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
