"""Replaying a database: what was said is said again, and what was never evaluated is a typed failure."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autotune import api
from autotune.database import Database, EvaluationKey
from autotune.errors import AutotuneError, SpaceError, UnsupportedProgramError
from autotune.evaluation import Failed, FailureReason, LabelKind
from autotune.recorded.kept import keep_program, restore_program
from autotune.remote.messages import MessageError
from autotune.result import SearchResult
from autotune.spaces.base import config_id
from autotune.spaces.layout import LayoutSpace
from autotune.spaces.tpu_tile import TpuTileConfig
from autotune.targets import open_target
from autotune.targets.base import PreparedProgram, TargetDescription
from tests import programs
from tests.tables import KnownTarget, ListedTarget
from tests.test_tiles import kernel

BUDGET = 30


@dataclass
class OtherTarget(KnownTarget):
    @property
    def description(self) -> TargetDescription:
        return replace(super().description, name="other", device_kind="another table")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "recorded.sqlite"


@pytest.fixture
def original(database: Path) -> SearchResult:
    return api.search(programs.two_dots(), target=KnownTarget(), database=database, budget=BUDGET)


@pytest.mark.parametrize("strategy", ["evolutionary", "random"])
def test_a_search_of_a_replay_finds_what_was_found(
    strategy: str, original: SearchResult, database: Path, tmp_path: Path
) -> None:
    again = api.search(
        programs.two_dots(),
        target=f"replay:{database}",
        database=tmp_path / "studies.sqlite",
        budget=1000,
        strategy=strategy,
    )
    assert again.stopped == "space used up"
    assert again.space.size == BUDGET + 1
    assert again.speedup == pytest.approx(original.speedup)
    found = {config_id(e.config): e.outcome for e in again.evaluations}
    assert found == {config_id(e.config): e.outcome for e in original.evaluations}
    assert b"LayoutConstraint" in again.tuned.module, "a replay knows how to apply layouts"


def test_replays_are_not_taken_for_new_evaluations(original: SearchResult, database: Path) -> None:
    api.search(programs.two_dots(), target=f"replay:{database}", database=database, budget=5)
    target = KnownTarget()
    assert api.search(programs.two_dots(), target=target, database=database, budget=BUDGET).reused == BUDGET
    with open_target(f"replay:{database}") as replay:
        assert replay.description.name == "replay:recorded.sqlite@known", "the target that a replay was of, not itself"
        assert replay.description.device_kind == original.target.device_kind


def test_what_was_never_evaluated_is_a_typed_failure(original: SearchResult, database: Path) -> None:
    with open_target(f"replay:{database}@known") as target:
        prepared = target.prepare(programs.two_dots())
        space = target.space(prepared, "auto")
        recorded = {config_id(e.config) for e in original.evaluations}
        everything = LayoutSpace(programs.two_dots().proto)
        new = next(config for config in everything.enumerate() if config_id(config) not in recorded)
        assert not space.contains(new)
        known, unknown = target.evaluate(prepared, [original.best.config, new], purpose="confirm")
        assert known.outcome == original.best.outcome
        assert known.purpose == "confirm"
        assert unknown.outcome == Failed(FailureReason.NOT_RECORDED, "this config was never evaluated")
        with pytest.raises(SpaceError, match="was not recorded"):
            space.from_json(new.to_json())
        with pytest.raises(SpaceError, match="no tile choice was recorded for 'two_dots', but layout"):
            target.space(prepared, "tile")
        with pytest.raises(UnsupportedProgramError, match="'lookup': nothing recorded to replay"):
            target.prepare(programs.lookup())


def test_several_targets_must_be_chosen_from(original: SearchResult, database: Path) -> None:
    api.search(programs.two_dots(), target=OtherTarget(), database=database, budget=3)
    with pytest.raises(AutotuneError, match=rf"expected one of: replay:{database}@known, replay:{database}@other"):
        open_target(f"replay:{database}")
    with pytest.raises(AutotuneError, match="@none': expected one of"):
        open_target(f"replay:{database}@none")
    with open_target(f"replay:{database}@other") as target:
        assert target.description.device_kind == "another table"
        assert target.space(target.prepare(programs.two_dots()), "layout").size == 4


def test_tiles_of_kernels_are_kept() -> None:
    target = ListedTarget()
    prepared = target.prepare_kernel(kernel("fusion", 100))
    space = target.space(prepared, "tile")
    with Database.in_memory() as database:
        keep_program(database, target.description, prepared, space)
        content = database.content(EvaluationKey.of(target.description, prepared.program, space))
    assert content is not None
    kept = restore_program(content)
    assert kept.target.label is LabelKind.ESTIMATED
    assert kept.prepared.program.fingerprint == prepared.program.fingerprint
    assert list(kept.space.enumerate()) == list(space.enumerate())
    assert kept.space.contains(TpuTileConfig((32,)))


def test_a_program_is_kept_once(database: Path) -> None:
    program, target = programs.two_dots(), KnownTarget()
    prepared = PreparedProgram(program, program, ("a note",), {"compile_seconds": 1.0}, "a caveat", program.proto)
    space = target.space(prepared, "layout")
    with Database.open(database) as opened:
        for _ in range(2):
            keep_program(opened, target.description, prepared, space)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((content,),) = connection.execute("SELECT content FROM prepared_programs").fetchall()
    kept = restore_program(content)
    assert kept.prepared.program == program
    assert kept.prepared.assigned == program.proto
    assert (kept.prepared.notes, kept.prepared.caveat) == (prepared.notes, prepared.caveat)
    assert kept.target == target.description
    with pytest.raises(MessageError, match="expected a kept program"):
        restore_program(content[:-3])


def test_a_database_of_an_older_version(original: SearchResult, database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE prepared_programs")
    with open_target(f"replay:{database}") as target, pytest.raises(AutotuneError, match="without their programs"):
        _ = target.description
    api.search(programs.two_dots(), target=KnownTarget(), database=database, budget=BUDGET)
    with open_target(f"replay:{database}") as target:
        assert target.space(target.prepare(programs.two_dots()), "layout").size == BUDGET + 1


def test_files_that_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match=r"no such file; expected replay:FILE"):
        open_target(f"replay:{tmp_path / 'none'}@cpu")
    with Database.open(tmp_path / "empty.sqlite"):
        pass
    with pytest.raises(AutotuneError, match="nothing is recorded"):
        open_target(f"replay:{tmp_path / 'empty.sqlite'}")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(AutotuneError, match="text that is no program"):
        open_target(f"replay:{tmp_path / 'text'}")
