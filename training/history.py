"""Kendall's tau during a training, as its trainer writes it down."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingDataError

_PREFIX: Final = "tau/"
_MEAN: Final = "tau/mean"


@dataclass(frozen=True, eq=False)
class TauHistory:
    """Kendall's tau during training.

    Attributes:
        iterations: when the programs were judged, int64[k].
        graphs: by program, float64[k]; nan where there is no value.
        mean: float64[k]; None if the file has none.
    """

    iterations: NDArray[np.int64]
    graphs: Mapping[str, NDArray[np.float64]]
    mean: NDArray[np.float64] | None


def read_history(path: Path) -> TauHistory:
    """Reads the trainer's CSV: a column `iteration`, one `tau/<program>` per program, and `tau/mean`.

    Rows without any of these values (of losses, for example) are passed over, and so is a last row that is cut off:
    the trainer may be writing it.

    Raises:
        TrainingDataError: the file cannot be read, lacks the columns, or has something else than numbers in them.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(f"{path}: expected the CSV of a training, found another file: {error}") from None
    if rows and None in rows[-1].values():
        rows.pop()
    names = [name for name in (rows[0] if rows else ()) if isinstance(name, str) and name.startswith(_PREFIX)]
    if not names or "iteration" not in rows[0]:
        raise TrainingDataError(
            f"{path}: expected the columns iteration and tau/<program>, with at least one row, found "
            f"{', '.join(map(str, rows[0])) if rows else 'no rows'!s:.200}"
        )
    rows = [row for row in rows if any(row[name] for name in names)]
    try:
        iterations = np.array([int(row["iteration"]) for row in rows], np.int64)
        values = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    except (TypeError, ValueError) as error:
        raise TrainingDataError(
            f"{path}: expected numbers in iteration and {names[0]}, found another: {error}"
        ) from None
    mean = values.pop(_MEAN, None)
    return TauHistory(iterations, {name.removeprefix(_PREFIX): each for name, each in values.items()}, mean)
