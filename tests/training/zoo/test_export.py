"""`autotune zoo` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from autotune.cli import app
from autotune.hlo.reader import read
from training.zoo import ZOO, find, lower
from training.zoo.products import drawn_products

NAMES = ("deep-cross/b128", "dlrm/b128")


def zoo(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["zoo", *map(str, arguments)])


def test_the_list_has_all_programs() -> None:
    listed = json.loads(zoo("list", "--json").stdout)["programs"]
    assert [each["name"] for each in listed] == list(ZOO)
    row = {"name": "resnet/b16-i32-train-bf16", "family": "resnet", "mode": "train", "dtype": "bfloat16"}
    assert row in listed


def test_the_list_of_a_family() -> None:
    done = zoo("list", "--family", "t5")
    assert done.exit_code == 0
    assert "t5/b4-t64-train" in done.stdout
    assert "resnet" not in done.stdout
    assert "4 programs of 1 families" in done.stdout


def test_products_are_drawn(tmp_path: Path) -> None:
    done = zoo("export", "--products", 3, "--seed", 1, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    paths = [Path(path) for path in json.loads(done.stdout)["written"]]
    assert paths == [tmp_path / f"{program.name}.hlo" for program in drawn_products(3, seed=1)]
    assert read(paths[0]).name.startswith("jit_matmul_b")


def test_an_export_goes_on_where_it_was_and_mends_what_is_damaged(tmp_path: Path) -> None:
    first, second = (tmp_path / f"{name}.hlo" for name in NAMES)
    done = zoo("export", *NAMES, "--out", tmp_path, "--workers", 2, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"written": [str(first), str(second)], "replaced": [], "unchanged": []}
    assert first.read_bytes() == lower(find(NAMES[0]))
    assert read(second).name.startswith("jit_dlrm_b128")
    written = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-1])
    done = zoo("export", *NAMES, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "0 written, 1 replaced, 1 unchanged" in done.stdout
    assert "2 of 2 programs exported" in done.stderr
    assert first.stat().st_mtime_ns == written
    assert second.read_bytes() == lower(find(NAMES[1]))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["b128.hlo", "b128.hlo"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "--out", "x"), "expected names of programs"),
        (("export", "dlrm/b128", "--all", "--out", "x"), "expected names of programs"),
        (("export", "--all", "--products", "2", "--out", "x"), "expected names of programs"),
        (("export", "dlrm/b129", "--out", "x"), "did you mean dlrm/b128"),
        (("list", "--family", "alexnet"), "family 'alexnet': not in the zoo; expected one of resnet,"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], words: str) -> None:
    done = zoo(*arguments)
    assert done.exit_code == 1
    assert words in done.stderr


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = zoo("export", NAMES[0], "--out", tmp_path / "file")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr
