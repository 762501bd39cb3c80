"""What people look at of known DAGs, assets and backfills: read-only answers from the database, as plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.graph.asset import normal
from clearance.graph.firing import waits_for
from clearance.run.starts import backfill, causes, dags
from clearance.run.starts.dags import KnownDag
from clearance.run.starts.mediator import assets_of, holds, parse_condition, parse_subscription
from clearance.store.database import Database
from clearance.types.cause import Cause


def known_dags(database: Database) -> list[dict[str, Any]]:
    """Returns every known DAG: schedule, when it fires next, whether it is paused, its version, its file."""
    return [_dag(database, each) for each in dags.all_known(database)]


def _dag(database: Database, dag: KnownDag) -> dict[str, Any]:
    graph = dags.version_of(database, dag.version).graph
    row = database.rows("schedule_get", dag.name)
    due = row[0][1] if row and not dag.paused else None
    return {
        "dag": dag.name, "schedule": str(graph.schedule) if graph.schedule is not None else None,
        "next": causes.stamp(due) if due is not None else None, "paused": bool(dag.paused), "catchup": graph.catchup,
        "version": dag.version, "source": dag.source, "registered_at": dag.registered_at,
    }  # fmt: skip


def cause(found: Cause | None) -> dict[str, Any] | None:
    """Returns why a run was started, as plain data; None where somebody started it."""
    if found is None:
        return None
    told: dict[str, Any] = {"kind": found.kind}
    if found.start is not None and found.end is not None:
        told["interval"] = [causes.stamp(found.start), causes.stamp(found.end)]
    if found.backfill:
        told["backfill"] = found.backfill
    if found.request:
        told["key"] = found.key
        told["events"] = [
            {"event": each.number, "asset": each.asset, "key": each.key, "at": each.at} for each in found.events
        ]
    return told


def asset_events(database: Database, asset: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """Returns the newest events first: what wrote it, which runs it started, and which DAGs still hold it.

    Raises:
        GraphError: no URI.
    """
    if asset:
        found = database.rows("asset_events_list_of", normal(asset), limit)
    else:
        found = database.rows("asset_events_list", limit)
    if not found:
        return []
    first, last = found[-1][0], found[0][0]
    runs: dict[int, list[dict[str, Any]]] = {}
    for number, dag, run in database.rows("asset_event_runs", first, last):
        runs.setdefault(number, []).append({"dag": dag, "run": run})
    waits: dict[int, list[str]] = {}
    for number, dag in database.rows("asset_event_waits", first, last):
        waits.setdefault(number, []).append(dag)
    return [
        {
            "event": number, "asset": uri, "key": key, "at": at, "source": source,
            "started": runs.get(number, []), "waits_in": waits.get(number, []),
        }
        for number, uri, key, at, source in found
    ]  # fmt: skip


def asset_why(database: Database, name: str = "") -> list[dict[str, Any]]:
    """Returns of each DAG that waits for assets, or of one, what waits in it and why it does not run.

    Raises:
        UsageError: the DAG is not known.
    """
    chosen = [dags.known(database, name)] if name else dags.all_known(database)
    return [_why(database, each) for each in chosen if name or database.rows("asset_subscription_get", each.name)]


def _why(database: Database, dag: KnownDag) -> dict[str, Any]:
    told: dict[str, Any] = {"dag": dag.name}
    graph = dags.version_of(database, dag.version).graph
    on = waits_for(graph.schedule)
    row = database.rows("asset_subscription_get", dag.name)
    if on is None or not row:
        return told | {"on": None, "because": "it waits for no asset"}
    _, definition, after, paused, due = row[0]
    subscription = parse_subscription(msgspec.json.decode(definition))
    condition = parse_condition(on)
    waiting = {
        asset: {"events": events, "keys": keys, "oldest": oldest}
        for asset, events, keys, oldest in database.rows("asset_waiting_count", dag.name)
    }
    missing = [asset for asset in assets_of(condition) if asset not in waiting]
    active = int(database.rows("asset_run_active", dag.name)[0][0])
    if paused:
        because = "it is paused"
    elif not waiting:
        because = "no event waits"
    elif not holds(condition, waiting):
        because = f"no event yet of {', '.join(missing)}"
    elif subscription.max_active is not None and active >= subscription.max_active:
        because = f"{active} of its runs go on, max_active_runs is {subscription.max_active}"
    elif due is not None:
        because = f"debounce: it runs at {causes.stamp(due)} unless another event comes"
    elif subscription.mode == "key":
        because = "no key has an event of each asset"
    elif subscription.mode == "rollup":
        because = f"no window has {subscription.expect} keys of each asset"
    else:
        because = "it runs as soon as a controller leads"
    return told | {
        "on": on, "mode": subscription.mode, "waiting": waiting, "missing": missing, "active": active,
        "max_active": subscription.max_active, "paused": bool(paused), "since_event": after, "because": because,
    }  # fmt: skip


def backfills(database: Database, limit: int = 50) -> list[dict[str, Any]]:
    """Returns the newest backfills first, with how many of their intervals are in which state."""
    return [_backfill(database, backfill.Backfill(*row)) for row in database.rows("backfills", limit)]


def show_backfill(database: Database, id: str) -> dict[str, Any]:
    """Returns a backfill with each of its intervals.

    Raises:
        UsageError: there is none.
    """
    told = _backfill(database, backfill.get(database, id))
    told["runs"] = [
        {
            "interval": [causes.stamp(start), causes.stamp(end)], "run": run,
            "state": run_state if state == "started" else state,
        }
        for _, start, end, state, run, run_state in database.rows("backfill_intervals", id)
    ]  # fmt: skip
    return told


def _backfill(database: Database, found: backfill.Backfill) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for state, run_state, count in database.rows("backfill_summary", found.id):
        name = run_state if state == "started" else state
        counts[name] = counts.get(name, 0) + int(count)
    return {
        "id": found.id, "dag": found.dag, "state": found.state, "from": causes.stamp(found.starts_at),
        "to": causes.stamp(found.ends_at), "only": found.which.split(","), "concurrency": found.concurrency,
        "order": "newest" if found.newest_first else "oldest", "intervals": counts, "version": found.version,
        "principal": found.principal, "created_at": found.created_at, "finished_at": found.finished_at,
    }  # fmt: skip
