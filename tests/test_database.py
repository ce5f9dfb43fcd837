"""What only a database in a file can do wrong: other processes, kill -9, and files that are not ours."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.database import Database
from autotune.database.connection import connect
from autotune.errors import DatabaseError
from autotune.evaluation import Evaluation
from tests.contracts.test_database import ESTIMATED, KEY, MEASURED, REFUSED, Tile, tile_from_json

# Records (first, 1), (first, 2), ... and says so after each call has returned.
WRITER = """
import sys
from pathlib import Path
from autotune.database import Database
from autotune.evaluation import Evaluation
from tests.contracts.test_database import KEY, MEASURED, Tile

with Database.open(Path(sys.argv[1])) as database:
    for number in range(1, int(sys.argv[3]) + 1):
        database.record(KEY, Evaluation(Tile(int(sys.argv[2]), number), MEASURED))
        print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.sqlite"


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed database of 200 evaluations, some 100 kB."""
    with Database.open(path) as database:
        record_many(database, 200)
    return path


@pytest.fixture
def place_of_nobody() -> Iterator[Path]:
    """A folder that a user without privileges can reach (pytest's own belong to one user alone)."""
    folder = Path(tempfile.mkdtemp(prefix="autotune-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere, so a test of permissions run by root becomes `nobody` for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def record_many(database: Database, count: int) -> None:
    """Records `count` configs: (0, 1), (1, 1), ..."""
    for number in range(count):
        database.record(KEY, Evaluation(Tile(number), MEASURED))


def start_writer(repo_root: Path, path: Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(count)]
    return subprocess.Popen(command, cwd=repo_root, stdout=subprocess.PIPE, text=True)


def columns_recorded(path: Path, first: int) -> list[int]:
    with Database.open(path) as database:
        configs = [found.config for found in database.evaluations(KEY, tile_from_json)]
    return [config.columns for config in configs if isinstance(config, Tile) and config.rows == first]


def test_the_default_place_is_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with Database.open() as database:
        assert database.path == tmp_path / "xla-autotune" / "evaluations.sqlite"
        database.record(KEY, Evaluation(Tile(1), MEASURED))
    with Database.open() as database:
        assert database.evaluations(KEY, tile_from_json) == [Evaluation(Tile(1), MEASURED)]


def test_an_evaluation_is_seen_by_others_when_record_returns(path: Path) -> None:
    with Database.open(path) as writer, Database.open(path) as reader:
        writer.record(KEY, Evaluation(Tile(1), REFUSED))
        assert reader.evaluations(KEY, tile_from_json) == [Evaluation(Tile(1), REFUSED)]


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    with Database.open(path) as database:
        database.record(KEY, Evaluation(Tile(1), MEASURED))
        assert database.evaluations(KEY, tile_from_json) == [Evaluation(Tile(1), MEASURED)]


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_nothing_that_was_recorded(repo_root: Path, path: Path, seed: int) -> None:
    with start_writer(repo_root, path, first=seed, count=1_000_000) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.3))
        os.kill(writer.pid, signal.SIGKILL)
        # what follows the last newline was cut off by the kill, so it counts as not reported
        reported = 1 + writer.stdout.read().count("\n")
    recorded = columns_recorded(path, seed)
    assert recorded == list(range(1, len(recorded) + 1))
    assert len(recorded) in (reported, reported + 1)  # the one under way may be in or not
    with Database.open(path) as database:  # and it goes on
        database.record(KEY, Evaluation(Tile(seed, len(recorded) + 1), MEASURED))


def test_two_processes_write_a_new_file_at_the_same_time(repo_root: Path, path: Path) -> None:
    with start_writer(repo_root, path, 1, 150) as one, start_writer(repo_root, path, 2, 150) as two:
        one.communicate(timeout=60)
        two.communicate(timeout=60)
    assert (one.returncode, two.returncode) == (0, 0)
    assert columns_recorded(path, 1) == list(range(1, 151))
    assert columns_recorded(path, 2) == list(range(1, 151))


def test_while_another_process_writes_readers_go_on_and_writers_wait(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM evaluations")
        started = time.monotonic()
        with Database.open(filled, busy_seconds=0.3) as database:
            assert len(database.evaluations(KEY, tile_from_json)) == 200
            with pytest.raises(
                DatabaseError, match=r"evaluations\.sqlite: another process has been writing for 0\.3 s"
            ):
                database.record(KEY, Evaluation(Tile(1000), MEASURED))
            assert 0.3 <= time.monotonic() - started < 5
            other.execute("ROLLBACK")
            database.record(KEY, Evaluation(Tile(1000), MEASURED))
            assert len(database.evaluations(KEY, tile_from_json)) == 201


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'estimated'",
        "kind = 'failed', reason = 'KILLED', message = ''",
        "kind = 'estimated', cycles = 1, default_cycles = 1",
        "kind = 'guessed'",
        "cycles = 1",
        "reason = 'KILLED'",
        "seconds = NULL",
        "transient = 1",
    ],
)
def test_the_file_itself_refuses_a_mixture_of_kinds(filled: Path, change: str) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as other:
        with pytest.raises(sqlite3.IntegrityError):
            other.execute(f"UPDATE evaluations SET {change} WHERE id = 1")
        other.rollback()


def test_a_reason_of_a_newer_version_is_left_out(filled: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Database.open(filled) as database:
        database.record(KEY, Evaluation(Tile(1), REFUSED))
    with contextlib.closing(sqlite3.connect(filled)) as other, other:
        other.execute("UPDATE evaluations SET reason = 'STRUCK_BY_LIGHTNING' WHERE kind = 'failed'")
    with Database.open(filled) as database:
        assert len(database.evaluations(KEY, tile_from_json)) == 199
    assert "STRUCK_BY_LIGHTNING" in caplog.text


def test_refuses_a_newer_schema(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as other:
        other.execute("PRAGMA user_version = 2")
    with pytest.raises(DatabaseError, match=r"evaluations\.sqlite was written by a newer xla-autotune \(schema 2"):
        Database.open(filled)


def test_refuses_the_database_of_another_program_and_leaves_it_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=r"evaluations\.sqlite is an SQLite database of another program"):
        Database.open(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"HloModule main\n" * 100, b"x", random.Random(0).randbytes(10_000)])
def test_refuses_a_file_that_is_no_database_and_leaves_it_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"evaluations\.sqlite: this file is not an SQLite database; name another"):
        Database.open(path)
    assert path.read_bytes() == content


def test_refuses_a_truncated_database(filled: Path) -> None:
    os.truncate(filled, filled.stat().st_size // 2)
    with pytest.raises(DatabaseError, match=r"evaluations\.sqlite.* is damaged"):
        Database.open(filled)


def test_refuses_a_database_with_damage_in_the_middle(filled: Path) -> None:
    with filled.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(random.Random(1).randbytes(4096))
    with pytest.raises(DatabaseError, match=r"evaluations\.sqlite.* is damaged"):
        Database.open(filled)


def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder; a file was expected: name another file with --database"):
        Database.open(tmp_path)


def test_refuses_a_pipe_without_waiting_for_it(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(DatabaseError, match="is no ordinary file"):
        Database.open(path)


def test_refuses_a_place_below_a_file(path: Path) -> None:
    path.touch()
    with pytest.raises(DatabaseError, match="cannot be reached or made"):
        Database.open(path / "folder" / "evaluations.sqlite")


def test_refuses_a_folder_that_cannot_be_written(place_of_nobody: Path) -> None:
    place_of_nobody.chmod(0o555)
    new = place_of_nobody / "evaluations.sqlite"
    with unprivileged(), pytest.raises(DatabaseError, match=r"autotune-test-\w+ cannot be written by user \d+; name"):
        Database.open(new)
    with unprivileged(), pytest.raises(DatabaseError, match="cannot be reached or made"):
        Database.open(place_of_nobody / "folder" / new.name)
    assert list(place_of_nobody.iterdir()) == []


def test_refuses_a_file_that_cannot_be_written(place_of_nobody: Path) -> None:
    path = place_of_nobody / "evaluations.sqlite"
    Database.open(path).close()
    path.chmod(0o444)
    with unprivileged(), pytest.raises(DatabaseError, match=r"evaluations\.sqlite cannot be written by user"):
        Database.open(path)


def test_a_full_disk_is_said_and_changes_nothing(filled: Path) -> None:
    connection = connect(filled, busy_seconds=1.0)
    # SQLite's own way to reach SQLITE_FULL, which it also answers when the system says ENOSPC
    connection.execute("PRAGMA max_page_count = 1")  # no growth from here
    with Database(connection, filled, busy_seconds=1.0) as database:
        with pytest.raises(DatabaseError, match=r"evaluations\.sqlite: no space left for the database; free some"):
            record_many(database, 100)
        (before,) = database.programs()
    assert 200 <= before.measured < 300
    with Database.open(filled) as database:
        assert database.programs() == [before]
        database.record(KEY, Evaluation(Tile(0, 2), ESTIMATED))


def test_a_write_that_the_system_refuses_is_said_and_changes_nothing(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Database.open(path) as database:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # Python ignores SIGXFSZ, so writes fail with EFBIG
        try:
            with pytest.raises(DatabaseError, match=r"evaluations\.sqlite: (reading or writing failed|no space left)"):
                record_many(database, 200)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        recorded = len(database.evaluations(KEY, tile_from_json))
        database.record(KEY, Evaluation(Tile(1000), MEASURED))
        assert len(database.evaluations(KEY, tile_from_json)) == recorded + 1
