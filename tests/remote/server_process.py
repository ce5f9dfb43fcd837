"""Measurement servers as processes of their own, for tests: `python -m tests.remote.server_process '{...}'`.

Their target is a table: what a config costs follows from its number of constraints, so every server says the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.evaluation import Evaluation, Failed, FailureReason, Outcome
from autotune.remote.address import Address
from autotune.spaces.base import Config
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram, TargetDescription
from tests.tables import KnownTarget

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


@dataclass
class SlowTarget(KnownTarget):
    """Takes a while for each evaluation, and writes down what it evaluated.

    Attributes:
        seconds: for each config.
        device_kind: what it says it is.
        journal: file that gets a line for each config, when it is begun.
        failing: whether every config but the default fails.
        fatal: whether every config but the default kills the server.
    """

    seconds: float = 0.0
    device_kind: str = "a table"
    journal: str = ""
    failing: bool = False
    fatal: bool = False

    @property
    def description(self) -> TargetDescription:
        return TargetDescription("known", self.device_kind, "1", self.label, "cpu")

    def outcome_of(self, prepared: PreparedProgram, config: Config) -> Outcome:
        if self.failing and config != LayoutConfig():
            return Failed(FailureReason.COMPILE_ERROR, "the table says no")
        if self.fatal and config != LayoutConfig():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().outcome_of(prepared, config)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        if self.journal:
            with open(self.journal, "a") as journal:  # noqa: PTH123
                journal.writelines(f"{purpose} {json.dumps(config.to_json())}\n" for config in configs)
        time.sleep(self.seconds * len(configs))
        return super().evaluate(prepared, configs, purpose=purpose)


@dataclass
class ServerProcess:
    """A server that is started, and started again on the same port.

    Attributes:
        settings: arguments of `SlowTarget` under "target" and of `ServerOptions` under "options", or the name of a
            real target under "name".
        port: of localhost; 0 until it is started for the first time.
        log: what it wrote to standard error.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[str] | None = None
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"grpc://{self.address}"

    def start(self) -> ServerProcess:
        settings = json.dumps(self.settings | {"port": self.port})
        # A client in this process has told its gRPC to be quiet, through the environment; a server is not a client.
        environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.remote.server_process", settings],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("port "):
            _, errors = self.process.communicate(timeout=START_SECONDS)
            raise RuntimeError(f"the server did not start: {errors}")
        self.port = int(line.split()[1])
        threading.Thread(target=self._read_log, args=(self.process,), daemon=True).start()
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def memory(self) -> int:
        """Bytes of resident memory."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def said(self, words: str, seconds: float = 10.0) -> bool:
        """Whether its log has these words, now or soon."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(words in line for line in self.log):
                return True
            time.sleep(0.05)
        return False

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line)


@contextlib.contextmanager
def server(**settings: Any) -> Iterator[ServerProcess]:
    """A server with a table for a target, or a real one with `name="cpu"`."""
    started = ServerProcess(settings).start()
    try:
        yield started
    finally:
        if started.process is not None and started.process.poll() is None:
            started.signal(signal.SIGCONT)
            started.kill()
        elif started.process is not None and started.process.stdout is not None:
            started.process.stdout.close()


def main() -> None:
    import logging

    from autotune.remote.credentials import ServerCredentials
    from autotune.remote.server import ServerOptions, serve
    from autotune.targets import open_target

    settings = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    files = {name: Path(path) for name, path in settings.get("credentials", {}).items()}
    options = dict(settings.get("options", {}))
    if "database" in options:
        options["database"] = Path(options["database"])
    address = Address(settings.get("host", "localhost"), settings["port"])

    def opened() -> Any:
        return open_target(settings["name"]) if "name" in settings else SlowTarget(**settings.get("target", {}))

    def ready(found: Address) -> None:
        print("port", found.port, flush=True)

    asyncio.run(serve(opened, ServerOptions(address, ServerCredentials(**files), **options), ready))


if __name__ == "__main__":
    main()
