"""Which programs to collect from, their names, and the split that each belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data.manifest import MANIFEST_FILE
from training.errors import TrainingError

FAMILY_MARK: Final = "__"
_ENDINGS: Final = (".hlo", ".txt", ".pb", ".pbtxt", ".mlir", ".stablehlo", ".bc")
"""Of the files of a folder that are taken for programs; a file that is named itself may have any."""

_VALID, _TEST = 15, 15
"""Percent of the families."""


@dataclass(frozen=True)
class Source:
    """One program file.

    Attributes:
        path: of the file.
        name: of its data: "resnet__b8" for resnet/b8.hlo within a folder, or for a file resnet__b8.hlo.
    """

    path: Path
    name: str

    @property
    def split(self) -> str:
        """That of its family."""
        return split_of(self.name)


def family_of(name: str) -> str:
    """What stands before the first "__"; the whole name where there is none."""
    return name.partition(FAMILY_MARK)[0]


def split_of(name: str) -> str:
    """train, valid or test: drawn from the name of the family alone.

    So a family never stands in two splits, in whatever order and however many programs are collected; 70, 15 and 15 %
    of many families.
    """
    number = int.from_bytes(hashlib.sha256(family_of(name).encode()).digest()[:8], "big") % 100
    return "test" if number < _TEST else "valid" if number < _TEST + _VALID else "train"


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The program files that were named, and those in the folders that were named, in the order of their names.

    Collections within such a folder are passed over: what is in them was made from the programs.

    Raises:
        TrainingError: a path does not exist, a folder has no program, or two programs have one name.
    """
    found: dict[str, Source] = {}
    for path in paths:
        if path.is_dir():
            files = _program_files(path)
            sources = [Source(each, _name(each.relative_to(path))) for each in files]
            if not sources:
                raise TrainingError(f"{path}: expected programs ({', '.join(_ENDINGS)}), found none in the folder")
        elif path.is_file():
            sources = [Source(path, _name(Path(path.name)))]
        else:
            raise TrainingError(f"{path}: no such file or folder; expected programs or folders of programs")
        for source in sources:
            other = found.setdefault(source.name, source)
            if other.path.resolve() != source.path.resolve():
                raise TrainingError(
                    f"{source.path} and {other.path}: both would be called {source.name}; rename one, or collect them "
                    "into two folders"
                )
    return [found[name] for name in sorted(found)]


def plain(name: str) -> str:
    """A name without characters that mean something in a path."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".") or "program"


def _program_files(folder: Path) -> list[Path]:
    made = {manifest.parent for manifest in folder.rglob(MANIFEST_FILE)}
    files = (each for each in folder.rglob("*") if each.suffix in _ENDINGS and each.is_file())
    return sorted(each for each in files if made.isdisjoint(each.parents))


def _name(path: Path) -> str:
    return FAMILY_MARK.join(plain(part) for part in path.with_suffix("").parts)
