"""Schedules as data: what may be joined, when they fire, and what was missed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.asset import asset
from clearance.graph.loading import load
from clearance.graph.model import Graph, decode, encode, graph_digest
from clearance.graph.schedule import EPOCH, AllOf, AnyOf, Condition, Cron, Every, Interval, cron, every

PARIS = "Europe/Paris"
A, B, C = asset("s3://lake/a"), asset("s3://lake/b"), asset("s3://lake/c")
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)

instants = st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30)).map(lambda one: one.replace(tzinfo=UTC))
timed: st.SearchStrategy[Any] = st.sampled_from(
    [
        cron("*/7 * * * *"),
        cron("30 2 * * *", tz=PARIS),
        cron("*/30 1-3 * * *", tz=PARIS),
        cron("0 0 1 * *", tz="America/New_York"),
        every("1h"),
        every("90m", start=datetime(2026, 6, 1, 0, 7, tzinfo=UTC)),
        every(100.5),
        cron("30 2 * * *", tz=PARIS) | every("5h"),
        cron("0 2 * * *", tz=PARIS) | cron("0 2 * * *", tz="Australia/Lord_Howe") | A,
    ]
)


def test_a_fire_carries_the_offset_of_its_zone():
    assert cron("0 5 * * *", tz=PARIS).next(NOON).isoformat() == "2026-03-29T05:00:00+02:00"
    assert every("1h").next(NOON).isoformat() == "2026-03-28T13:00:00+00:00"


def test_fires_compare_as_instants_where_one_hour_comes_twice():
    first, second = cron("*/60 2 * * *", tz=PARIS).fires(datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert (first.hour, second.hour) == (2, 2)
    assert first < second
    assert second - first == timedelta(hours=1)


def test_what_comes_in_with_a_zone_of_its_own_is_an_instant():
    after = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo(PARIS), fold=1)
    assert every("10m").next(after) == datetime(2026, 10, 25, 1, 40, tzinfo=UTC)


def test_every_fires_from_its_start_in_even_steps():
    start = datetime(2026, 1, 1, 0, 20, tzinfo=timezone(timedelta(hours=1)))
    one = every("1h", start=start)
    assert one.fires(start - timedelta(days=400), 2) == [start, start + timedelta(hours=1)]
    assert one.previous(start) is None
    assert one.interval(start) == Interval(start - timedelta(hours=1), start)
    assert every("1h").next(datetime(2026, 1, 1, 0, 20, tzinfo=UTC)) == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_the_end_of_the_calendar_is_no_crash():
    end = datetime.max.replace(tzinfo=UTC)
    assert every("1h").fires(end, 3) == []
    assert cron("0 0 * * *").previous(datetime(1, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("step", ["1 fortnight", 0, -5, "500ms", "3661d", None, True, float("nan")])
def test_a_step_that_is_none_is_refused(step: Any):
    with pytest.raises(GraphError, match=r"test_schedule.py:\d+: every\(.*step is"):
        every(step)


@pytest.mark.parametrize("call", ["next", "previous", "interval", "fires", "missed", "start"])
@pytest.mark.parametrize("one", [cron("* * * * *"), every(60), A, A & B, A | every(60)])
def test_an_instant_without_a_zone_is_refused(one: Condition, call: str):
    naive: Any = datetime(2026, 1, 1)
    calls = {
        "missed": lambda: one.missed(NOON, naive),
        "fires": lambda: one.fires(naive, 1),
        "start": lambda: every("1h", start=naive),
    }
    with pytest.raises(GraphError, match="has no zone: write for example"):
        calls.get(call, lambda: getattr(one, call)(naive))()


def test_an_error_names_file_and_line():
    with pytest.raises(GraphError, match=r"test_schedule.py:\d+: cron '61 \* \* \* \*': minute is 61: 0 to 59"):
        cron("61 * * * *")
    with pytest.raises(GraphError, match=r"test_schedule.py:\d+: cron tz is 'Europe/Pariss'.*did you mean"):
        cron("0 * * * *", tz="Europe/Pariss")


def test_conditions_are_joined_flat_and_each_once():
    assert AnyOf((A, B, C)) == (A | B) | (C | A)
    assert AllOf((A, B, C)) == A & (B & C)
    assert cron("0 5 * * *") | (A & B) == AnyOf((Cron("0 5 * * *"), AllOf((A, B))))
    assert AllOf((AnyOf((A, B)), C)) == (A | B) & C
    assert str((A | B) & C) == "(asset('s3://lake/a') | asset('s3://lake/b')) & asset('s3://lake/c')"
    assert str(every("90m") | A & B) == "every('1h30m') | (asset('s3://lake/a') & asset('s3://lake/b'))"
    assert A | A == A
    assert A & A == A


@pytest.mark.parametrize(
    "join",
    [
        lambda: cron("0 5 * * *") & A,
        lambda: A & every("1h"),
        lambda: cron("0 5 * * *") & cron("0 6 * * *"),
        lambda: A & (B | every("1h")),
    ],
)
def test_a_time_beside_and_is_refused(join: Any):
    with pytest.raises(GraphError, match=r"test_schedule.py:\d+: .*&, which is for assets alone.*write \|"):
        join()


@pytest.mark.parametrize(
    ("join", "says"),
    [
        (lambda: A | "s3://lake/b", "'s3://lake/b' stands beside | but is no condition: write asset('s3://lake/b')"),
        (lambda: "0 5 * * *" | A, "write cron('0 5 * * *')"),
        (lambda: A & 5, "5 stands beside & but is no condition"),
        (lambda: None & A, "None stands beside &"),
        (lambda: timedelta(hours=2) | A, "write every('2h')"),
        (lambda: A and B, "is neither true nor false: write | and &"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_mend(join: Any, says: str):
    with pytest.raises(GraphError) as error:
        join()
    assert says in str(error.value)


def test_assets_alone_never_fire_by_time():
    for one in (A, A & B, A | B):
        assert not one.timed
        assert one.next(NOON) is None
        assert one.previous(NOON) is None
        assert one.missed(NOON, NOON + timedelta(days=9), catchup=True) == []
    assert (A | every("1h")).timed


def test_two_conditions_that_fire_at_once_are_one_fire_and_one_interval():
    both = every("2h") | every("3h")
    hours = [fire.hour for fire in both.fires(datetime(2026, 1, 1, tzinfo=UTC), 5)]
    assert hours == [2, 3, 4, 6, 8]
    six = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert both.interval(six) == Interval(six - timedelta(hours=2), six)


def test_the_first_fire_of_joined_steps_has_an_interval_too():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert (every("1h", start) | every("1d", start)).interval(start).start == start - timedelta(days=1)


@settings(max_examples=80, deadline=None)
@given(timed, instants, st.integers(1, 8))
def test_fires_rise_and_the_fire_before_the_next_is_the_last(one: Any, after: datetime, count: int):
    found = one.fires(after, count)
    assert len(found) == count
    assert found == sorted(set(found))
    assert all(fire > after for fire in found)
    for before, fire in itertools.pairwise(found):
        assert one.previous(fire) == before
        assert one.interval(fire) == Interval(before, fire)
        assert one.next(fire - timedelta(microseconds=1)) == fire


@settings(max_examples=80, deadline=None)
@given(timed, instants, st.timedeltas(timedelta(0), timedelta(days=3)), st.integers(1, 7))
def test_catch_up_returns_all_that_was_missed_and_only_that(one: Any, last: datetime, asleep: timedelta, limit: int):
    now = last + asleep
    expected = []
    fire = one.next(last)
    while fire is not None and fire <= now and len(expected) < 60:
        expected.append(fire)
        fire = one.next(fire)
    found: list[Interval] = []
    at = last
    while len(found) < len(expected) and (more := one.missed(at, now, catchup=True, limit=limit)):
        assert len(more) <= limit
        found += more
        at = more[-1].end
    assert [each.end for each in found][: len(expected)] == expected
    assert all(left.end == right.start for left, right in itertools.pairwise(found))
    assert all(each.end <= now for each in found)


@settings(max_examples=80, deadline=None)
@given(timed, instants, st.lists(st.timedeltas(timedelta(days=-2), timedelta(days=2)), max_size=6), st.booleans())
def test_a_clock_that_jumps_fires_nothing_twice_and_no_storm(
    one: Any, start: datetime, jumps: list[timedelta], catchup: bool
):
    last, now = start, start
    ends: list[datetime] = []
    for jump in jumps:
        now += jump
        due = one.missed(last, now, catchup, limit=5)
        assert len(due) <= (5 if catchup else 1)
        if now < last:
            assert due == []
        for each in due:
            assert last < each.end <= now
            ends.append(each.end)
            last = each.end
    assert ends == sorted(set(ends))


def test_ten_minutes_of_sleep_with_a_fire_each_second_are_one_run_or_the_missed_ones():
    one, last = every("1s"), datetime(2026, 1, 1, tzinfo=UTC)
    now = last + timedelta(minutes=10, microseconds=5)
    newest = last + timedelta(minutes=10)
    assert one.missed(last, now) == [Interval(newest - timedelta(seconds=1), newest)]
    assert [each.end for each in one.missed(last, now, catchup=True, limit=3)] == [
        last + timedelta(seconds=n) for n in (1, 2, 3)
    ]
    assert len(one.missed(last, now, catchup=True)) == 100
    assert one.missed(newest, now, catchup=True) == []


@pytest.mark.parametrize("limit", [0, -1, True, 2.0])
def test_a_limit_that_is_none_is_refused(limit: Any):
    with pytest.raises(GraphError, match="limit is"):
        every(60).missed(NOON, NOON, catchup=True, limit=limit)


@pytest.mark.parametrize("count", [-1, True, 2.0])
def test_a_count_that_is_none_is_refused(count: Any):
    with pytest.raises(GraphError, match="count is"):
        every(60).fires(NOON, count)


@pytest.mark.parametrize(
    "one", [cron("0 5 * * MON", tz=PARIS), every("1h"), every(1.5, start=NOON), A, A & (B | C), A | every(60) | B & C]
)
def test_a_graph_carries_its_schedule_through_json(one: Condition):
    graph = Graph(dag="d", schedule=one, catchup=one.timed)
    assert decode(encode(graph)) == graph
    assert msgspec.json.decode(encode(graph))["schedule"]["type"] in ("cron", "every", "asset", "any", "all")


def test_a_graph_without_a_schedule_is_written_as_before():
    assert encode(Graph(dag="d")) == b'{"dag":"d"}'
    assert encode(Graph(dag="d", schedule=every("1h"))) == (b'{"dag":"d","schedule":{"type":"every","seconds":3600.0}}')
    assert every("1h", start=EPOCH) == Every(3600.0)


TASK = "from clearance import asset, cron, every\n@task\ndef a(n: int = 1) -> int: ...\n"


def test_a_dag_has_the_schedule_in_both_forms(made: Any):
    both = made(TASK + "d = dag('d', a, schedule=cron('0 5 * * *', tz='Europe/Paris'), catchup=True)\n")
    assert both.schedule == Cron("0 5 * * *", PARIS)
    assert both.graph().schedule == both.graph(n=2).schedule == both.schedule
    assert both.graph().catchup
    function = made(TASK + "@dag(schedule=every('1h') | asset('s3://x/y'))\ndef d(n: int = 2):\n    a(n)\n")
    assert str(function.graph().schedule) == "every('1h') | asset('s3://x/y')"
    assert not function.graph().catchup


def test_the_schedule_is_part_of_the_digest(made: Any):
    digests = {
        graph_digest(made(TASK + f"d = dag('d', a{more})\n").graph())
        for more in ("", ", schedule=every('1h')", ", schedule=every('1h'), catchup=True", ", schedule=every('2h')")
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("schedule='0 5 * * *'", "dag 'd' (pipe.py:5): schedule is '0 5 * * *': write cron('0 5 * * *')"),
        ("schedule='s3://x/y'", "write asset('s3://x/y')"),
        ("schedule=3600", "write cron('0 5 * * *'), every('1h') or asset('s3://lake/a')"),
        ("schedule=cron('61 * * * *')", "pipe.py:5: cron '61 * * * *': minute is 61: 0 to 59"),
        ("schedule=every('1h'), catchup=1", "catchup is 1: write True or False"),
        ("catchup=True", "catchup=True needs a schedule that fires by time"),
        ("schedule=asset('s3://x/y'), catchup=True", "catchup=True needs a schedule that fires by time"),
        ("scedule=every('1h')", "unknown option 'scedule' of dag; did you mean 'schedule'?"),
    ],
)
@pytest.mark.parametrize("form", ["d = dag('d', a, {})\n", "@dag({})\ndef d():\n    a()\n"])
def test_a_schedule_that_is_none_is_refused_where_it_is_written(pipeline: Any, form: str, options: str, says: str):
    with pytest.raises(GraphError) as error:
        load(pipeline(TASK + form.format(options)))
    assert says in str(error.value)


def test_a_scheduled_dag_must_need_no_parameter(pipeline: Any):
    with pytest.raises(GraphError, match=r"dag 'd' \(pipe.py:5\) has a schedule.*give 'limit' a default"):
        load(pipeline(TASK + "@dag(schedule=every('1h'))\ndef d(limit: int):\n    a(limit)\n"))
