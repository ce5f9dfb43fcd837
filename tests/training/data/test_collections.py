from __future__ import annotations

from pathlib import Path

import pytest

from autotune.evaluation import LabelKind
from training.data.collections import (
    COLLECTIONS,
    available_splits,
    chosen_splits,
    collection_of,
    find_files,
    left_out_of_means,
    left_out_of_training,
)
from training.data.manifest import Manifest, read_manifest
from training.errors import TrainingDataError


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_five_collections() -> None:
    folders = {name: (collection.kind, str(collection.folder)) for name, collection in COLLECTIONS.items()}
    assert folders == {
        "layout:xla:random": ("layout", "layout/xla/random"),
        "layout:xla:default": ("layout", "layout/xla/default"),
        "layout:nlp:random": ("layout", "layout/nlp/random"),
        "layout:nlp:default": ("layout", "layout/nlp/default"),
        "tile:xla": ("tile", "tile/xla"),
    }


@pytest.mark.parametrize("root", ["", "npz", "npz_all/npz"])
def test_every_published_arrangement(tmp_path: Path, root: str) -> None:
    folder = tmp_path / root / "layout/nlp/random/valid"
    b, a = _touch(folder / "b.npz"), _touch(folder / "a.npz")
    _touch(folder / "._a.npz")
    _touch(folder / "a.npz.aria2")
    found = find_files(tmp_path, "layout:nlp:random", "valid")
    assert found.paths == (a, b)
    assert found.root == tmp_path / root


def test_the_archive_from_within(tmp_path: Path) -> None:
    path = _touch(tmp_path / "npz_all/npz/tile/xla/test/x.npz")
    assert find_files(tmp_path / "npz_all", "tile:xla", "test").paths == (path,)


def test_missing_files_are_missed_by_name(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError) as caught:
        find_files(tmp_path, "layout:xla:random", "train")
    for root in ("", "npz/", "npz_all/npz/"):
        assert f"{tmp_path}/{root}layout/xla/random/train/*.npz" in str(caught.value)
    with pytest.raises(TrainingDataError, match="nowhere is no folder"):
        find_files(tmp_path / "nowhere", "tile:xla", "train")


@pytest.mark.parametrize("name", ["layout:xla", "xla:random", "tile", ""])
def test_no_such_collection(name: str) -> None:
    with pytest.raises(TrainingDataError, match="expected one of layout:xla:random, "):
        collection_of(name)


def test_no_such_split(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="'validation': expected one of train, valid, test"):
        find_files(tmp_path, "tile:xla", "validation")


def test_which_splits_there_are_and_which_are_chosen(tmp_path: Path) -> None:
    _touch(tmp_path / "npz/tile/xla/train/x.npz")
    _touch(tmp_path / "npz/layout/xla/random/test/x.npz")
    _touch(tmp_path / "npz/layout/xla/random/train/x.npz")
    random, tile = "layout:xla:random", "tile:xla"
    assert available_splits(tmp_path) == [(random, "train"), (random, "test"), (tile, "train")]
    assert chosen_splits(tmp_path) == available_splits(tmp_path)
    assert chosen_splits(tmp_path, [random]) == [(random, "train"), (random, "test")]
    assert chosen_splits(tmp_path, splits=["train"]) == [(random, "train"), (tile, "train")]
    with pytest.raises(TrainingDataError, match="tile:xla, test: found no files"):
        chosen_splits(tmp_path, [tile], ["test"])
    with pytest.raises(TrainingDataError, match="'dev': expected one of"):
        chosen_splits(tmp_path, splits=["dev"])
    with pytest.raises(TrainingDataError, match="'tile': expected one of"):
        chosen_splits(tmp_path, ["tile"])


def test_an_empty_folder_says_where_it_was_looked(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"found no files of train, valid, test; looked in .*/npz_all/npz/"):
        chosen_splits(tmp_path)


@pytest.mark.parametrize(
    ("collection", "split", "stem", "training", "means"),
    [
        ("layout:xla:random", "train", "unet3d", True, False),
        ("layout:xla:default", "train", "brax_unet", True, False),
        ("layout:xla:default", "valid", "unet_3d.4x4.bf16", False, True),
        ("layout:xla:default", "valid", "mlperf_bert_batch_24_2x2", False, True),
        ("layout:xla:random", "valid", "mlperf_bert_batch_24_2x2", False, False),
        ("layout:xla:default", "test", "unet", False, False),
        ("layout:nlp:random", "train", "unet", False, False),
        ("tile:xla", "train", "unet3d", False, False),
        ("layout:xla:default", "train", "alexnet", False, False),
    ],
)
def test_what_is_left_out(collection: str, split: str, stem: str, training: bool, means: bool) -> None:
    assert left_out_of_training(collection, split, stem) is training
    assert left_out_of_means(collection, split, stem) is means


def test_collections_made_here(tmp_path: Path) -> None:
    name = "tile-tpu-v5e"
    path = _touch(tmp_path / name / "train/resnet__b8__fusion.1.npz")
    assert available_splits(tmp_path) == [], "without a manifest nobody knows what its numbers are"
    with pytest.raises(TrainingDataError, match=r"manifest\.json: not found"):
        find_files(tmp_path, name, "train")
    manifest = Manifest(name, LabelKind.ESTIMATED, "tpu:v5e", "TPU v5e:1x1, compiler only", "libtpu 0.0.52")
    manifest.write(tmp_path / name)
    assert read_manifest(tmp_path / name) == manifest
    assert available_splits(tmp_path) == [(name, "train")]
    assert find_files(tmp_path, name, "train").paths == (path,)
    assert (collection_of(name).kind, collection_of(name).folder) == ("tile", Path(name))


def test_a_manifest_that_is_none_or_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "layout-cpu"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"name": "layout-cpu", "label": "guessed"}')
    with pytest.raises(TrainingDataError, match="expected what `autotune collect` writes"):
        read_manifest(folder)
    Manifest("layout-gpu", LabelKind.MEASURED, "gpu", "a device", "1").write(folder)
    with pytest.raises(TrainingDataError, match="expected the manifest of layout-cpu, found that of layout-gpu"):
        read_manifest(folder)
    with pytest.raises(TrainingDataError, match="expected a name such as layout-cpu"):
        Manifest("colours", LabelKind.MEASURED, "cpu", "a device", "1")
