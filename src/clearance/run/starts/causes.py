"""Causes as rows: why a run was started, read back from the database."""

from __future__ import annotations

from datetime import UTC, datetime

from clearance.errors import UsageError
from clearance.store.database import Database
from clearance.types.cause import Cause, Trigger


def cause_of(database: Database, run: int) -> Cause | None:
    """Returns why the run of this number was started; None where somebody started it."""
    found = database.rows("run_cause", run)
    if not found:
        return None
    kind, start, end, again, request, backfill = found[0]
    if request is None:
        return Cause(kind=kind, start=start, end=end, again=again, backfill=backfill)
    return of_request(database, request)


def of_request(database: Database, request: int) -> Cause:
    """Returns the cause of the run of a request of the mediator, with the events that it consumed."""
    events = [Trigger(*row) for row in reversed(database.rows("asset_events_of_request", request))]
    return Cause(kind="asset", key=database.rows("asset_run_key", request)[0][0], events=tuple(events), request=request)


def stamp(at: float) -> str:
    """Returns an instant as run ids name it: `2026-10-23T00:30:00Z`, in UTC."""
    return instant(at).isoformat().removesuffix("+00:00") + "Z"


def instant(at: float) -> datetime:
    """Returns the instant of seconds since 1970, to the microsecond."""
    return datetime.fromtimestamp(at, UTC)


def read(text: str, where: str) -> float:
    """Returns seconds since 1970 of an ISO 8601 time; without an offset it is in UTC.

    Raises:
        UsageError: it is no such time; `where` names what was given, for the message.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{where} {text}: write an ISO 8601 time such as 2026-03-01 or 2026-03-01T05:00+01:00"
        ) from None
    return (found if found.utcoffset() is not None else found.replace(tzinfo=UTC)).timestamp()


def interval_id(dag: str, end: float, again: int = 0) -> str:
    """Returns the id of the run of an interval: the same interval, the same id."""
    return f"{dag}/{stamp(end)}{f'.{again}' if again else ''}"


def request_id(dag: str, request: int) -> str:
    """Returns the id of the run of a request of the mediator: the same request, the same id."""
    return f"{dag}/asset-{request}"
