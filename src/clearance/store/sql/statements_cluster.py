"""Statements of the cluster: the queues in force, and nodes that take nothing new or are not well."""

from __future__ import annotations

STATEMENTS: dict[str, str] = {
    "queues_newest": "SELECT number, text, principal, applied_at FROM queues ORDER BY number DESC LIMIT 1",
    "queues_add": "INSERT INTO queues (number, text, principal, applied_at)"
    " SELECT coalesce(max(number), 0) + 1, ?, ?, ? FROM queues",
    "cordons": "SELECT node, reason, principal, since FROM cordon ORDER BY node",
    "cordon_put": "INSERT INTO cordon (node, reason, principal, since) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (node) DO UPDATE SET reason = excluded.reason, principal = excluded.principal,"
    " since = excluded.since",
    "cordon_remove": "DELETE FROM cordon WHERE node = ?",
    "conditions": "SELECT node, condition, reason, since FROM condition ORDER BY node",
    "condition_put": "INSERT INTO condition (node, condition, reason, since) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (node) DO UPDATE SET condition = excluded.condition, reason = excluded.reason,"
    " since = excluded.since",
    "condition_remove": "DELETE FROM condition WHERE node = ?",
}
