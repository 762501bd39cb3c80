"""Why a run was started when nobody started it: the fire of a schedule, events of assets, or a backfill."""

from __future__ import annotations

import msgspec


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that started a run.

    Attributes:
        number: of the event, by commit order.
        asset: URI of what was written.
        at: when, in seconds since 1970.
        key: of the partition; None for the whole.
    """

    number: int
    asset: str
    at: float = 0.0
    key: str | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What started a run.

    Attributes:
        kind: `schedule`, `asset` or `backfill`.
        start: the data interval's begin, in seconds since 1970; None where there is no interval.
        end: its end, at which the schedule fires: the run's logical time.
        again: 0 for the first run of an interval; more where a backfill was told to make another.
        key: partition key or window of the events.
        events: that the run consumed, oldest first; of more than 1,000 the newest.
        request: number of the request of the events' subscription; 0 for none.
        backfill: id of the backfill.
    """

    kind: str
    start: float | None = None
    end: float | None = None
    again: int = 0
    key: str | None = None
    events: tuple[Trigger, ...] = ()
    request: int = 0
    backfill: str = ""
