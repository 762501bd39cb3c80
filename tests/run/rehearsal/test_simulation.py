"""Simulated time: schedules and the mediator as they are, days in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from clearance import asset, cron, dag, every, task
from clearance.errors import UsageError
from clearance.testing import simulate

RAW, CLEAN = asset("s3://lake/raw"), asset("s3://lake/clean")


@task(outlets=[RAW], expect="20m")
def fetch() -> int:
    raise AssertionError("no code is run")


@task(outlets=[CLEAN], expect="1h")
def tidy() -> int:
    raise AssertionError("no code is run")


@task(expect="3h")
def train() -> int:
    raise AssertionError("no code is run")


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


def test_a_chain_of_dags_over_the_change_of_the_clocks():
    nightly = dag("nightly", fetch, schedule=cron("30 2 * * *", tz="Europe/Paris"))
    cleaning = dag("cleaning", tidy, schedule=RAW)
    training = dag("training", train, schedule=CLEAN)
    found = simulate([nightly, cleaning, training], at(2026, 3, 28), at(2026, 3, 31))
    fires = [one.at for one in found if one.dag == "nightly"]
    # 2026-03-29 has no 02:30 in Paris: Debian's cron runs it when the hour is skipped, at 01:00 UTC
    assert fires == [at(2026, 3, 28, 1, 30), at(2026, 3, 29, 1, 0), at(2026, 3, 30, 0, 30)]
    assert [one.at for one in found if one.dag == "cleaning"] == [fire + timedelta(minutes=20) for fire in fires]
    assert [one.at for one in found if one.dag == "training"] == [fire + timedelta(minutes=80) for fire in fires]
    assert {one.by for one in found if one.dag == "cleaning"} == {("s3://lake/raw",)}
    assert found[0].interval == (at(2026, 3, 27, 1, 30), at(2026, 3, 28, 1, 30))
    assert [one.at for one in found] == sorted(one.at for one in found)


def test_a_year_of_days_is_a_moment():
    yearly = dag("yearly", fetch, schedule=every("1d"))
    found = simulate(yearly, at(2027, 1, 1, 1), at(2028, 1, 1))
    assert len(found) == 365
    assert all(one.kind == "schedule" for one in found)


def test_limits_and_durations_count():
    slow = dag("slow", train, schedule=every("1h"), max_active_runs=1)
    found = simulate(slow, at(2026, 1, 1, 0, 30), at(2026, 1, 1, 12))
    starts = [one.at for one in found]
    assert len(starts) > 2
    assert all(later - one >= timedelta(hours=3) for one, later in pairwise(starts))


def test_events_of_others_and_keys():
    each = dag("each", train, schedule=RAW, mode="key")
    events = [(at(2026, 1, 1, 9), "s3://lake/raw", "b"), (at(2026, 1, 1, 8), "s3://lake/raw", "a")]
    found = simulate(each, at(2026, 1, 1), at(2026, 1, 2), events=events)
    assert [(one.at.hour, one.by) for one in found] == [(8, ("s3://lake/raw#a",)), (9, ("s3://lake/raw#b",))]
    both = dag("both", train, schedule=RAW & CLEAN)
    later = [*events, (at(2026, 1, 1, 10), "s3://lake/clean", None)]
    (one,) = simulate(both, at(2026, 1, 1), at(2026, 1, 2), events=later)
    assert (one.at, len(one.by)) == (at(2026, 1, 1, 10), 3)


def test_debounce_takes_its_time():
    calm = dag("calm", train, schedule=RAW, debounce="30m")
    events = [(at(2026, 1, 1, 9, minute), "s3://lake/raw", None) for minute in (0, 20, 40)]
    (one,) = simulate(calm, at(2026, 1, 1), at(2026, 1, 2), events=events)
    assert one.at == at(2026, 1, 1, 10, 10)


def test_what_cannot_be_simulated_says_why():
    plain = dag("plain", train)
    timed = dag("timed", train, schedule=every("1s"))
    with pytest.raises(UsageError, match="runs by itself"):
        simulate(plain, at(2026, 1, 1), at(2026, 1, 2))
    with pytest.raises(UsageError, match="before it starts"):
        simulate(timed, at(2026, 1, 2), at(2026, 1, 1))
    with pytest.raises(UsageError, match="has no zone"):
        simulate(timed, datetime(2026, 1, 1), at(2026, 1, 2))
    with pytest.raises(UsageError, match="more than 50 runs"):
        simulate(timed, at(2026, 1, 1), at(2026, 1, 2), limit=50)
