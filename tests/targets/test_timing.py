"""The measurement protocol on a clock that we own."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from autotune.targets.timing import Effort, PassTimes, time_rotation

EFFORT = Effort(
    passes=3,
    pass_seconds=1.0,
    minimum_runs=2,
    pass_seconds_at_most=8.0,
    default_copies=2,
    seconds_at_most=60.0,
    minimum_passes=2,
)


@dataclass
class FakeClock:
    now: float = 0.0
    log: list[str] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def runner(self, name: str, durations: list[float]):  # type: ignore[no-untyped-def]
        remaining = iter(durations)

        def run() -> None:
            self.log.append(name)
            self.now += next(remaining, durations[-1])

        return run


def test_the_minimum_of_minima_survives_one_slow_pass() -> None:
    clock = FakeClock()
    # The first run sets the number of runs (0.5 s fits twice into 1 s); every pass then has a warm-up and two runs.
    steady = clock.runner("steady", [0.5] * 10)
    disturbed = clock.runner("disturbed", [0.5, 0.9, 0.7, 0.8, 0.9, 0.4, 0.6, 0.9, 0.9, 0.9])
    times = time_rotation([steady, disturbed], EFFORT, seed=0, clock=clock)
    assert times[0].minima == pytest.approx((0.5, 0.5, 0.5))
    assert times[0].spread == pytest.approx(0.0)
    assert times[1].minima == pytest.approx((0.7, 0.4, 0.9))
    assert times[1].seconds == pytest.approx(0.4)
    assert times[1].spread == pytest.approx(0.9 / 0.4 - 1)
    assert times[1].runs == 6


def test_every_pass_runs_every_program() -> None:
    clock = FakeClock()
    runners = [clock.runner(name, [0.5]) for name in "abc"]
    time_rotation(runners, EFFORT, seed=1, clock=clock)
    # one run each for the number of runs, then three passes with a warm-up and two runs each
    assert {name: clock.log.count(name) for name in "abc"} == {"a": 10, "b": 10, "c": 10}
    orders = ["".join(dict.fromkeys(clock.log[3 + 9 * i : 12 + 9 * i])) for i in range(3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(set(orders)) > 1, "the order is drawn anew in every pass"


def test_slow_programs_get_fewer_passes_and_no_extra_run() -> None:
    clock = FakeClock()
    runners = [clock.runner(name, [10.0]) for name in "ab"]
    # 10 s fit once into 8 s at least: one run per pass, 20 s a pass, so 60 s allow the three passes
    times = time_rotation(runners, EFFORT, seed=0, first_run_seconds=[10.0, 10.0], clock=clock)
    assert clock.log.count("a") == clock.log.count("b") == 3
    assert [t.runs for t in times] == [3, 3]
    slower = [clock.runner(name, [25.0]) for name in "cd"]
    time_rotation(slower, EFFORT, seed=0, first_run_seconds=[25.0, 25.0], clock=clock)
    assert clock.log.count("c") == 2, "never fewer than the minimum"


@pytest.mark.parametrize(
    ("run_seconds", "runs"),
    [(1e-4, 200), (0.1, 10), (0.9, 2), (5.0, 1), (100.0, 1)],
    ids=["many", "as many as fit", "at least the minimum", "fewer when slow", "never none"],
)
def test_number_of_runs(run_seconds: float, runs: int) -> None:
    assert EFFORT.runs(run_seconds) == runs


def test_repetition_by_hand() -> None:
    # even passes 2.0, 2.2, 2.1; odd passes 2.5, 2.4
    assert PassTimes((2.0, 2.5, 2.2, 2.4, 2.1), 9).half_spread == pytest.approx(0.2)
    assert PassTimes((2.0,), 3).half_spread == 0.0


def test_spread_by_hand() -> None:
    assert PassTimes((2.0, 2.5, 2.2), 9).spread == pytest.approx(0.25)
