"""What a folder may be, and what is said of one that is something else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autotune import api
from autotune.errors import AutotuneError
from autotune.report.page import tau
from autotune.report.reading import FailedLine, read_folder
from tests import programs
from tests.report import folders
from tests.tables import KnownTarget


def test_a_folder_written_by_hand(tmp_path: Path) -> None:
    result = read_folder(folders.write(tmp_path / "r", explained=folders.explanation()))
    assert [line.kind for line in result.evaluations] == ["measured", "measured", "failed", "measured", "measured"]
    assert result.fastest.config_id == folders.BEST_ID
    assert result.explanation == folders.explanation()
    assert tau(result) == pytest.approx(folders.TAU)


def test_a_folder_that_a_search_wrote(tmp_path: Path) -> None:
    found = api.search(programs.two_dots(), target=KnownTarget(), database=tmp_path / "db.sqlite", budget=10)
    found.save(tmp_path / "r")
    result = read_folder(tmp_path / "r")
    assert len(result.evaluations) == 11
    assert result.best.improved == found.improved
    assert result.explanation == found.explanation
    assert found.explanation is not None
    assert found.explanation.missing == "target known does not show the programs that it compiles"
    shown = tau(result)
    assert found.rank_correlation == pytest.approx(math.nan if shown is None else shown, nan_ok=True)


def test_the_default_stands_first_whatever_the_order_in_the_database(tmp_path: Path) -> None:
    result = read_folder(folders.write(tmp_path / "r", lines=folders.evaluations()[::-1]))
    assert result.evaluations[0].config_id == folders.DEFAULT_ID
    assert [line.config_id[0] for line in result.evaluations] == ["d", "3", "b", "2", "1"]
    assert isinstance(result.evaluations[3], FailedLine)


def test_results_of_older_versions_that_had_no_explanation(tmp_path: Path) -> None:
    """Neither a runner-up nor an explanation: what can be shown is shown."""
    facts = folders.best(improved=False, speedup=1.0, best=folders.measured(folders.DEFAULT_ID, 1.0))
    del facts["runner_up"], facts["created"], facts["how_to_use"]
    result = read_folder(folders.write(tmp_path / "r", facts))
    assert result.explanation is None
    assert result.fastest.config_id == folders.BEST_ID, "from the final comparison"


def test_an_explanation_that_another_search_left_is_not_shown(tmp_path: Path) -> None:
    other = folders.explanation(config_id="0" * 16)
    assert read_folder(folders.write(tmp_path / "r", explained=other)).explanation is None


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(
        AutotuneError, match=r"nothing: expected the folder that a search writes .* found no such folder"
    ):
        read_folder(tmp_path / "nothing")
    with pytest.raises(AutotuneError, match=r"found no best\.json in it; make one with: autotune search FILE"):
        read_folder(tmp_path)
    file = tmp_path / "model.hlo"
    file.touch()
    with pytest.raises(AutotuneError, match=r"model\.hlo: expected the folder .* found a file"):
        read_folder(file)


def test_no_evaluations(tmp_path: Path) -> None:
    (folders.write(tmp_path / "r") / "evaluations.jsonl").unlink()
    with pytest.raises(AutotuneError, match=r"evaluations\.jsonl: missing.*search again"):
        read_folder(tmp_path / "r")


@pytest.mark.parametrize("name", ["best.json", "explanation.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00\xff\xfe", b"{}", b"[]", b"7", b'{"format": "x"}', b"[" * 100_000]
)
def test_damaged_json(name: str, content: bytes, tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r")
    (folder / name).write_bytes(content)
    with pytest.raises(AutotuneError, match=rf"{name}: .*search again"):
        read_folder(folder)


@pytest.mark.parametrize("line", ["{", '{"kind": "measured"}', '{"kind": "guessed", "config_id": "1"}', "null"])
def test_a_damaged_evaluation_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r")
    with (folder / "evaluations.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(AutotuneError, match=r"evaluations\.jsonl, line 6: .*search again"):
        read_folder(folder)


def test_a_result_of_an_older_version_names_the_version_and_what_is_missing(tmp_path: Path) -> None:
    facts = folders.best(tool="xla-autotune 0.0.3")
    del facts["search"]["ranking"]
    with pytest.raises(
        AutotuneError,
        match=r"best\.json: written by xla-autotune 0\.0\.3 .*\(search\.ranking: .*search again with this",
    ):
        read_folder(folders.write(tmp_path / "r", facts))


def test_an_explanation_of_a_later_version(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r")
    (folder / "explanation.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(AutotuneError, match=r"explanation\.json: of format 99, this version knows 1; update"):
        read_folder(folder)


def test_measured_and_estimated_never_stand_in_one_report(tmp_path: Path) -> None:
    lines = [*folders.evaluations(), folders.estimated("4" * 16, 0.5)]
    with pytest.raises(AutotuneError, match="measured and estimated"):
        read_folder(folders.write(tmp_path / "r", lines=lines))


def test_without_scores_there_is_no_tau(tmp_path: Path) -> None:
    lines = [line | {"score": None} for line in folders.evaluations()]
    result = read_folder(folders.write(tmp_path / "r", lines=lines))
    assert tau(result) is None
    same = [line | {"score": 1.0} for line in folders.evaluations() if line["kind"] != "failed"]
    assert tau(read_folder(folders.write(tmp_path / "r", lines=same))) is None
    assert not math.isnan(folders.TAU)
