"""Recorded traces of assets through the real mediator: a scratch database, and the trace's own clock.

A trace is `{"id", "subs": [subscription…], "ops": [{"op": "event" | "done" | "pause" | "resume" | "tick", "t", …}…]}`;
runs are numbered from 0 over all subscriptions, in the order in which they start.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clearance.errors import GraphError, UsageError, nearest
from clearance.run.host import lease
from clearance.run.starts.assets import Assets, Requested
from clearance.run.starts.mediator import parse_subscription
from clearance.store.database import Database

OPERATIONS = ("event", "done", "pause", "resume", "tick")


def replay(traces: Iterable[Any]) -> list[dict[str, Any]]:
    """Returns `{"id", "runs"}` of every trace, each through a fresh SQLite database in a temporary folder.

    Raises:
        UsageError: a trace, a subscription or an operation is wrong; the message names it.
    """
    found = []
    for index, trace in enumerate(traces):
        with (
            tempfile.TemporaryDirectory(prefix="clearance-replay-") as folder,
            Database(f"sqlite:///{Path(folder) / 'trace.db'}", synchronous="OFF") as database,
        ):
            database.migrate()
            try:
                runs = replay_into(database, trace)
            except UsageError as error:
                name = trace.get("id", index) if isinstance(trace, dict) else index
                raise UsageError(f"trace {name}: {error}") from None
        found.append({"id": trace.get("id", index), "runs": runs})
    return found


def replay_into(database: Database, trace: Any) -> list[dict[str, Any]]:
    """Replays one trace into a database without assets; returns its runs: `{"sub", "t", "events"[, "key"]}`.

    Raises:
        UsageError: the trace is wrong (what came before in it has been written), or somebody leads on this database.
    """
    if not isinstance(trace, dict) or not all(isinstance(trace.get(part), list) for part in ("subs", "ops")):
        raise UsageError('a trace is {"id", "subs": […], "ops": […]}')
    held = lease.take(database, "replay", 0.0)
    if isinstance(held, lease.Held):
        raise UsageError("somebody leads on this database: replay into one of its own")
    assets = Assets(database, held)
    names: set[str] = set()
    for data in trace["subs"]:
        subscription = parse_subscription({"at": 0, **data} if isinstance(data, dict) else data)
        if subscription.name in names:
            raise GraphError(f"two subscriptions are named {subscription.name!r}: a DAG has one, with any or all")
        names.add(subscription.name)
        assets.subscribe(subscription)
    runs: list[dict[str, Any]] = []
    numbers: list[int] = []
    for index, operation in enumerate(trace["ops"]):
        try:
            started = _apply(assets, operation, numbers)
        except UsageError as error:
            raise UsageError(f"operation {index}: {error}") from None
        for request in started:
            numbers.append(request.number)
            run = {"sub": request.subscription, "t": operation["t"], "events": list(request.events)}
            runs.append(run if request.key is None else {**run, "key": request.key})
    return runs


def _apply(assets: Assets, operation: Any, numbers: list[int]) -> list[Requested]:
    """Applies one operation; `numbers` are those of the requests so far."""
    if not isinstance(operation, dict) or not _is_time(operation.get("t")):
        raise UsageError('an operation has "op", and "t" in seconds')
    now = float(operation["t"])
    match operation.get("op"):
        case "event":
            key = operation.get("key")
            if not isinstance(key, str | None):
                raise UsageError(f"key {key!r}: use a text")
            return assets.emit(operation.get("asset", ""), now, key=key)
        case "done":
            run = operation.get("run")
            if not isinstance(run, int) or isinstance(run, bool) or not 0 <= run < len(numbers):
                raise UsageError(f"run {run!r} has not been started: {len(numbers)} have, numbered from 0")
            return assets.finish(numbers[run], now)
        case "pause":
            return assets.pause(str(operation.get("sub")), now)
        case "resume":
            return assets.resume(str(operation.get("sub")), now)
        case "tick":
            return assets.tick(now)
    name = operation.get("op")
    raise UsageError(f"no operation {name!r}: use one of {', '.join(OPERATIONS)}{nearest(str(name), OPERATIONS)}")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
