"""The five collections of TpuGraphs: names, where their files lie, and which files a training or a mean leaves out.

Beside them there are those that `autotune collect` makes ("layout-cpu", "tile-tpu-v5e", ...), each with a manifest.

Source: TpuGraphs (arXiv 2308.13490) and its Kaggle archive for names and folders; the 2nd-place solution of "Google -
Fast or Slow?" for what is left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data.manifest import MANIFEST_FILE, OWN_NAME, read_manifest
from training.errors import TrainingDataError

SPLITS: Final = ("train", "valid", "test")

_ROOTS: Final = (Path(), Path("npz"), Path("npz_all/npz"))
"""Where a data folder may have `layout` and `tile`: itself, as published, as in the Kaggle archive."""
_ADVICE: Final = "Name the folder of the data set that has `layout` or `tile` in it, or `npz`, or `npz_all`"


@dataclass(frozen=True)
class Collection:
    """One of the five parts of the data set, or one made here. A model is trained for each.

    Attributes:
        name: such as "layout:xla:random", the beginning of every id in a submission; or such as "layout-cpu".
    """

    name: str

    @property
    def kind(self) -> str:
        """What is chosen: "layout" or "tile"."""
        return self.name.partition(":" if self.published else "-")[0]

    @property
    def published(self) -> bool:
        """Whether it is one of the five; if not, its folder has a manifest."""
        return OWN_NAME.fullmatch(self.name) is None

    @property
    def folder(self) -> Path:
        """Where its splits lie within a data set, such as layout/xla/random or layout-cpu."""
        return Path(*self.name.split(":"))


COLLECTIONS: Final = {
    name: Collection(name)
    for name in ("layout:xla:random", "layout:xla:default", "layout:nlp:random", "layout:nlp:default", "tile:xla")
}


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        root: the folder that has `layout` and `tile`.
        paths: the .npz files, one per program, in the order of their names.
    """

    root: Path
    paths: tuple[Path, ...]


def collection_of(name: str) -> Collection:
    """The collection of that name: one of the five, or one as `autotune collect` names them.

    Raises:
        TrainingDataError: there is none.
    """
    if OWN_NAME.fullmatch(name):
        return Collection(name)
    if name not in COLLECTIONS:
        raise TrainingDataError(
            f"collection {name!r}: expected one of {', '.join(COLLECTIONS)}, or one made by `autotune collect`, "
            "such as layout-cpu"
        )
    return COLLECTIONS[name]


def find_files(data: str | os.PathLike[str], collection: str, split: str) -> SplitFiles:
    """Looks for the files of a split in a data folder, which may be of any published arrangement.

    Args:
        data: the folder that has `layout` and `tile`, or `npz`, or `npz_all`.
        collection: name of the collection.
        split: train, valid or test.

    Raises:
        TrainingDataError: no such collection or split, or no files (the message says where they were looked for), or
            a collection made here has no manifest of its own.
    """
    _check_split(split)
    chosen = collection_of(collection)
    folder = chosen.folder / split
    looked = []
    for root in (Path(data) / each for each in _ROOTS):
        try:
            # Finder and archives made with it leave "._name.npz" beside every file.
            paths = sorted(path for path in (root / folder).glob("*.npz") if not path.name.startswith("."))
        except OSError as error:
            raise TrainingDataError(f"{root / folder}: cannot be read: {error.strerror or error}") from None
        if paths:
            if not chosen.published:
                read_manifest(root / chosen.folder)  # raises if it is not there, or that of another one
            return SplitFiles(root, tuple(paths))
        looked.append(str(root / folder / "*.npz"))
    missing = "" if Path(data).is_dir() else f"; {data} is no folder"
    raise TrainingDataError(
        f"{collection}, {split}: found no files; looked for {', '.join(looked)}{missing}. {_ADVICE}"
    )


def available_splits(data: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """The (collection, split) pairs that a data folder has files of: the five in their order, then those made here."""
    names = [*COLLECTIONS, *_own_collections(data)]
    return [(name, split) for name in names for split in SPLITS if _has_files(data, name, split)]


def chosen_splits(
    data: str | os.PathLike[str], collections: Sequence[str] = (), splits: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """The (collection, split) pairs that a data folder has files of and that were asked for.

    Args:
        data: see `find_files`.
        collections: names; none for all that are there.
        splits: names; none for all that are there.

    Raises:
        TrainingDataError: an unknown name, a collection that was asked for is not there, or nothing at all is.
    """
    for split in splits:
        _check_split(split)
    there = [pair for pair in available_splits(data) if not splits or pair[1] in splits]
    for name in collections:
        if not any(name == collection for collection, _ in there):
            find_files(data, name, splits[0] if splits else "train")  # raises: says where it looked
    if not there:
        looked = ", ".join(str(Path(data) / root / "{layout,tile}") for root in _ROOTS)
        raise TrainingDataError(
            f"{data}: found no files of {', '.join(splits or SPLITS)}; looked in {looked}. {_ADVICE}"
        )
    return [pair for pair in there if not collections or pair[0] in collections]


def left_out_of_training(collection: str, split: str, stem: str) -> bool:
    """Whether models are trained without this file: the labels of the xla layout files named unet are damaged."""
    return split == "train" and _is_unet(collection, stem)


def left_out_of_means(collection: str, split: str, stem: str) -> bool:
    """Whether the mean over the validation graphs leaves out this file."""
    noisy = collection == "layout:xla:default" and stem == "mlperf_bert_batch_24_2x2"
    return split == "valid" and (noisy or _is_unet(collection, stem))


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise TrainingDataError(f"split {split!r}: expected one of {', '.join(SPLITS)}")


def _is_unet(collection: str, stem: str) -> bool:
    return collection.startswith("layout:xla:") and "unet" in stem


def _has_files(data: str | os.PathLike[str], collection: str, split: str) -> bool:
    folder = collection_of(collection).folder / split
    return any(any((Path(data) / root / folder).glob("*.npz")) for root in _ROOTS)


def _own_collections(data: str | os.PathLike[str]) -> list[str]:
    """Names of the collections made here that a data folder has, sorted."""
    folders = {path.parent.name for root in _ROOTS for path in (Path(data) / root).glob(f"*/{MANIFEST_FILE}")}
    return sorted(name for name in folders if OWN_NAME.fullmatch(name))
