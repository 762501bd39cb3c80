"""Cron expressions and the instants at which they fire: the shared vectors, and every minute by brute force."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.crontab import check_expression, next_fire, zone
from clearance.graph.schedule import cron

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared/data")) / "flow"
MINUTE = timedelta(minutes=1)


def shared(key: str) -> list[Any]:
    file = DATA / "cron_vectors.json"
    if not file.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{file} is missing"))]
    return list(json.loads(file.read_text())[key])


@pytest.mark.parametrize("vector", shared("vectors"))
def test_the_shared_vectors(vector: dict[str, Any]):
    found = cron(vector["expr"], tz=vector["tz"]).fires(datetime.fromisoformat(vector["start"]), 6)
    assert [fire.isoformat() for fire in found] == vector["next"]


@pytest.mark.parametrize("expression", shared("invalid"))
def test_the_shared_invalid_expressions_are_refused_with_field_and_value(expression: str):
    with pytest.raises(
        GraphError, match=r"has [04] fields: write five|(minute|hour|day-of-\w+|month) (is|has)"
    ) as error:
        cron(expression)
    assert repr(expression) in str(error.value)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "'61 * * * *': minute is 61: 0 to 59"),
        (
            "*/61 * * * *",
            "minute has the step 61 in */61, more than there are: a step begins anew with each field",
        ),
        ("0 */36 * * *", "write every('36h')"),
        ("0 0 1 */13 *", "month has the step 13 in */13, more than there are: at most 12"),
        ("0 0 * * 1-5/8", "day-of-week has the step 8"),
        ("0 5 * * 8", "day-of-week is 8: 0 to 7"),
        ("1-60 * * * *", "minute is 60: 0 to 59"),
        ("0 0 * * FRI-MON", "day-of-week is FRI-MON, a range that runs backwards: write FRI-7,0-MON"),
        ("0 0 * JAM *", "month is JAM: 1 to 12 or JAN to DEC"),
        ("1,,2 * * * *", "minute is empty"),
        ("*/x * * * *", "minute has the step x in */x: a whole number from 1"),
        ("-1 * * * *", "minute is -1: 0 to 59"),
        ("* * * * * *", "has 6 fields (seconds and years are not supported): write five"),
        ("0 0 0 1 1 * 2026", "has 7 fields (seconds and years"),
        ("0 0 L * *", "day-of-month is L: L (the last) is not supported"),
        ("0 0 l-3 * *", "day-of-month is l-3: L (the last)"),
        ("0 0 LW * *", "L (the last) is not supported"),
        ("0 0 * * 5L", "day-of-week is 5L: L (the last)"),
        ("0 0 15W * *", "day-of-month is 15W: W (the nearest weekday) is not supported"),
        ("0 0 * * MON#2", "day-of-week is MON#2: # (the n-th weekday) is not supported"),
        ("0 0 ? * *", "day-of-month is ?: ? is not supported: write *"),
        ("@reboot", "@reboot is not supported: write five fields"),
        ("@Daily", "@Daily is not supported: write '0 0 * * *'"),
        ("0 0 30 2 *", "never fires: month 2 has no day 30"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("٣ * * * *", "minute is ٣"),
        ("0" * 501, "has 501 characters"),
        (5, "5 is no text"),
    ],
)
def test_what_is_no_cron_expression_is_refused_by_name(expression: Any, says: str):
    with pytest.raises(GraphError) as error:
        check_expression(expression)
    assert says in str(error.value)


@given(st.text("0123456789*/-,LW#?@ MONJAN", max_size=20))
def test_an_expression_is_read_or_refused_and_never_a_crash(text: str):
    try:
        expression = check_expression(text)
    except GraphError:
        return
    assert check_expression(expression) == expression
    assert next_fire(expression, UTC, datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Pariss", "did you mean 'Europe/Paris'?"),
        ("europe/paris", "did you mean 'Europe/Paris'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("Mars/Phobos", "write a name such as 'Europe/Paris'"),
        ("", "no such time zone"),
        ("../../etc/passwd", "no such time zone"),
        (None, "write the name of a time zone"),
    ],
)
def test_an_unknown_zone_names_the_nearest(name: Any, says: str):
    with pytest.raises(GraphError, match="tz is ") as error:
        zone(name)
    assert says in str(error.value)


def test_a_machine_without_zones_says_so(monkeypatch):
    import zoneinfo

    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(GraphError, match="pip install tzdata"):
        zone("Nowhere/Yet")


# Forward and backward changes: of an hour, of half an hour, of two hours, at midnight, of a whole day.
CHANGES = [
    ("Europe/Paris", "2026-03-29T01:00"), ("Europe/Paris", "2026-10-25T01:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"), ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Antarctica/Troll", "2026-03-29T01:00"), ("Antarctica/Troll", "2026-10-25T01:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"), ("America/Sao_Paulo", "2019-02-17T02:00"),
    ("Pacific/Apia", "2011-12-30T10:00"), ("Africa/Casablanca", "2026-02-15T02:00"),
]  # fmt: skip
FIELDS = ["*", "*/2", "0", "30", "15,45", "0-59", "*/20", "50-59"]
HOURS = ["*", "*/2", "0", "1", "2", "3", "1-3", "0-23", "*/3", "23"]
DAYS = ["* *", "* *", "* *", "*/2 *", "25,29 *", "* 0", "1-31 SUN", "30 6"]


def holds(field: str, value: int, least: int, most: int) -> bool:
    for term in field.split(","):
        span, _, step = term.partition("/")
        low, high = (least, most) if span == "*" else [int(one) for one in (span.split("-") * 2)[:2]]
        if value in range(low, high + 1, int(step or 1)):
            return True
    return False


def matches(expression: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = expression.replace("SUN", "0").split()
    on_day, on_weekday = holds(day, wall.day, 1, 31), holds(weekday, wall.isoweekday() % 7, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")
    return (
        holds(minute, wall.minute, 0, 59)
        and holds(hour, wall.hour, 0, 23)
        and holds(month, wall.month, 1, 12)
        and (on_day and on_weekday if both else on_day or on_weekday)
    )


def by_brute_force(expression: str, tz: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Walks the minutes in UTC as Debian's cron does: the rules once more, in the plainest form."""
    minute, hour = expression.split()[:2]
    fixed = not minute.startswith("*") and not hour.startswith("*")
    now = after - timedelta(days=2)
    newest = now.astimezone(tz).replace(tzinfo=None)
    while (now := now + MINUTE) < until:
        wall = now.astimezone(tz).replace(tzinfo=None, fold=0)
        if not fixed:
            fires = matches(expression, wall)
        else:  # every minute of the wall clock that is new by now, whether it was shown or jumped over
            new = [newest + MINUTE * n for n in range(1, (wall - newest) // MINUTE + 1)]
            fires = any(matches(expression, one) for one in new)
            newest = max(newest, wall)
        if fires and now > after:
            yield now


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CHANGES), st.sampled_from(FIELDS), st.sampled_from(HOURS), st.sampled_from(DAYS),
    st.integers(-1500, 200), st.sampled_from([0, 0, 1, 59]),
)  # fmt: skip
def test_every_fire_around_a_change_of_the_clock_is_the_one_of_brute_force(change, minute, hour, days, offset, second):
    day, weekday = days.split()
    expression = check_expression(f"{minute} {hour} {day} * {weekday}")
    at = datetime.fromisoformat(change[1]).replace(tzinfo=UTC)
    after, until = at + offset * MINUTE + timedelta(seconds=second), at + timedelta(hours=30)
    tz = ZoneInfo(change[0])
    expected = list(by_brute_force(expression, tz, after.replace(second=0), until))
    found = []
    while (fire := next_fire(expression, tz, found[-1] if found else after)) is not None and fire < until:
        found.append(fire)
    assert found == [one for one in expected if one > after]


def spans(least: int, most: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[tuple[str, set[int]]]:
    """Terms of a field with the values that they name, by the plainest reading of crontab(5)."""

    def shown(value: int) -> st.SearchStrategy[str]:
        written = [str(value), f"{value:02d}"]
        if least <= value - least < len(names) and names:
            written += [names[value - least], names[value - least].lower()]
        return st.sampled_from(written)

    @st.composite
    def term(draw: Any) -> tuple[str, set[int]]:
        low = draw(st.integers(least, most))
        high = draw(st.integers(low, most))
        step = draw(st.integers(1, min(9, most - least)))
        match draw(st.sampled_from(["value", "range", "stepped", "every"])):
            case "value":
                return draw(shown(low)), {low}
            case "range":
                return f"{draw(shown(low))}-{draw(shown(high))}", set(range(low, high + 1))
            case "stepped":
                return f"{draw(shown(low))}-{draw(shown(high))}/{step}", set(range(low, high + 1, step))
        return f"*/{step}", set(range(least, most + 1, step))

    terms = st.lists(term(), min_size=1, max_size=3)
    return terms.map(lambda found: (",".join(text for text, _ in found), set().union(*(values for _, values in found))))


MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@settings(max_examples=200, deadline=None)
@given(
    spans(0, 59), spans(0, 23), spans(1, 31), spans(1, 12, MONTHS), spans(0, 7, WEEKDAYS),
    st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1)),
)  # fmt: skip
def test_lists_ranges_steps_and_names_fire_as_they_are_read(minute, hour, day, month, weekday, after):
    text = " ".join(field for field, _ in (minute, hour, day, month, weekday))
    try:
        expression = check_expression(text)
    except GraphError as error:
        if "never fires" not in str(error):
            raise
        return
    weekdays = {value % 7 for value in weekday[1]}
    both = day[0].startswith("*") or weekday[0].startswith("*")

    def fires_on(date: datetime) -> bool:
        on_day, on_weekday = date.day in day[1], date.isoweekday() % 7 in weekdays
        return date.month in month[1] and (on_day and on_weekday if both else on_day or on_weekday)

    start = after.replace(second=0, microsecond=0)
    found = next_fire(expression, UTC, start.replace(tzinfo=UTC))
    assert found is not None
    date = start.replace(hour=0, minute=0)
    while True:
        times = [(h, m) for h in sorted(hour[1]) for m in sorted(minute[1])] if fires_on(date) else []
        later = [date.replace(hour=h, minute=m) for h, m in times if date.replace(hour=h, minute=m) > start]
        if later:
            break
        date += timedelta(days=1)
    assert found == later[0].replace(tzinfo=UTC)


def test_a_range_of_one_value_with_a_step_is_that_value():
    assert check_expression("49-49/2 5-05/3 * jan-1/2 7-7/4") == "49 5 * JAN 7"
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    fires = cron("54-54/3 8-8/2 * * *").fires(noon, 2)
    assert [fire.isoformat() for fire in fires] == ["2026-03-02T08:54:00+00:00", "2026-03-03T08:54:00+00:00"]


def test_a_fixed_time_that_is_jumped_over_fires_at_once_and_one_that_comes_twice_fires_once():
    tz = zone("Europe/Paris")
    spring = next_fire("30 2 * * *", tz, datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert spring == datetime(2026, 3, 29, 1, tzinfo=UTC)
    autumn = next_fire("30 2 * * *", tz, datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_fire("30 2 * * *", tz, autumn) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_between_the_two_passes_of_an_hour_a_fixed_time_does_not_fire_in_the_past():
    after = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Paris, for the second time
    assert next_fire("30 2 * * *", zone("Europe/Paris"), after) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_leap_day_is_found_years_ahead():
    after = datetime(2097, 1, 1, tzinfo=UTC)
    assert next_fire("0 0 29 2 *", UTC, after) == datetime(2104, 2, 29, tzinfo=UTC)
    assert next_fire("*/5 0 29 2 *", zone("Europe/Paris"), after) == datetime(2104, 2, 28, 23, tzinfo=UTC)


@pytest.mark.parametrize("tz", ["UTC", "Europe/Paris"])
@pytest.mark.parametrize("expression", ["0 0 1 1 *", "* * * * *"])
def test_the_end_of_the_calendar_is_no_crash(expression: str, tz: str):
    assert next_fire(expression, zone(tz), datetime.max.replace(tzinfo=UTC)) is None


def test_cronsim_is_imported_when_a_cron_is_used():
    code = (
        "import sys; from clearance import dag, task, every; import clearance.graph.loading; every('1h')\n"
        "assert 'cronsim' not in sys.modules and 'zoneinfo' not in sys.modules\n"
        "from clearance import cron; cron('0 5 * * *'); assert 'cronsim' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
