"""What every database of evaluations must do. A new kind of database is one more entry of `DATABASES`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from autotune.database import Database, EvaluationKey
from autotune.errors import DatabaseError, SpaceError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, Measured, Outcome
from autotune.spaces.base import JsonObject, config_id

DATABASES: dict[str, Callable[[Path], Database]] = {
    "file": lambda folder: Database.open(folder / "evaluations.sqlite"),
    "memory": lambda folder: Database.in_memory(),
}

KEY = EvaluationKey("f" * 32, "tile", "cpu", "Xeon, avx512", "jaxlib 0.10.2")
MEASURED = Measured(
    seconds=0.0025, spread=0.03, default_seconds=0.003125, default_spread=0.04, repeat_spread=0.02, passes=4, runs=24
)  # cost 0.8
ESTIMATED = Estimated(cycles=900.0, default_cycles=1200.0)  # cost 0.75
REFUSED = Failed(FailureReason.COMPILE_ERROR, "INVALID_ARGUMENT: no such tile\nsecond line")
KILLED = Failed(FailureReason.KILLED, "signal 9 from outside")


@dataclass(frozen=True)
class Tile:
    """The smallest thing that is a config."""

    rows: int
    columns: int = 1

    @property
    def family(self) -> str:
        return "tiled"

    def to_json(self) -> JsonObject:
        return {"rows": self.rows, "columns": self.columns}


def tile_from_json(value: JsonObject) -> Tile:
    if set(value) != {"rows", "columns"}:
        raise SpaceError(f"not a tile: {value}")
    return Tile(**value)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with DATABASES[request.param](tmp_path) as opened:
        yield opened


class TestDatabaseContract:
    def test_starts_empty(self, database: Database) -> None:
        assert database.evaluations(KEY, tile_from_json) == []
        assert database.programs() == []

    @pytest.mark.parametrize("outcome", [MEASURED, ESTIMATED, REFUSED], ids=lambda outcome: type(outcome).__name__)
    def test_gives_back_what_was_recorded(self, database: Database, outcome: Outcome) -> None:
        evaluation = Evaluation(Tile(8, 4), outcome, 1.25, "confirm", {"copies": 3.0, "verdict": "Größe ≠ 0"})
        database.record(KEY, evaluation)
        assert database.evaluations(KEY, tile_from_json) == [evaluation]

    @pytest.mark.parametrize("reason", FailureReason)
    def test_gives_back_every_reason_to_fail(self, database: Database, reason: FailureReason) -> None:
        database.record(KEY, Evaluation(Tile(1), Failed(reason, "")))
        (found,) = database.evaluations(KEY, tile_from_json, include_transient=True)
        assert found.outcome == Failed(reason, "")

    def test_gives_back_floats_to_the_last_bit(self, database: Database) -> None:
        outcome = Measured(0.1 + 0.2, math.ulp(0.0), 1e-300, 1 / 3, 2 / 3, 1, 2**40)
        database.record(KEY, Evaluation(Tile(1), outcome))
        assert database.evaluations(KEY, tile_from_json)[0].outcome == outcome

    def test_takes_numbers_of_numpy(self, database: Database) -> None:
        outcome = Estimated(np.float32(2.0), np.int64(4))  # type: ignore[arg-type]
        database.record(KEY, Evaluation(Tile(1), outcome, np.float32(0.5), details={"error": np.float32(0.25)}))  # type: ignore[arg-type, dict-item]
        (found,) = database.evaluations(KEY, tile_from_json)
        assert (found.outcome, found.compile_seconds, found.details) == (Estimated(2.0, 4.0), 0.5, {"error": 0.25})

    def test_takes_details_that_are_not_finite(self, database: Database) -> None:
        database.record(KEY, Evaluation(Tile(1), REFUSED, details={"largest_error": math.inf}))
        assert database.evaluations(KEY, tile_from_json)[0].details == {"largest_error": math.inf}

    def test_takes_a_message_that_is_no_valid_text(self, database: Database) -> None:
        message = b"compiler said \xff".decode("utf-8", "surrogateescape")
        database.record(KEY, Evaluation(Tile(1), Failed(FailureReason.COMPILER_CRASHED, message + "\0!")))
        failure = Failed(FailureReason.COMPILER_CRASHED, "compiler said ?\0!")
        assert database.evaluations(KEY, tile_from_json)[0].outcome == failure

    def test_keeps_the_order_of_recording(self, database: Database) -> None:
        rows = [5, 3, 9, 1, 7]
        for row in rows:
            database.record(KEY, Evaluation(Tile(row), MEASURED))
        assert [found.config for found in database.evaluations(KEY, tile_from_json)] == [Tile(row) for row in rows]

    def test_gives_the_latest_evaluation_of_a_config_and_keeps_all(self, database: Database) -> None:
        later = dataclasses.replace(MEASURED, seconds=0.002)
        for config, outcome in [(Tile(1), MEASURED), (Tile(2), MEASURED), (Tile(1), later)]:
            database.record(KEY, Evaluation(config, outcome))
        expected = [Evaluation(Tile(2), MEASURED), Evaluation(Tile(1), later)]
        assert database.evaluations(KEY, tile_from_json) == expected
        (program,) = database.programs()
        assert (program.configs, program.measured) == (2, 3)

    def test_tells_purposes_apart_when_asked(self, database: Database) -> None:
        looked, confirmed = Evaluation(Tile(1), MEASURED), Evaluation(Tile(1), MEASURED, purpose="confirm")
        again = Evaluation(Tile(1), REFUSED)
        for evaluation in (looked, confirmed, again):
            database.record(KEY, evaluation)
        assert database.evaluations(KEY, tile_from_json, purpose="search") == [again]
        assert database.evaluations(KEY, tile_from_json, purpose="confirm") == [confirmed]
        assert database.evaluations(KEY, tile_from_json) == [again]

    def test_a_transient_failure_does_not_stand_against_a_config(self, database: Database) -> None:
        database.record(KEY, Evaluation(Tile(1), MEASURED))
        database.record(KEY, Evaluation(Tile(1), KILLED))
        database.record(KEY, Evaluation(Tile(2), KILLED))
        database.record(KEY, Evaluation(Tile(3), REFUSED))
        found = database.evaluations(KEY, tile_from_json)
        assert found == [Evaluation(Tile(1), MEASURED), Evaluation(Tile(3), REFUSED)]
        everything = database.evaluations(KEY, tile_from_json, include_transient=True)
        assert everything == [Evaluation(Tile(1), KILLED), Evaluation(Tile(2), KILLED), Evaluation(Tile(3), REFUSED)]

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EvaluationKey)])
    def test_never_mixes_keys_that_differ_in_one_field(self, database: Database, field: str) -> None:
        other = dataclasses.replace(KEY, **{field: "something else"})
        database.record(KEY, Evaluation(Tile(1), MEASURED))
        database.record(other, Evaluation(Tile(1), ESTIMATED))
        assert database.evaluations(KEY, tile_from_json) == [Evaluation(Tile(1), MEASURED)]
        assert database.evaluations(other, tile_from_json) == [Evaluation(Tile(1), ESTIMATED)]

    def test_programs_sums_up_each_key(self, database: Database) -> None:
        estimates = dataclasses.replace(KEY, target="tpu:v5e", device_kind="TPU v5e")
        database.record(estimates, Evaluation(Tile(1), ESTIMATED))
        for outcome in (MEASURED, REFUSED, KILLED):
            database.record(KEY, Evaluation(Tile(1), outcome))
        database.record(KEY, Evaluation(Tile(2), MEASURED))
        first, second = database.programs()
        assert (first.key, first.configs, first.measured, first.estimated, first.failed) == (estimates, 1, 0, 1, 0)
        assert (second.key, second.configs, second.measured, second.estimated, second.failed) == (KEY, 2, 2, 0, 2)
        assert first.last_recorded <= second.last_recorded

    @pytest.mark.parametrize(
        "evaluation",
        [
            Evaluation(Tile(1), dataclasses.replace(MEASURED, seconds=math.nan)),
            Evaluation(Tile(1), dataclasses.replace(MEASURED, seconds=math.inf)),
            Evaluation(Tile(1), dataclasses.replace(MEASURED, seconds=0.0)),
            Evaluation(Tile(1), dataclasses.replace(MEASURED, default_seconds=-1.0)),
            Evaluation(Tile(1), dataclasses.replace(MEASURED, repeat_spread=math.nan)),
            Evaluation(Tile(1), dataclasses.replace(MEASURED, runs=0)),
            Evaluation(Tile(1), Estimated(-1.0, 10.0)),
            Evaluation(Tile(1), Estimated(1.0, 0.0)),
            Evaluation(Tile(1), MEASURED, compile_seconds=-0.5),
            Evaluation(Tile(1), MEASURED, compile_seconds=math.nan),
            Evaluation(Tile(1), MEASURED, purpose="fun"),
        ],
        ids=str,
    )
    def test_refuses_numbers_that_mean_nothing(self, database: Database, evaluation: Evaluation) -> None:
        with pytest.raises(DatabaseError, match=f"config {config_id(Tile(1))} was not recorded"):
            database.record(KEY, evaluation)
        database.record(KEY, Evaluation(Tile(2), MEASURED))  # and goes on working
        assert database.evaluations(KEY, tile_from_json) == [Evaluation(Tile(2), MEASURED)]

    def test_leaves_out_configs_that_the_space_does_not_know(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        def of_a_newer_version(value: JsonObject) -> Tile:
            if value["rows"] == 1:
                raise SpaceError("rows must be at least 2")
            return tile_from_json(value)

        database.record(KEY, Evaluation(Tile(1), MEASURED))
        database.record(KEY, Evaluation(Tile(2), MEASURED))
        assert [found.config for found in database.evaluations(KEY, of_a_newer_version)] == [Tile(2)]
        assert "evaluation 1 is left out: rows must be at least 2" in caplog.text

    def test_says_clearly_that_it_is_closed(self, database: Database) -> None:
        database.close()
        database.close()
        with pytest.raises(DatabaseError, match="closed"):
            database.record(KEY, Evaluation(Tile(1), MEASURED))


def test_a_key_has_no_empty_field() -> None:
    with pytest.raises(ValueError, match="device_kind of an evaluation key is empty"):
        dataclasses.replace(KEY, device_kind="")


def test_the_identity_of_a_config_is_the_same_everywhere() -> None:
    # printf '{"columns":4,"rows":8}' | sha256sum
    assert config_id(Tile(8, 4)) == "e6125bc25efb99a3"
