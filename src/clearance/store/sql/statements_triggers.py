"""Statements of what starts runs by itself: known DAGs, schedules, causes, backfills, and what people ask of assets."""

from __future__ import annotations

_DAG = "name, version, source, principal, paused, registered_at"
_BACKFILL = (
    "id, dag, version, principal, starts_at, ends_at, which, newest_first, concurrency, state, created_at, finished_at"
)

STATEMENTS: dict[str, str] = {
    # Known DAGs.
    "dag_put": f"INSERT INTO dag ({_DAG}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"  # noqa: S608
    " version = excluded.version, source = excluded.source, principal = excluded.principal,"
    " registered_at = excluded.registered_at",
    "dag_get": f"SELECT {_DAG} FROM dag WHERE name = ?",  # noqa: S608
    "dags": f"SELECT {_DAG} FROM dag ORDER BY name",  # noqa: S608
    "dag_pause": "UPDATE dag SET paused = ? WHERE name = ?",
    "dag_clear": "DELETE FROM dag WHERE name = ?",
    # Schedules: the newest fire that is dealt with, and when the next one is due.
    "schedule_put": "INSERT INTO schedule (dag, last, due_at) VALUES (?, ?, ?)"
    " ON CONFLICT (dag) DO UPDATE SET last = excluded.last, due_at = excluded.due_at",
    "schedule_get": "SELECT last, due_at FROM schedule WHERE dag = ?",
    "schedule_move": "UPDATE schedule SET last = ?, due_at = ? WHERE dag = ? AND last = ?",
    "schedule_clear": "DELETE FROM schedule WHERE dag = ?",
    "schedules_due": "SELECT dag FROM schedule WHERE due_at <= ? ORDER BY due_at, dag",
    "schedules_held": "SELECT dag FROM schedule JOIN dag ON dag.name = schedule.dag"
    " WHERE due_at IS NULL AND paused = 0 ORDER BY dag",
    "schedule_next_due": "SELECT min(due_at) FROM schedule",
    # Why a run was started.
    "run_cause_add": "INSERT INTO run_cause (run, dag, kind, starts_at, ends_at, again, request, backfill)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "run_cause": "SELECT kind, starts_at, ends_at, again, request, backfill FROM run_cause WHERE run = ?",
    "run_causes": "SELECT run, kind, starts_at, ends_at, again, request, backfill FROM run_cause"
    " WHERE run BETWEEN ? AND ?",
    "runs_of_interval": "SELECT run.id, run.state, run_cause.again FROM run_cause JOIN run"
    " ON run.number = run_cause.run WHERE run_cause.dag = ? AND ends_at = ? ORDER BY again",
    "intervals_of_dag": "SELECT ends_at, again, run.state FROM run_cause JOIN run ON run.number = run_cause.run"
    " WHERE run_cause.dag = ? AND ends_at >= ? AND ends_at <= ? ORDER BY ends_at, again",
    # Backfills.
    "backfill_add": f"INSERT INTO backfill ({_BACKFILL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
    "backfill_get": f"SELECT {_BACKFILL} FROM backfill WHERE id = ?",  # noqa: S608
    "backfills": f"SELECT {_BACKFILL} FROM backfill ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608
    "backfills_in": "SELECT id FROM backfill WHERE state = ? ORDER BY created_at, id",
    "backfill_count": "SELECT count(*) FROM backfill WHERE dag = ?",
    "backfill_move": "UPDATE backfill SET state = ?, finished_at = ? WHERE id = ? AND state = ?",
    "backfill_interval_add": "INSERT INTO backfill_interval (backfill, position, starts_at, ends_at, again, state)"
    " VALUES (?, ?, ?, ?, ?, 'pending')",
    "backfill_interval_move": "UPDATE backfill_interval SET state = ?, run = ?, again = ? WHERE backfill = ?"
    " AND position = ? AND state = 'pending'",
    "backfill_intervals_cancel": "UPDATE backfill_interval SET state = 'cancelled' WHERE backfill = ?"
    " AND state = 'pending'",
    "backfill_pending": "SELECT position, starts_at, ends_at, again FROM backfill_interval WHERE backfill = ?"
    " AND state = 'pending' ORDER BY position LIMIT ?",
    "backfill_intervals": "SELECT position, starts_at, ends_at, backfill_interval.state, backfill_interval.run,"
    " run.state FROM backfill_interval LEFT JOIN run ON run.id = backfill_interval.run WHERE backfill = ?"
    " ORDER BY position",
    "backfill_summary": "SELECT backfill_interval.state, run.state, count(*) FROM backfill_interval"
    " LEFT JOIN run ON run.id = backfill_interval.run WHERE backfill = ?"
    " GROUP BY backfill_interval.state, run.state",
    # What the control loop and people ask of assets.
    "asset_event_at": "SELECT number, asset, at, key FROM asset_event WHERE number = ?",
    "asset_events_of_request": "SELECT number, asset, at, asset_event.key FROM asset_event JOIN consumed"
    " ON consumed.event = asset_event.number WHERE consumed.request = ? ORDER BY number DESC LIMIT 1000",
    "asset_event_by": "SELECT number, asset, key FROM asset_event WHERE source = ?",
    "approvals_waiting": "SELECT run.id, task, scope, position, since, deadline, details FROM deferral"
    " JOIN instance ON instance.run = deferral.run AND instance.number = deferral.number"
    " JOIN run ON run.number = deferral.run WHERE deferral.kind = 'approval' AND deferral.waiting = 1"
    " AND (? = '' OR run.id = ?) ORDER BY since, deferral.run, deferral.number LIMIT ?",
    "asset_events_list": "SELECT number, asset, key, at, source FROM asset_event ORDER BY number DESC LIMIT ?",
    "asset_events_list_of": "SELECT number, asset, key, at, source FROM asset_event WHERE asset = ?"
    " ORDER BY number DESC LIMIT ?",
    "asset_event_runs": "SELECT consumed.event, consumed.subscription, asset_run.run FROM consumed"
    " JOIN asset_run ON asset_run.number = consumed.request WHERE consumed.event BETWEEN ? AND ?"
    " ORDER BY consumed.event, consumed.subscription",
    "asset_event_waits": "SELECT event, subscription FROM asset_waiting WHERE event BETWEEN ? AND ?"
    " ORDER BY event, subscription",
    "asset_event_first": "SELECT number, asset, at, key FROM asset_event WHERE asset = ? AND at >= ?"
    " ORDER BY number LIMIT 1",
    "asset_event_first_of_key": "SELECT number, asset, at, key FROM asset_event WHERE asset = ? AND at >= ?"
    " AND key = ? ORDER BY number LIMIT 1",
    "asset_subscription_any": "SELECT 1 FROM asset_subscription LIMIT 1",
    "asset_run_key": "SELECT key FROM asset_run WHERE number = ?",
    "asset_runs_ended": "SELECT asset_run.number FROM asset_run JOIN run ON run.id = asset_run.run"
    " WHERE asset_run.finished_at IS NULL AND run.state <> 'running' ORDER BY asset_run.number",
    "asset_waiting_count": "SELECT asset, count(*), count(DISTINCT key), min(at) FROM asset_waiting"
    " WHERE subscription = ? GROUP BY asset",
}
