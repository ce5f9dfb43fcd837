"""`require_cached`: an earlier search's result without a single evaluation, or an error that says what is missing."""

from __future__ import annotations

import pytest

from autotune import api
from autotune.database import Database
from autotune.errors import AutotuneError, NotTunedError
from autotune.evaluation import LabelKind
from tests import programs
from tests.tables import KnownTarget


def test_a_search_that_was_made_is_found_and_nothing_is_evaluated() -> None:
    with Database.in_memory() as database:
        first = api.search(programs.two_dots(), target=KnownTarget(), database=database, budget=10)
        target = KnownTarget()
        again = api.search(programs.two_dots(), target=target, database=database, require_cached=True)
        assert not target.log
        assert again.best.config == first.best.config
        assert again.speedup == first.speedup
        assert again.reused == 10


def test_one_that_was_not_made_is_an_error() -> None:
    with Database.in_memory() as database:
        target = KnownTarget()
        with pytest.raises(NotTunedError, match=r"a config is not in :memory: for .* search once without"):
            api.search(programs.two_dots(), target=target, database=database, require_cached=True)
        assert not target.log
        assert not database.programs()[1:]


def test_it_needs_the_database() -> None:
    with Database.in_memory() as database, pytest.raises(AutotuneError, match="not together with reuse=False"):
        api.search(programs.two_dots(), target=KnownTarget(), database=database, require_cached=True, reuse=False)


def test_what_a_search_found_is_kept() -> None:
    with Database.in_memory() as database:
        result = api.search(programs.two_dots(), target=KnownTarget(), database=database, budget=10)
        description = result.target
        fingerprint = result.prepared.program.fingerprint
        record = database.tuned(fingerprint, description.device_kind, description.compiler_version)
        assert record is not None
        assert (record.improved, record.label) == (result.improved, LabelKind.MEASURED)
        assert record.speedup == pytest.approx(max(1.0, result.speedup))
        assert record.verdict == result.verdict
        assert database.tuned(fingerprint, description.device_kind, "another compiler") is None
        assert [each.program for each in database.tuned_anywhere(fingerprint)] == [fingerprint]
