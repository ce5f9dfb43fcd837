"""How far long work is: a bar with the time left on a terminal, a line per tenth in a log."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_TENTHS: Final = 10
_SPEED_WINDOW: Final = 120.0
"""Seconds over which the time left is estimated."""


class CountProgress:
    """Counts things that are done.

    Args:
        console: where to (standard error, so that standard output stays clean for `--json`).
        title: what is worked on.
        doing: what is done to it, for the bar ("converting").
        done: what has been counted, for the log ("files converted").
    """

    def __init__(self, console: Console, title: str, *, doing: str, done: str) -> None:
        self._console = console
        self._title = title
        self._done = done
        self._tenths = 0
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=_SPEED_WINDOW,
        )
        self._task = self._live.add_task(f"{title}: {doing}", total=None, note="", visible=False)

    def update(self, done: int, total: int, note: str) -> None:
        """Some were done.

        Args:
            done: how many so far.
            total: how many there are.
            note: what it is about just now.
        """
        self._live.update(self._task, completed=done, total=total, note=note, visible=True)
        tenths = _TENTHS * done // max(1, total)
        if not self._console.is_terminal and tenths > self._tenths:
            self._console.print(f"{self._title}: {done:,} of {total:,} {self._done}")
        self._tenths = tenths

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
