"""Names, families and splits of program files."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.collecting.programs import family_of, find_sources, split_of
from training.errors import TrainingError


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_folders_of_a_zoo_and_flat_ones_give_the_same_names(tmp_path: Path) -> None:
    _touch(tmp_path / "zoo/resnet/b8 i64.hlo")
    _touch(tmp_path / "zoo/notes.md")
    flat = _touch(tmp_path / "vit__b1.0.hlo")
    sources = find_sources([tmp_path / "zoo", flat])
    assert [source.name for source in sources] == ["resnet__b8_i64", "vit__b1.0"]


def test_what_a_collection_has_made_is_no_program(tmp_path: Path) -> None:
    _touch(tmp_path / "a.hlo")
    _touch(tmp_path / "data/layout-cpu/manifest.json")
    _touch(tmp_path / "data/layout-cpu/protos/a.pb")
    assert [source.name for source in find_sources([tmp_path])] == ["a"]


def test_what_cannot_be_collected_from(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file or folder"):
        find_sources([tmp_path / "nothing"])
    with pytest.raises(TrainingError, match="found none in the folder"):
        find_sources([tmp_path])
    paths = [_touch(tmp_path / name / "model.hlo") for name in "ab"]
    with pytest.raises(TrainingError, match="both would be called model"):
        find_sources(paths)
    assert len(find_sources([paths[0], paths[0]])) == 1


def test_a_family_never_stands_in_two_splits() -> None:
    names = [f"family{number}__b{size}" for number in range(1000) for size in (1, 8)]
    splits: dict[str, set[str]] = {}
    for name in names:
        splits.setdefault(family_of(name), set()).add(split_of(name))
    assert all(len(each) == 1 for each in splits.values())
    counts = [sum(each == {split} for each in splits.values()) for split in ("train", "valid", "test")]
    # 70, 15 and 15 %; three standard deviations of 1000 draws are 43 and 34
    assert counts == [pytest.approx(700, abs=43), pytest.approx(150, abs=34), pytest.approx(150, abs=34)]
