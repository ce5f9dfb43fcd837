"""Which configs of a program are judged: the official 1,000, all distinct ones, or a sample of them.

The official indices are JSON, {file stem: [positions in the file's own list of configs]}, one file per layout
collection (`xla_random.json`, ...).

Source: "TpuGraphs" (arXiv 2308.13490), which reports on them; google-research-datasets/tpu_graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cost_model.card import parse_object
from training.data.stored_graph import StoredGraph
from training.errors import TrainingDataError

Choice = Literal["official", "distinct", "sample"]
"""The fixed 1,000; all distinct configs; some of one or the other, drawn at random."""

Indices = Mapping[str, NDArray[np.int64]]

FOLDER: Final = "eval_indices"


@dataclass(frozen=True, eq=False)
class Judged:
    """The configs of one program that are judged.

    Attributes:
        ids: distinct configs of the store, int64[k]; a config may be there twice, if the file has it twice.
        costs: what each of them took, float64[k]: ns (layouts), runtime / normalizer (tiles).
        choice: which they are.
    """

    ids: NDArray[np.int64]
    costs: NDArray[np.float64]
    choice: Choice


def choose_configs(graph: StoredGraph, indices: Indices | None, limit: int | None = None, *, seed: int = 0) -> Judged:
    """Chooses which configs of a program are judged.

    Args:
        graph: a program with labels.
        indices: the official ones, by program; None, or a program that is not there: all distinct configs.
        limit: at most so many of these, the same ones each time; None for all.
        seed: of that sample.

    Raises:
        TrainingDataError: the program has no labels, or fewer configs than the indices need.
    """
    raw, targets = graph.raw_targets, graph.targets
    if raw is None or targets is None:
        raise TrainingDataError(
            f"{graph.collection}, {graph.name}: expected measured runtimes, found none (all are 0, as in the published "
            "test splits), so there is nothing to compare scores with. Rank its configs with `autotune submit`"
        )
    # Whole nanoseconds, in which different runtimes cannot become equal.
    if graph.raw_normalizers is None:
        raw, targets = (np.asarray(each, np.float64) for each in (graph.raw_runtimes, graph.runtimes))
    if indices is not None and graph.name in indices:
        positions = indices[graph.name]
        if len(positions) and positions.max() >= len(raw):
            raise TrainingDataError(
                f"{graph.collection}, {graph.name}: expected more than {positions.max()} configs, as the official "
                f"indices need, found {len(raw)}: the file is not the published one, or the indices are of another "
                "collection. Judge all configs with --all-configs"
            )
        judged = Judged(graph.raw_ids[positions], raw[positions], "official")
    else:
        judged = Judged(np.arange(len(graph)), targets, "distinct")
    if limit is None or limit >= len(judged.ids):
        return judged
    chosen = np.sort(np.random.default_rng(seed).choice(len(judged.ids), size=limit, replace=False))
    return Judged(judged.ids[chosen], judged.costs[chosen], "sample")


def find_indices(data: Path, root: Path, collection: str) -> Indices | None:
    """The official indices of a collection, if a data set comes with them.

    Args:
        data: the folder that the user named; `eval_indices` is looked for in it,
        root: and in the one that has `layout` and `tile`.
        collection: name of the collection.

    Raises:
        TrainingDataError: the file is damaged.
    """
    name = "_".join(collection.split(":")[1:]) + ".json"
    paths = [folder / FOLDER / name for folder in dict.fromkeys((data, root))]
    return next((read_indices(path) for path in paths if path.is_file()), None)


def check_indices(indices: Indices, graphs: Sequence[StoredGraph], path: Path) -> None:
    """Checks that indices that a user named are about at least one of the programs.

    Raises:
        TrainingDataError: they are about none.
    """
    if not any(graph.name in indices for graph in graphs):
        programs = ", ".join(graph.name for graph in graphs[:3])
        raise TrainingDataError(
            f"{path}: expected indices of programs such as {programs}, found those of {', '.join(list(indices)[:3])}: "
            "the file is for another collection or split"
        )


def read_indices(path: Path) -> Indices:
    """Reads a file of indices.

    Returns:
        By file stem, int64[k].

    Raises:
        TrainingDataError: the file cannot be read or holds something else.
    """
    try:
        entries = parse_object(path.read_text())
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise TrainingDataError(f"{path}: expected JSON such as {{file stem: [0, 5, ...]}}, found {error}") from None
    for name, positions in entries.items():
        fits = isinstance(positions, list) and len(positions) > 1
        if not fits or any(type(each) is not int or not 0 <= each < 1 << 40 for each in positions):
            found = f"{positions!r:.80}"
            raise TrainingDataError(f"{path}: {name}: expected two positions or more, from 0 up, found {found}")
    return {name: np.array(positions, np.int64) for name, positions in entries.items()}
