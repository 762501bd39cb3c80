"""Statements of what people look for and at: tags, parameters, instances of a map some at a time, equal artifacts."""

from __future__ import annotations

_INSTANCE = "number, node, task, scope, position, state, epoch, attempts, due_at, changed_at, clearance"

STATEMENTS: dict[str, str] = {
    # Tags and parameters.
    "run_tag_put": "INSERT INTO run_tag (run, name, value) VALUES (?, ?, ?)"
    " ON CONFLICT (run, name) DO UPDATE SET value = excluded.value",
    "run_tag_remove": "DELETE FROM run_tag WHERE run = ? AND name = ?",
    "run_tags": "SELECT name, value FROM run_tag WHERE run = ? ORDER BY name",
    "run_tags_between": "SELECT run, name, value FROM run_tag WHERE run BETWEEN ? AND ? ORDER BY run, name",
    "run_parameter_add": "INSERT INTO run_parameter (run, name, value, amount) VALUES (?, ?, ?, ?)",
    # Copies of a row, some at a time; the rows directly below it.
    "instances_after": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND node = ? AND scope = ?"  # noqa: S608
    " AND position > ? AND position >= 0 ORDER BY position LIMIT ?",
    # Where the same value was made, and what wrote an event.
    "asset_event_source": "SELECT source FROM asset_event WHERE number = ?",
    "artifacts_equal": "SELECT run, number FROM artifact WHERE digest = ? ORDER BY run, number LIMIT ?",
}
