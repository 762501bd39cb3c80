"""`wait_for`'s data: what a task that waits for an event of an asset is woken by, and what has come already.

Rules:

1. A wait names an asset and, where wanted, a partition key. Without a key any event wakes it that comes after the run
   was made; with a key also one that came before, since a partition that was written stays written.
2. `since`, seconds since 1970, says instead from when on events count.
3. A wait consumes nothing: the same event may wake any number of tasks, and start runs.
"""

from __future__ import annotations

from typing import Any

from clearance.graph.asset import normal, wait_key
from clearance.store.database import Database
from clearance.types.cause import Trigger

KIND = "asset"


def keys_of(event: Trigger) -> tuple[str, ...]:
    """Returns the names under which tasks may wait for this event. No URI holds `#`: none is taken for another."""
    return (event.asset,) if event.key is None else (event.asset, wait_key(event.asset, event.key))


def payload(event: Trigger) -> dict[str, Any]:
    """Returns what a task is told of the event that woke it."""
    return {"event": event.number, "asset": event.asset, "key": event.key, "at": event.at}


def split(name: str) -> tuple[str, str | None]:
    """Returns asset and key of the name of a wait.

    Raises:
        GraphError: no URI.
    """
    asset, mark, key = name.partition("#")
    return normal(asset), key if mark else None


def already(
    database: Database, asset: str, key: str | None, created_at: float, since: float | None = None
) -> Trigger | None:
    """Returns the oldest event that ends a wait, if it has come; None where the task must wait.

    Args:
        database: where events are remembered.
        asset: URI in its one form.
        key: of the partition; None for any event.
        created_at: when the run of the task was made, seconds since 1970.
        since: from when on events count; None for rule 1.
    """
    start = since if since is not None else created_at if key is None else 0.0
    if key is None:
        found = database.rows("asset_event_first", asset, start)
    else:
        found = database.rows("asset_event_first_of_key", asset, start, key)
    return Trigger(*found[0]) if found else None
