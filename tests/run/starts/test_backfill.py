"""Backfills on both databases: their own object, pace and version; one run an interval, whoever dies or also leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clearance.errors import UsageError
from clearance.run.host import lease
from clearance.run.host.orders import ChangeBackfill, CreateBackfill
from clearance.run.look import automation, views
from clearance.store.database import Stale
from support.controllers import NOON, Clock, Tower
from support.flights import A, timed, waiting
from support.races import Crash, crashing, together, unfence

Towers = Callable[..., Tower]
HOUR = 3600.0


def ends(*hours: int) -> list[str]:
    return [f"hourly/2026-03-01T{hour:02d}:00:00Z" for hour in hours]


def create(one: Tower, hours: int = 3, **options: Any) -> dict[str, Any]:
    made = one.triggers.obey(CreateBackfill("hourly", NOON - hours * HOUR, NOON, **options), "me")
    one.controller.turn()
    return made


@pytest.fixture
def one(tower: Towers) -> Tower:
    made = tower()
    made.register(timed())
    return made


def cursor(one: Tower) -> Any:
    return one.database.dialect.execute("SELECT last, due_at FROM schedule")


def test_it_runs_each_interval_once_one_at_a_time_and_leaves_the_schedule_alone(one: Tower):
    before = cursor(one)
    assert create(one)["id"] == "hourly/backfill-1"
    assert one.runs() == ends(10)
    one.turn()
    assert one.runs() == ends(10)
    one.settle()
    assert one.runs() == ends(10, 11, 12)
    assert cursor(one) == before
    shown = automation.show_backfill(one.database, "hourly/backfill-1")
    assert (shown["state"], shown["intervals"]) == ("done", {"success": 3})
    assert views.run(one.database, one.runs()[0])["cause"] == {
        "kind": "backfill", "interval": ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"],
        "backfill": "hourly/backfill-1",
    }  # fmt: skip
    one.turn(NOON + HOUR)
    assert one.runs()[3:] == ends(13), "the schedule goes on"


def test_newest_first_and_several_at_a_time(one: Tower):
    create(one, newest_first=True, concurrency=2)
    assert one.runs() == ends(12, 11)
    one.settle()
    assert one.runs() == ends(12, 11, 10)


def test_a_dry_run_writes_nothing(one: Tower):
    told = create(one, dry=True)
    assert [each["was"] for each in told["intervals"]] == ["missing"] * 3
    assert told["intervals"][0]["start"] == NOON - 3 * HOUR
    assert automation.backfills(one.database) == []
    assert one.runs() == []


def test_its_runs_do_not_count_for_max_active_runs(tower: Towers):
    one = tower()
    one.register(timed(max_active_runs=1))
    create(one)
    one.turn(NOON + HOUR)
    assert one.runs() == ends(10, 13)


def test_only_what_is_missing_or_failed_is_run(one: Tower):
    create(one, 2)
    one.settle("failure")
    assert [views.run(one.database, run)["state"] for run in one.runs()] == ["failed", "failed"]
    with pytest.raises(UsageError, match="no interval to run"):
        create(one, 2)
    create(one, 4, which=("failed", "missing"))
    one.settle()
    assert one.runs()[2:] == [*ends(9, 10), f"{ends(11)[0]}.1", f"{ends(12)[0]}.1"]
    assert create(one, 4, which=("failed",), dry=True)["intervals"] == []
    assert len(create(one, 4, which=("success",), dry=True)["intervals"]) == 4


def test_an_interval_that_the_schedule_has_run_meanwhile_is_left_out(one: Tower, clock: Clock):
    one.turn(NOON + HOUR)
    one.settle()
    clock.now += HOUR / 2
    made = one.triggers.obey(CreateBackfill("hourly", NOON - HOUR, NOON + HOUR), "me")
    assert [each["end"] for each in made["intervals"]] == [NOON]
    one.settle()
    assert sorted(one.runs()) == ends(12, 13)


def test_an_interval_that_the_backfill_has_run_is_not_fired_again(tower: Towers):
    one = tower()
    one.register(timed(catchup=True, max_active_runs=1))
    one.turn(NOON + HOUR)
    one.turn(NOON + 3 * HOUR)
    one.triggers.obey(CreateBackfill("hourly", NOON + HOUR, NOON + 3 * HOUR, newest_first=True), "me")
    one.turn()
    one.settle()
    assert sorted(one.runs()) == ends(13, 14, 15)


def test_pause_resume_and_cancel(one: Tower):
    create(one, 4)
    change = one.triggers.obey
    assert change(ChangeBackfill("hourly/backfill-1", "paused"), "me")
    one.settle()
    assert one.runs() == ends(9)
    assert change(ChangeBackfill("hourly/backfill-1", "running"), "me")
    one.turn()
    assert one.runs() == ends(9, 10)
    assert change(ChangeBackfill("hourly/backfill-1", "cancelled"), "me")
    one.turn()
    one.settle()
    assert one.runs() == ends(9, 10)
    shown = automation.show_backfill(one.database, "hourly/backfill-1")
    assert (shown["state"], shown["intervals"]) == ("cancelled", {"success": 1, "cancelled": 3})
    with pytest.raises(UsageError, match="is cancelled: make another"):
        change(ChangeBackfill("hourly/backfill-1", "running"), "me")


def test_it_keeps_the_version_that_the_dag_had(one: Tower):
    create(one)
    one.register(timed(doc="changed"))
    one.settle()
    assert len({views.run(one.database, run)["version"] for run in one.runs()}) == 1


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (CreateBackfill("hurly", NOON - HOUR, NOON), "did you mean 'hourly'"),
        (CreateBackfill("assets", NOON - HOUR, NOON), "fires by no time"),
        (CreateBackfill("hourly", NOON, NOON - HOUR), "is not after"),
        (CreateBackfill("hourly", NOON, NOON + HOUR), "lies ahead"),
        (CreateBackfill("hourly", NOON - HOUR, NOON, ("mising",)), "did you mean 'missing'"),
        (CreateBackfill("hourly", NOON - HOUR, NOON, concurrency=0), "use 1 or more"),
        (ChangeBackfill("hourly/backfill-9", "paused"), "no backfill"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(one: Tower, order: Any, told: str):
    one.register(waiting("assets", A))
    with pytest.raises(UsageError, match=told):
        one.triggers.obey(order, "me")
    one.turn()
    assert automation.backfills(one.database) == []


def test_a_crash_between_any_two_statements_loses_and_doubles_no_interval(tower: Towers, clock: Clock):
    one = tower()
    one.register(timed())
    create(one, 60, concurrency=2)
    crashes = 0
    while True:
        one.engine.end_all()
        with crashing(one.database, crashes) as crashed:
            try:
                one.turn()
                one.turn()
            except Crash:
                crashes += 1
        if not crashed():
            break
        clock.now += lease.SECONDS + 1
        one = tower(one.engine)
        one.turn()
        assert len([key for key in one.engine.launched if key not in one.engine.finished]) <= 2
    assert crashes > 10
    one.settle()
    assert len(one.runs("hourly")) == len(set(one.runs("hourly"))) >= 60
    shown = automation.show_backfill(one.database, "hourly/backfill-1")
    assert (shown["state"], shown["intervals"]) == ("done", {"success": 60})


def test_two_that_both_lead_start_each_interval_once(tower: Towers, clock: Clock):
    first = tower()
    first.register(timed())
    create(first, 2)
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    second.turn()
    first.engine.end_all()
    told = list(first.engine.events)
    first.engine.events.clear()
    for each in (first, second):
        for event in told:
            each.controller.reports.observe(event, clock())
        unfence(each)

    def turns(each: Tower) -> None:
        each.turn()
        each.turn()

    results = together(first, second, turns)
    assert sum(isinstance(result, Stale) for result in results) == 1, results
    assert second.runs() == ends(11, 12)
