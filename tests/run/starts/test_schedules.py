"""Schedules in the control loop, on both databases: what fires, when, once; after sleep, jumps, deaths and races."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from clearance.errors import UsageError
from clearance.graph.schedule import cron, every
from clearance.run.host import lease
from clearance.run.host.orders import PauseDag, Unregister
from clearance.run.look import automation, views
from clearance.store.database import Stale
from support.controllers import NOON, Clock, Tower, submit
from support.flights import timed
from support.races import Crash, crashing, together, unfence

HOUR = 3600.0
Towers = Callable[..., Tower]


def at(hour: int, minute: int = 0, day: int = 1) -> str:
    return f"2026-03-{day:02d}T{hour:02d}:{minute:02d}:00Z"


def test_a_new_schedule_runs_nothing_of_the_past_and_then_each_fire_once(tower: Towers):
    one = tower()
    one.register(timed())
    assert one.runs() == []
    assert one.turn(NOON + HOUR - 1) <= 1.0
    one.turn(NOON + HOUR)
    one.turn(NOON + HOUR + 1)
    assert one.runs() == [f"hourly/{at(13)}"]
    shown = views.run(one.database, f"hourly/{at(13)}")
    assert shown["cause"] == {"kind": "schedule", "interval": [at(12), at(13)]}


def test_the_task_is_told_its_data_interval(tower: Towers):
    one = tower()
    one.register(timed())
    one.turn(NOON + HOUR)
    (launch,) = one.engine.launched.values()
    assert launch.cause is not None
    assert (launch.cause.start, launch.cause.end) == (NOON, NOON + HOUR)


@pytest.mark.parametrize(("catchup", "count"), [(False, 1), (True, 600)])
def test_after_a_sleep_of_ten_minutes_a_schedule_of_every_second_makes_no_storm(
    tower: Towers, catchup: bool, count: int
):
    one = tower()
    one.register(timed("ticks", every("1s"), catchup=catchup, start=datetime.fromtimestamp(NOON + 1, UTC)))
    one.turn(NOON + 600)
    assert len(one.runs()) == (16 if catchup else 1), "no more than max_active at once"
    one.settle()
    assert len(one.runs()) == count
    assert one.runs()[-1] == "ticks/2026-03-01T12:10:00Z"


def test_a_clock_that_is_put_back_fires_nothing_again_and_goes_on_where_it_was(tower: Towers):
    one = tower()
    one.register(timed())
    one.turn(NOON + HOUR)
    one.settle()
    for moment in (NOON + 10, NOON + HOUR - 1, NOON + HOUR, NOON + HOUR + 5):
        one.turn(moment)
    assert one.runs() == [f"hourly/{at(13)}"]
    one.turn(NOON + 2 * HOUR)
    assert one.runs()[1:] == [f"hourly/{at(14)}"]


def test_clock_changes_follow_the_wall_clock(tower: Towers, clock: Clock):
    clock.now = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
    one = tower()
    one.register(timed("night", cron("30 2 * * *", tz="Europe/Paris")))
    for hours in range(72):
        one.turn(clock.now + HOUR / 2 * (hours > 0))
        one.settle()
    assert one.runs() == ["night/2026-03-29T01:00:00Z"], "02:30 does not exist on that day: it fires after the gap"
    one.turn(datetime(2026, 3, 30, 0, 30, tzinfo=UTC).timestamp())
    assert one.runs()[1:] == ["night/2026-03-30T00:30:00Z"]


def test_max_active_holds_back_and_the_rest_comes_one_at_a_time(tower: Towers):
    one = tower()
    start = datetime.fromtimestamp(NOON - 3 * HOUR, UTC)
    one.register(timed("one_by_one", catchup=True, max_active_runs=1, start=start))
    one.turn()
    assert one.runs() == [f"one_by_one/{at(9)}"], "the first fire is at its start"
    assert one.turn(NOON + 1) > 1.0, "it is not looked at again and again while there is no room"
    one.engine.end_all()
    one.turn()
    one.turn()
    assert one.runs()[1:] == [f"one_by_one/{at(10)}"]
    one.settle()
    assert one.runs()[2:] == [f"one_by_one/{at(11)}", f"one_by_one/{at(12)}"]


def test_without_catch_up_what_came_while_there_was_no_room_is_the_newest_alone(tower: Towers):
    one = tower()
    one.register(timed("newest", max_active_runs=1))
    one.turn(NOON + HOUR)
    one.turn(NOON + 4 * HOUR)
    assert one.runs() == [f"newest/{at(13)}"]
    one.settle()
    assert one.runs()[1:] == [f"newest/{at(16)}"]


def test_start_lies_ahead_or_behind(tower: Towers):
    one = tower()
    later = datetime.fromtimestamp(NOON + 5 * HOUR, UTC)
    one.register(
        timed("ahead", start=later), timed("behind", start=datetime.fromtimestamp(NOON - 5 * HOUR, UTC)),
        timed("own", every("1h", start=datetime.fromtimestamp(NOON - 2.5 * HOUR, UTC)), catchup=True),
    )  # fmt: skip
    one.turn(NOON + 1)
    assert one.runs() == [f"own/{at(9, 30)}", f"own/{at(10, 30)}", f"own/{at(11, 30)}"]
    one.turn(NOON + 5 * HOUR)
    assert one.runs("ahead") == [f"ahead/{at(17)}"]
    assert one.runs("behind") == [f"behind/{at(17)}"]


def test_a_paused_dag_does_not_fire_and_goes_on_with_the_newest(tower: Towers):
    one = tower()
    one.register(timed())
    assert one.triggers.obey(PauseDag("hourly", True), "me")
    assert not one.triggers.obey(PauseDag("hourly", True), "me")
    one.turn(NOON + 3 * HOUR)
    assert one.runs() == []
    assert automation.known_dags(one.database)[0]["paused"]
    assert one.triggers.obey(PauseDag("hourly", False), "me")
    one.turn()
    assert one.runs() == [f"hourly/{at(15)}"]


def test_new_code_is_a_new_version_and_keeps_its_place(tower: Towers):
    one = tower()
    one.register(timed())
    one.turn(NOON + HOUR)
    before = views.run(one.database, one.runs()[0])["version"]
    one.register(timed(doc="changed"))
    one.register(timed(doc="changed"))
    one.turn(NOON + 2 * HOUR)
    assert one.runs() == [f"hourly/{at(13)}", f"hourly/{at(14)}"]
    assert views.run(one.database, one.runs()[0])["version"] == before, "a run that goes on keeps its version"
    assert views.run(one.database, one.runs()[1])["version"] != before


def test_a_changed_schedule_begins_anew(tower: Towers):
    one = tower()
    one.register(timed("moved", cron("0 18 * * *")))
    one.register(timed("moved", cron("0 11 * * *")))
    one.turn(NOON + 60)
    assert one.runs() == [], "11:00 of this day lies before the change"
    one.turn(NOON + 23 * HOUR)
    assert one.runs() == [f"moved/{at(11, day=2)}"]


def test_a_dag_that_is_unregistered_fires_no_more(tower: Towers):
    one = tower()
    one.register(timed())
    one.triggers.obey(Unregister("hourly"), "me")
    one.turn(NOON + HOUR)
    assert one.runs() == []
    with pytest.raises(UsageError, match="no DAG 'hourly' is known"):
        one.triggers.obey(Unregister("hourly"), "me")


def test_a_run_that_has_the_id_already_is_not_made_again(tower: Towers):
    one = tower()
    one.register(timed())
    submit(one, timed(), f"hourly/{at(13)}")
    one.turn(NOON + HOUR)
    one.turn(NOON + HOUR + 1)
    assert one.runs() == [f"hourly/{at(13)}"]
    one.turn(NOON + 2 * HOUR)
    assert len(one.runs()) == 2


def test_who_takes_over_fires_what_the_one_before_did_not(tower: Towers, clock: Clock):
    first = tower()
    first.register(timed(max_active_runs=1))
    first.turn(NOON + HOUR)
    first.engine.end_all()
    first.turn()  # the end is committed, and not looked at
    clock.now += lease.SECONDS + 1 + HOUR
    second = tower(first.engine)
    second.turn()
    second.settle()
    assert second.runs() == [f"hourly/{at(13)}", f"hourly/{at(14)}"]


def test_a_crash_between_any_two_statements_of_a_fire_makes_one_run(tower: Towers, clock: Clock):
    one = tower()
    one.register(timed(max_active_runs=4))
    crashes, index = 0, 0
    while True:
        clock.now = NOON + (index + 1) * HOUR
        index += 1
        with crashing(one.database, crashes) as crashed:
            try:
                one.turn()
            except Crash:
                crashes += 1
        if not crashed():
            break
        clock.now += lease.SECONDS + 1
        one = tower(one.engine)
        assert len(one.runs()) == index - 1, "nothing half done"
        one.settle()
        assert len(one.runs()) == index, crashes
    assert crashes > 6
    one.settle()
    assert len(one.runs()) == index
    assert len(set(one.runs())) == index


def test_two_that_both_lead_make_one_run_of_a_fire(tower: Towers, clock: Clock):
    first = tower()
    first.register(timed())
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    second.turn()
    clock.now = NOON + HOUR
    for each in (first, second):
        unfence(each)
    results = together(first, second, lambda each: each.turn())
    assert sum(isinstance(result, Stale) for result in results) == 1, results
    assert second.runs() == [f"hourly/{at(13)}"]
    rows: list[Any] = second.database.dialect.execute("SELECT last FROM schedule")
    assert rows == [(NOON + HOUR,)]
