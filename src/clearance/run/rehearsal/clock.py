"""`FakeClock`: time that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from clearance.errors import UsageError
from clearance.graph.duration import seconds
from clearance.types.clock import standing

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Called, it returns seconds since 1970. What tests skip is skipped here: retries, waits, schedules.

    Args:
        now: a moment with a zone; the first of January 2026 in UTC by default.

    Raises:
        UsageError: the moment has no zone.
    """

    def __init__(self, now: datetime = NEW_YEAR) -> None:
        self._at = _instant(now)

    def __call__(self) -> float:
        return self._at

    def __repr__(self) -> str:
        return f"<fake clock at {self.now.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The moment at which it stands, in UTC."""
        return datetime.fromtimestamp(self._at, UTC)

    def advance(self, by: float | str | timedelta) -> datetime:
        """Moves it forward: by seconds, `"1h30m"` or a timedelta; returns where it stands then.

        Raises:
            UsageError: no duration, or a negative one.
        """
        amount = by.total_seconds() if isinstance(by, timedelta) else seconds(by)
        if amount < 0:
            raise UsageError(f"advance({by!r}): time goes forward; move(…) puts a clock back")
        self._at += amount
        return self.now

    def move(self, to: datetime | float) -> datetime:
        """Puts it to a moment with a zone, or to seconds since 1970, which may lie in its past.

        Raises:
            UsageError: the moment has no zone.
        """
        self._at = _instant(to) if isinstance(to, datetime) else float(to)
        return self.now

    @contextmanager
    def standing(self) -> Iterator[FakeClock]:
        """Has ready-made tasks (`time_sensor`) go by this clock meanwhile."""
        with standing(self):
            yield self


def _instant(at: datetime) -> float:
    if at.tzinfo is None:
        raise UsageError(f"{at!r} has no zone: write datetime(2026, 1, 1, tzinfo=UTC)")
    return at.timestamp()
