"""Statements of what is told to the outside: deliveries, what they are made of, and what metrics and searches read."""

from __future__ import annotations

_DELIVERY = "sink, run, seq, kind, state, attempts, due_at, created_at, finished_at, message"

STATEMENTS: dict[str, str] = {
    "delivery_add": f"INSERT INTO delivery ({_DELIVERY}) VALUES (?, ?, ?, ?, 'pending', 0, ?, ?, NULL, '')",  # noqa: S608
    "delivery_change": "UPDATE delivery SET state = ?, attempts = attempts + 1, due_at = ?, finished_at = ?,"
    " message = ? WHERE sink = ? AND run = ? AND seq = ? AND state = 'pending'",
    "delivery_again": "UPDATE delivery SET state = 'pending', attempts = 0, due_at = ?, finished_at = NULL"
    " WHERE sink = ? AND state = 'failed'",
    "delivery_prune": "DELETE FROM delivery WHERE state = 'delivered' AND finished_at < ?",
    "deliveries_due": f"SELECT {_DELIVERY} FROM delivery WHERE state = 'pending' AND sink = ? AND due_at <= ?"  # noqa: S608
    " ORDER BY due_at, run, seq LIMIT ?",
    "deliveries_next": "SELECT min(due_at) FROM delivery WHERE state = 'pending' AND sink = ?",
    "deliveries_list": f"SELECT {_DELIVERY} FROM delivery WHERE (? = '' OR sink = ?) AND (? = '' OR state = ?)"  # noqa: S608
    " ORDER BY created_at DESC, run DESC, seq DESC LIMIT ?",
    "deliveries_summary": "SELECT sink, state, count(*) FROM delivery GROUP BY sink, state",
    "event_get": "SELECT at, run, instance, kind, payload, seq FROM event WHERE run = ? AND seq = ?",
    "events_of_restart": "SELECT seq, payload FROM event WHERE run = ? AND seq > ? AND seq <= ? AND instance = -1"
    " AND kind IN ('running', 'queued') ORDER BY seq",
    "runs_searched": "SELECT number, key, id, dag FROM run WHERE number < ? AND (? = '' OR dag = ?)"
    " AND (? = '' OR id = ?) AND coalesce(finished_at, 1e18) >= ? ORDER BY number DESC LIMIT ?",
    "attempts_searched": "SELECT attempt.number, attempt.epoch, task, scope, position FROM attempt JOIN instance"
    " ON instance.run = attempt.run AND instance.number = attempt.number WHERE attempt.run = ?"
    " AND (attempt.number > ? OR (attempt.number = ? AND attempt.epoch > ?)) AND (? = '' OR task = ?)"
    " AND coalesce(attempt.finished_at, 1e18) >= ? ORDER BY attempt.number, attempt.epoch LIMIT ?",
    "run_states": "SELECT state, count(*) FROM run GROUP BY state",
    "task_states": "SELECT instance.state, count(*) FROM instance JOIN run ON run.number = instance.run"
    " WHERE run.finished_at IS NULL GROUP BY instance.state",
}
