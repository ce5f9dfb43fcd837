"""Targets that workers of a test's cluster open: tables, with a log of who evaluated what."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from autotune.evaluation import Evaluation
from autotune.spaces.base import Config, config_id
from autotune.spaces.layout import LayoutConfig
from autotune.targets.base import PreparedProgram, TargetDescription
from tests.tables import KnownTarget


def number_of_orders(config: Config) -> float:
    assert isinstance(config, LayoutConfig)
    return 1.0 + len(config.orders)


@dataclass
class LoggedTarget(KnownTarget):
    """A table that takes its time.

    Attributes:
        folder: gets a file per evaluation that begins, named after the process, the node and the config.
        seconds: that an evaluation takes.
        deadly: config whose evaluation kills the process.
        device: device kind; "" for that of the table.
    """

    folder: Path = Path()
    seconds: float = 0.0
    deadly: str = ""
    device: str = ""

    @property
    def description(self) -> TargetDescription:
        about = super().description
        return replace(about, device_kind=self.device or about.device_kind)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        for config in configs:
            identity = config_id(config)
            (self.folder / f"{os.getpid()} {node()} {prepared.program.name} {identity} {time.time_ns()}").touch()
            if identity == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)
        return super().evaluate(prepared, configs, purpose=purpose)


def node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def open_logged(folder: Path, seconds: float = 0.0, deadly: str = "") -> LoggedTarget:
    return LoggedTarget(cost=number_of_orders, folder=folder, seconds=seconds, deadly=deadly)


def open_of_node() -> LoggedTarget:
    """Every node has another device."""
    return LoggedTarget(device=f"a table of {node()}")


def open_none() -> LoggedTarget:
    raise ValueError("this target cannot be opened")


@dataclass(frozen=True)
class Begun:
    """An evaluation that began."""

    process: int
    node: str
    program: str
    config: str


def begun(folder: Path) -> list[Begun]:
    """What began, in that order."""
    found = [path.name.split(" ") for path in folder.iterdir()]
    return [Begun(int(each[0]), *each[1:4]) for each in sorted(found, key=lambda each: int(each[4]))]
