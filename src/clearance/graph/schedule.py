"""When a DAG runs by itself: `cron`, `every`, assets, and these joined by `|` and `&`. Data, with no clock in it.

Rules:

1. `a | b` fires when either does. `a & b` waits until each has come, which only an asset can: a moment does not stay,
   so `&` takes assets alone.
2. A fire has a data interval: from the fire before it to itself. Intervals lie end to end.
3. What was missed between two instants (a controller that slept, a clock that jumped) is the newest interval alone;
   with catch-up every interval, oldest first, at most `limit` at once. A clock that goes back fires nothing.
4. `now` is a parameter, always aware of its zone. A fire carries the fixed offset of its zone at that instant, so that
   two fires compare as instants and not as hands of a clock.

For example, `cron("0 5 * * *", tz="Europe/Paris").next(after)` is the next five o'clock in Paris.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn

import msgspec

from clearance.errors import GraphError
from clearance.graph.crontab import check_expression, next_fire, zone
from clearance.graph.duration import seconds, written
from clearance.graph.origin import call_site
from clearance.types.written import Written

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_MISSED = 100

_MICROSECOND = timedelta(microseconds=1)
_LONGEST_STEP = timedelta(days=3660)
_FAR = timedelta(days=366 * 60)


class Interval(msgspec.Struct, frozen=True):
    """The data interval of a fire: from the fire before it (included) to itself (excluded)."""

    start: datetime
    end: datetime


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a DAG runs by itself; made by `cron`, `every` and `asset`, joined by `|` and `&`."""

    def __or__(self, other: Any) -> Condition:
        members = _members(AnyOf, self, other, "|")
        return AnyOf(members) if len(members) > 1 else members[0]

    def __and__(self, other: Any) -> Condition:
        members = _members(AllOf, self, other, "&")
        for member in members:
            if member.timed:
                raise GraphError(
                    f"{call_site()[0]}: {member} stands beside &, which is for assets alone, since a moment in time "
                    "does not stay: write | to run whenever either comes"
                )
        return AllOf(members) if len(members) > 1 else members[0]

    def __ror__(self, other: Any) -> NoReturn:
        raise _no_condition(other, "|")

    def __rand__(self, other: Any) -> NoReturn:
        raise _no_condition(other, "&")

    def __bool__(self) -> NoReturn:
        raise GraphError(f"{call_site()[0]}: {self} is neither true nor false: write | and & for `or` and `and`")

    @property
    def timed(self) -> bool:
        """True when it, or a part of it, fires by time."""
        return False

    def zones(self) -> frozenset[str]:
        """Returns the names of the time zones in which it fires: UTC where it names none."""
        return frozenset({"UTC"})

    def next(self, after: datetime) -> datetime | None:
        """Returns the first fire after this instant; None where time alone never fires it.

        Raises:
            GraphError: the instant has no zone.
        """
        _instant(after, "after")
        return None

    def fires(self, after: datetime, count: int) -> list[datetime]:
        """Returns the next fires after this instant: `count` of them, or fewer where there are no more.

        Raises:
            GraphError: the instant has no zone, or the count is none.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise GraphError(f"count is {count!r}: write a whole number, at least 0")
        found: list[datetime] = []
        while len(found) < count and (fire := self.next(after)) is not None:
            found.append(fire)
            after = fire
        return found

    def previous(self, before: datetime) -> datetime | None:
        """Returns the last fire before this instant; None where there is none in the 60 years before.

        Raises:
            GraphError: the instant has no zone.
        """
        high = _instant(before, "before")
        reach, found = timedelta(minutes=1), None
        while found is None:
            low = high - min(reach, _FAR, high - datetime.min.replace(tzinfo=UTC))
            found = _before(self.next(low), high)
            if found is None and (reach > _FAR or low.year < 2):
                return None
            reach *= 4
        while (later := _before(self.next(found), high)) is not None:
            middle = later + (high - later) / 2
            if (further := _before(self.next(middle), high)) is not None:
                found = further
            else:
                found, high = later, middle + _MICROSECOND
        return found

    def interval(self, fire: datetime) -> Interval:
        """Returns the data interval of a fire. The first fire of all has one too: as long as its step, else empty.

        Raises:
            GraphError: the instant has no zone.
        """
        return Interval(self.previous(fire) or self._begin(fire), fire)

    def _begin(self, fire: datetime) -> datetime:
        return fire

    def missed(self, last: datetime, now: datetime, catchup: bool = False, limit: int = MOST_MISSED) -> list[Interval]:
        """Returns the data intervals that are due: those of the fires after `last`, until `now`.

        Args:
            last: the newest fire that is dealt with; at first, when the schedule was switched on.
            now: what the clock says; before `last` when the clock was put back.
            catchup: every missed interval, oldest first; otherwise the newest alone.
            limit: at most so many. Whoever asks again with the end of the last one as `last` gets those that follow.

        Raises:
            GraphError: an instant has no zone, or the limit is none.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise GraphError(f"limit is {limit!r}: write a whole number, at least 1")
        last, now = _instant(last, "last"), _instant(now, "now")
        first = _before(self.next(last), now + _MICROSECOND)
        if first is None:
            return []
        if not catchup:
            newest = self.previous(now + _MICROSECOND)
            return [self.interval(first if newest is None else newest)]
        found = [self.interval(first)]
        while len(found) < limit and (fire := _before(self.next(first), now + _MICROSECOND)) is not None:
            found.append(Interval(first, fire))
            first = fire
        return found


class Cron(Schedule, frozen=True, tag="cron"):
    """A cron expression as `crontab.check_expression` returns it, and the name of the zone whose wall clock counts."""

    expr: str
    tz: str = "UTC"

    def __str__(self) -> str:
        return f"cron({self.expr!r}, tz={self.tz!r})"

    @property
    def timed(self) -> bool:
        return True

    def zones(self) -> frozenset[str]:
        return frozenset({self.tz})

    def next(self, after: datetime) -> datetime | None:
        tz = zone(self.tz)
        fire = next_fire(self.expr, tz, _instant(after, "after"))
        return None if fire is None else _fixed(fire.astimezone(tz))


class Every(Schedule, frozen=True, tag="every"):
    """A fixed step in seconds from an instant, in UTC. It fires at `start` too, and never before it."""

    seconds: float
    start: datetime = EPOCH

    def __str__(self) -> str:
        start = "" if self.start == EPOCH else f", start={self.start.isoformat()!r}"
        return f"every({written(self.seconds)!r}{start})"

    @property
    def timed(self) -> bool:
        return True

    def next(self, after: datetime) -> datetime | None:
        instant, step = _instant(after, "after"), timedelta(seconds=self.seconds)
        if instant < self.start:
            return self.start
        try:
            return self.start + ((instant - self.start) // step + 1) * step
        except OverflowError:  # the end of the calendar
            return None

    def previous(self, before: datetime) -> datetime | None:
        instant, step = _instant(before, "before"), timedelta(seconds=self.seconds)
        if instant <= self.start:
            return None
        return self.start + ((instant - self.start - _MICROSECOND) // step) * step

    def _begin(self, fire: datetime) -> datetime:
        return fire - timedelta(seconds=self.seconds)


class Asset(Schedule, frozen=True, tag="asset"):
    """What DAGs make and wait for, by its URI as `asset.normal` returns it."""

    uri: str

    def __str__(self) -> str:
        return f"asset({self.uri!r})"

    def written(self, key: str | None = None) -> Written:
        """Returns what a task returns to say that it has written this asset, or the partition `key` of it."""
        return Written(self.uri, key)


class AnyOf(Schedule, frozen=True, tag="any"):
    """Fires when one of its conditions does."""

    of: tuple[Condition, ...]

    def __str__(self) -> str:
        return " | ".join(f"({one})" if isinstance(one, AllOf) else str(one) for one in self.of)

    @property
    def timed(self) -> bool:
        return any(one.timed for one in self.of)

    def zones(self) -> frozenset[str]:
        named: frozenset[str] = frozenset().union(*(one.zones() for one in self.of if isinstance(one, Cron)))
        return named or super().zones()

    def next(self, after: datetime) -> datetime | None:
        _instant(after, "after")
        return min((fire for one in self.of if (fire := one.next(after)) is not None), default=None)

    def previous(self, before: datetime) -> datetime | None:
        _instant(before, "before")
        return max((fire for one in self.of if one.timed and (fire := one.previous(before)) is not None), default=None)

    def _begin(self, fire: datetime) -> datetime:
        just = fire - _MICROSECOND
        return min((one._begin(fire) for one in self.of if one.next(just) == fire), default=fire)


class AllOf(Schedule, frozen=True, tag="all"):
    """Waits until each of its assets, or conditions on assets, has come."""

    of: tuple[Condition, ...]

    def __str__(self) -> str:
        return " & ".join(f"({one})" if isinstance(one, AnyOf) else str(one) for one in self.of)


Condition = Cron | Every | Asset | AnyOf | AllOf


def cron(expr: str, tz: str = "UTC") -> Cron:
    """Fires as Debian's cron would: see `clearance.graph.crontab`.

    Args:
        expr: five fields: minute, hour, day-of-month, month, day-of-week.
        tz: IANA name of the zone whose wall clock counts.

    Raises:
        GraphError: a field that is wrong, or a zone that does not exist; both with file and line.
    """
    try:
        expression = check_expression(expr)
        zone(tz)
    except GraphError as error:
        raise GraphError(f"{call_site()[0]}: cron {error}") from None
    return Cron(expression, tz)


def every(step: float | str, start: datetime | None = None) -> Every:
    """Fires at a fixed interval, whatever the wall clock does.

    Args:
        step: seconds, or text such as `"1h"`, `"15m"`, `"1d"`: from a second to ten years.
        start: an aware datetime, the first fire; without one 1970-01-01 in UTC, so that `every("1h")` fires on the
            hour.

    Raises:
        GraphError: a step out of its range, or a start without a zone.
    """
    try:
        length = seconds(step, "step")
        if not 1 <= length <= _LONGEST_STEP.total_seconds():
            raise GraphError(f"step is {step!r}: from '1s' to '{_LONGEST_STEP.days}d'")
        return Every(length, EPOCH if start is None else _instant(start, "start"))
    except GraphError as error:
        raise GraphError(f"{call_site()[0]}: every({step!r}): {error}") from None


def check_schedule(value: Any, catchup: Any, where: str) -> Condition | None:
    """Returns the schedule of a DAG, if it is one.

    Raises:
        GraphError: no condition; catch-up that is no truth value, or without a condition that fires by time.
    """
    if value is not None and not isinstance(value, Condition):
        raise GraphError(f"{where}: schedule is {value!r}: {_mend(value)}")
    if not isinstance(catchup, bool):
        raise GraphError(f"{where}: catchup is {catchup!r}: write True or False")
    if catchup and (value is None or not value.timed):
        raise GraphError(f"{where}: catchup=True needs a schedule that fires by time: add cron(…) or every(…)")
    return value


def _members(kind: type[AnyOf] | type[AllOf], left: Any, right: Any, sign: str) -> tuple[Condition, ...]:
    """Returns the conditions on both sides, those of the same kind unfolded, each once."""
    found: dict[Condition, None] = {}
    for side in (left, right):
        if not isinstance(side, Condition):
            raise _no_condition(side, sign)
        members: Iterable[Condition] = side.of if isinstance(side, kind) else (side,)
        found.update(dict.fromkeys(members))
    return tuple(found)


def _no_condition(value: Any, sign: str) -> GraphError:
    return GraphError(f"{call_site()[0]}: {value!r} stands beside {sign} but is no condition: {_mend(value)}")


def _mend(value: Any) -> str:
    if isinstance(value, str) and "://" in value:
        return f"write asset({value!r})"
    if isinstance(value, str) and len(value.split()) == 5:
        return f"write cron({value!r})"
    if isinstance(value, timedelta):
        return f"write every({written(value.total_seconds())!r})"
    return "write cron('0 5 * * *'), every('1h') or asset('s3://lake/a'), or some of them joined by | and &"


def _instant(value: datetime, name: str) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise GraphError(
            f"{name} is {value!r}, which has no zone: write for example datetime(2026, 1, 1, tzinfo=timezone.utc)"
        )
    return value.astimezone(UTC)


def _fixed(at: datetime) -> datetime:
    """Returns the instant with a fixed offset: Python compares two times of one zone by the hands of the clock."""
    offset = at.utcoffset()
    return at.astimezone(timezone(offset) if offset else UTC)


def _before(fire: datetime | None, limit: datetime) -> datetime | None:
    return fire if fire is not None and fire < limit else None
