"""Cron expressions: what they may say, and the instants at which they fire in a time zone.

The rules are those of Debian's cron (crontab(5)); the wall clock is walked by the library cronsim:

1. Exactly five fields: minute, hour, day-of-month, month, day-of-week (0 and 7 are Sunday); names of months and days
   are fine. Seconds, `L`, `W`, `#`, `?` and `@reboot` are other dialects' and refused by name.
2. If day-of-month or day-of-week begins with `*`, both must match; else one is enough.
3. If minute or hour begins with `*`, the job follows the wall clock: what a forward jump leaves out does not fire, what
   a backward jump repeats fires again.
4. Any other job has a fixed time: left out by a forward jump, it fires at once after it; repeated by a backward jump,
   it fires the first time only.

Instants are aware datetimes in UTC. Only the hands of a wall clock are naive, and they never leave this module. For
example, `30 2 * * *` in Europe/Paris fires at 03:00 on the day when 02:00 becomes 03:00.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from clearance.errors import GraphError, nearest

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# field → least and most value, names, number of the first name
_FIELDS: dict[str, tuple[int, int, tuple[str, ...], int]] = {
    "minute": (0, 59, (), 0),
    "hour": (0, 23, (), 0),
    "day-of-month": (1, 31, (), 0),
    "month": (1, 12, _MONTHS, 1),
    "day-of-week": (0, 7, _DAYS, 0),
}
_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_DIALECT = (
    (re.compile(r"(\d*|[A-Z]{3})L(W|-\d+)?"), "L (the last) is not supported: fire on 28-31, and skip in a task"),
    (re.compile(r"\d+W"), "W (the nearest weekday) is not supported: name the days, and MON-FRI as day-of-week"),
    (re.compile(r".*#.*"), "# (the n-th weekday) is not supported: fire weekly, and skip in a task"),
    (re.compile(r"\?"), "? is not supported: write *"),
)
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST = 500
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


def check_expression(text: Any) -> str:
    """Returns the expression with single spaces and names in capitals.

    Raises:
        GraphError: what is wrong, with the field and its value: `minute is 61: 0 to 59`.
    """
    if not isinstance(text, str):
        raise GraphError(f"{text!r} is no text: write five fields, for example '0 5 * * *'")
    shown = repr(text) if len(text) <= 60 else repr(text[:57] + "…")
    fields = text.split()
    if len(text) > _LONGEST:
        raise GraphError(f"{shown} has {len(text)} characters: at most {_LONGEST}")
    if fields and fields[0].startswith("@"):
        nickname = _NICKNAMES.get(fields[0].lower())
        mend = f"write {nickname!r}" if nickname else "write five fields, for example '0 5 * * *'"
        raise GraphError(f"{shown}: {fields[0]} is not supported: {mend}")
    if len(fields) != len(_FIELDS):
        seconds = " (seconds and years are not supported)" if len(fields) in (6, 7) else ""
        raise GraphError(f"{shown} has {len(fields)} fields{seconds}: write five: {' '.join(_FIELDS)}")
    for name, field in zip(_FIELDS, fields, strict=True):
        for term in field.split(","):
            if problem := _problem(name, term):
                raise GraphError(f"{shown}: {problem}")
    pairs = zip(_FIELDS, fields, strict=True)
    expression = " ".join(",".join(_plain(name, term) for term in field.upper().split(",")) for name, field in pairs)
    if not _ever(expression):
        raise GraphError(f"{shown} never fires: month {fields[3]} has no day {fields[2]}")
    return expression


def _problem(name: str, term: str) -> str:
    """Returns what is wrong with one term of a field, else an empty string."""
    least, most, names, first = _FIELDS[name]
    span, slash, step = term.partition("/")
    low, dash, high = span.partition("-")
    if slash and (not _NUMBER.fullmatch(step) or int(step) == 0):
        return f"{name} has the step {step or 'nothing'} in {term}: a whole number from 1"
    if slash and int(step) > most - least + 1 - (name == "day-of-week"):
        unit = {"minute": "m", "hour": "h", "day-of-month": "d"}.get(name)
        mend = f"a step begins anew with each field: write every('{step}{unit}')" if unit else f"at most {most}"
        return f"{name} has the step {step} in {term}, more than there are: {mend}"
    if span == "*":
        return ""
    numbers = []
    for value in (low, high) if dash else (low,):
        if value.upper() in names:
            numbers.append(names.index(value.upper()) + first)
        elif _NUMBER.fullmatch(value):
            numbers.append(int(value))
            if not least <= int(value) <= most:
                return f"{name} is {value}: {least} to {most}"
        else:
            for dialect, says in _DIALECT:
                if dialect.fullmatch(value.upper()):
                    return f"{name} is {span}: {says}"
            also = f" or {names[0]} to {names[-1]}" if names else ""
            return f"{name} is {span or 'empty'}: {least} to {most}{also}, *, a-b, */n, or a list with commas"
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return f"{name} is {span}, a range that runs backwards: write {low}-{most},{least}-{high}"
    return ""


def _plain(name: str, term: str) -> str:
    """Returns a term without the step of a range of one value, which cronsim would take for one without an end."""
    low, dash, high = term.partition("/")[0].partition("-")
    _, _, names, first = _FIELDS[name]

    def number(value: str) -> int:
        return names.index(value) + first if value in names else int(value)

    return low if dash and "/" in term and number(low) == number(high) else term


def _ever(expression: str) -> bool:
    from cronsim import CronSimError

    try:
        return _after(expression, datetime(2000, 1, 1)) is not None
    except CronSimError:
        return False


def zone(name: Any) -> tzinfo:
    """Returns the time zone of this IANA name.

    Raises:
        GraphError: there is none; the message names the nearest.
    """
    if not isinstance(name, str):
        raise GraphError(f"tz is {name!r}: write the name of a time zone, for example 'Europe/Paris'")
    return UTC if name == "UTC" else _zone(name)


@functools.lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        raise GraphError("this machine has no time zone database: pip install tzdata, or write tz='UTC'")
    hint = _nearest_zone(name, known) or ": write a name such as 'Europe/Paris'"
    raise GraphError(f"tz is {name!r}: no such time zone{hint}")


def _nearest_zone(name: str, known: set[str]) -> str:
    folded = {one.casefold(): one for one in known}
    cities = {one.rpartition("/")[2].casefold(): one for one in sorted(known) if "/" in one}
    wanted = name.strip().replace(" ", "_").casefold()
    exact = folded.get(wanted) or cities.get(wanted.rpartition("/")[2])
    return f"; did you mean {exact!r}?" if exact else nearest(name, known)


def next_fire(expression: str, tz: tzinfo, after: datetime) -> datetime | None:
    """Returns the first instant after this one at which the expression fires, in UTC; None if there is none.

    Args:
        expression: as `check_expression` returned it.
        tz: the zone whose wall clock counts.
        after: an aware datetime in UTC.
    """
    try:
        minute, hour = expression.split()[:2]
        if minute.startswith("*") or hour.startswith("*"):
            return _next_by_wall_clock(expression, tz, after)
        return _next_fixed(expression, tz, after)
    except OverflowError:  # the end of the calendar
        return None


def _after(expression: str, wall: datetime) -> datetime | None:
    from cronsim import CronSim

    return next(CronSim(expression, wall), None)


def _wall(at: datetime, tz: tzinfo) -> datetime:
    return at.astimezone(tz).replace(tzinfo=None, fold=0)


def _offset(at: datetime, tz: tzinfo) -> timedelta:
    return at.astimezone(tz).utcoffset() or timedelta(0)


def _next_fixed(expression: str, tz: tzinfo, after: datetime) -> datetime | None:
    """Rule 4: each time on the wall clock is one instant, the first that shows it or a later time."""
    wall: datetime | None = _wall(after, tz)
    while wall is not None and (wall := _after(expression, wall)) is not None:
        at = wall.replace(tzinfo=tz).astimezone(UTC)
        if _wall(at, tz) != wall:
            before = _offset(at - _DAY, tz)
            at = _change(at - _DAY, at, tz, before) or at
        if at > after:
            return at
    return None


def _next_by_wall_clock(expression: str, tz: tzinfo, after: datetime) -> datetime | None:
    """Rule 3: between two changes of the offset, the wall clock runs as UTC does."""
    at = after.replace(microsecond=0)
    while True:
        offset = _offset(at + _SECOND, tz)
        wall = _after(expression, (at + offset).replace(tzinfo=None))
        if wall is None:
            return None
        fire = wall.replace(tzinfo=UTC) - offset
        change = _change(at + _SECOND, fire, tz, offset)
        if change is None:
            return fire
        at = change - _SECOND


def _change(start: datetime, end: datetime, tz: tzinfo, offset: timedelta) -> datetime | None:
    """Returns the first second after `start`, until `end`, whose offset is not the one at `start`; else None."""
    low = start
    while low < end:
        high = min(low + _DAY, end)
        if _offset(high, tz) != offset:
            while high - low > _SECOND:
                middle = low + _SECOND * ((high - low) // _SECOND // 2)
                low, high = (middle, high) if _offset(middle, tz) == offset else (low, middle)
            return high
        low = high
    return None
