"""What a training writes down as it goes: a CSV table, and the same numbers for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cost_model.files import replace_file

TABLE: Final = "metrics.csv"
EVENTS: Final = "tensorboard"
_KEY: Final = "iteration"


class Journal:
    """A row of numbers for some of the iterations.

    Args:
        folder: where to. Rows that are already there stay, up to the iteration at which the training goes on.
        columns: every name that will be recorded.
        after: the iterations made before; rows of later ones were made after the last checkpoint, and go.
    """

    def __init__(self, folder: Path, columns: Sequence[str], *, after: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = folder / TABLE
        self._columns = [_KEY, *columns]
        self._keep(after)
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._columns)
        self._events = SummaryWriter(str(folder / EVENTS), purge_step=after + 1 if after else None)

    def record(self, iteration: int, values: Mapping[str, float]) -> None:
        """Writes some of the columns; the others stay empty in this row."""
        self._writer.writerow({_KEY: iteration, **{name: f"{value:.8g}" for name, value in values.items()}})
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Ends both files."""
        self._file.close()
        self._events.close()

    def _keep(self, after: int) -> None:
        """Starts the table, with the rows of the iterations that count."""
        rows = []
        if after and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if (row.get(_KEY) or "").isdigit()]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore", restval="")
        writer.writeheader()
        # A row that was cut off by a kill is short, and the one that it belongs to is written again.
        writer.writerows(row for row in rows if int(row[_KEY]) <= after and None not in row.values())
        replace_file(self._path, text.getvalue().encode())
