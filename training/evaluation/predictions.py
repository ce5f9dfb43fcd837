"""The scores of a split: computed in batches that fit in memory, kept in a file, read back for a submission.

The file is an .npz: per program an array named by its id (such as `layout:xla:random:alexnet`), float32[C], one score
per config of the published file in its order, nan where none was computed; and `about`, JSON text with the format's
version, the split, and the models by collection.
"""

from __future__ import annotations

import functools
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cost_model import CostModel, CostModelError, features
from cost_model.card import parse_object
from cost_model.files import replace_file
from training.data.collections import COLLECTIONS, SPLITS
from training.data.stored_graph import StoredGraph
from training.errors import TrainingDataError, TrainingError

Scores = NDArray[np.float32]
Progress = Callable[[int, int, str], None]
"""Told how many configs are scored, of how many, and the name of the program."""

_FORMAT: Final = 1
_ABOUT: Final = "about"
_BATCH_BYTES: Final = 8 << 20
"""Size of the configs that a model is given at once: 4,500 of alexnet, 1,900 of unet_3d, one or two seconds each. A
narrow network is as fast as with 32 MiB (alexnet 5,300, unet_3d 1,300 configs a second on one core of an AMD EPYC,
Zen 5); with 1 MiB it loses a third. What a model itself needs beyond them is its own affair."""


def config_id(collection: str, name: str) -> str:
    """The id of a program in score files and submissions."""
    return f"{collection}:{name}"


class ScoredCount:
    """Adds up the configs of several programs that are scored.

    Args:
        total: how many there will be.
        progress: whom to tell; None for nobody.
    """

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def of(self, name: str) -> Callable[[int], None]:
        """What `score_stored` is to tell of this program."""
        return functools.partial(self._add, name)

    def _add(self, name: str, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total, name)


def score_stored(
    model: CostModel, graph: StoredGraph, ids: NDArray[np.int64], *, scored: Callable[[int], None] | None = None
) -> Scores:
    """Scores configs of one program, batch by batch.

    Args:
        model: the cost model.
        graph: the program.
        ids: which of its configs, int64[k].
        scored: told after every batch how many configs it had.

    Returns:
        Lower = faster; float32[k].

    Raises:
        TrainingError: the model cannot score this program, or a score is not finite.
    """
    tiles = graph.collection.startswith("tile:")
    columns = features.TILE_FEATURES if tiles else features.LAYOUT_FEATURES * max(1, graph.configurable_nodes)
    step = max(1, _BATCH_BYTES // (4 * columns))
    scores = np.empty(len(ids), np.float32)
    for start in range(0, len(ids), step):
        batch = ids[start : start + step]
        try:
            scores[start : start + step] = model.score(graph.graph, graph.configs(batch))
        except CostModelError as error:
            raise TrainingError(f"{config_id(graph.collection, graph.name)}: {error}") from error
        if scored is not None:
            scored(len(batch))
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"{config_id(graph.collection, graph.name)}: expected finite scores of {model.name!r}, found others"
        )
    return scores


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of whole programs.

    Attributes:
        split: of which split, "valid" or "test" for example.
        scores: by id, in the order of the configs of the published file; float32[C], nan: not computed.
        models: by collection, the name of the model.

    Raises:
        TrainingDataError: an array has another shape or type, or infinite scores.
    """

    split: str
    scores: Mapping[str, Scores]
    models: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise TrainingDataError(f"split: expected one of {', '.join(SPLITS)}, found {self.split!r:.80}")
        for name, scores in self.scores.items():
            if not any(name.startswith(f"{collection}:") for collection in COLLECTIONS):
                raise TrainingDataError(f"expected ids such as tile:xla:<file stem>, found {name!r:.200}")
            if scores.dtype != np.float32 or scores.ndim != 1 or np.isinf(scores).any():
                found = f"{scores.dtype.name}{list(scores.shape)}"
                raise TrainingDataError(f"{name}: expected finite float32[configs], or nan: not scored, found {found}")

    def save(self, path: Path) -> None:
        """Writes the file in one step.

        Raises:
            TrainingError: it cannot be written.
        """
        about = {"format": _FORMAT, "split": self.split, "models": dict(self.models)}
        content = io.BytesIO()
        np.savez_compressed(content, **{_ABOUT: np.array(json.dumps(about)), **self.scores})  # type: ignore[arg-type]
        write_file(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads a file that `save` made.

        Raises:
            TrainingDataError: the file cannot be read or is something else.
        """
        try:
            return cls._of(_read_arrays(path))
        except TrainingDataError as error:
            raise TrainingDataError(f"{path}: {error}") from None

    @classmethod
    def _of(cls, arrays: dict[str, NDArray[Any]]) -> Predictions:
        if _ABOUT not in arrays:
            raise TrainingDataError("expected scores that --save-scores wrote, found an .npz file without `about`")
        try:
            about = parse_object(str(arrays.pop(_ABOUT)))
            if about["format"] != _FORMAT:
                raise TrainingDataError(f"format: expected {_FORMAT}, found {about['format']!r:.40}: score again")
            models = {str(key): str(value) for key, value in dict(about["models"]).items()}
            return cls(str(about["split"]), arrays, models)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingDataError(
                f"about: expected JSON with format, split and models, found another: {error}"
            ) from None


def merge(parts: Iterable[Predictions]) -> Predictions:
    """Scores of several collections together.

    Raises:
        TrainingDataError: there is nothing, the same program twice, or different splits.
    """
    everything = list(parts)
    if not everything:
        raise TrainingDataError("expected scores of at least one collection, found none")
    splits = sorted({part.split for part in everything})
    if len(splits) > 1:
        raise TrainingDataError(f"expected scores of one split, found those of {' and '.join(splits)}")
    scores: dict[str, Scores] = {}
    models: dict[str, str] = {}
    for part in everything:
        if twice := sorted(scores.keys() & part.scores.keys()):
            raise TrainingDataError(f"{twice[0]}: expected one source of its scores, found two ({len(twice)} such ids)")
        scores |= part.scores
        models |= part.models
    return Predictions(splits[0], scores, models)


def write_file(path: Path, content: bytes) -> None:
    """Puts a file in place in one step.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_writable(path: Path) -> None:
    """Finds out before hours of work that a file cannot be written after them.

    Raises:
        TrainingError: its folder is missing or not writable, or it is a folder itself.
    """
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "it is a folder" if path.is_dir() else f"{folder} is no folder that can be written to"
        raise TrainingError(f"{path}: cannot be written: {why}")


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise TrainingDataError("expected scores that --save-scores wrote, found no .npz file")
            stream.seek(0)
            return dict(np.load(stream, allow_pickle=False))
    except OSError as error:
        raise TrainingDataError(f"cannot be read: {error.strerror or error}") from None
    except TrainingDataError:
        raise
    except Exception as error:  # numpy, zipfile and zlib have a dozen ways to say so
        cause = str(error).partition(". ")[0] or type(error).__name__
        raise TrainingDataError(f"expected an undamaged .npz file of numbers, found: {cause}") from None
