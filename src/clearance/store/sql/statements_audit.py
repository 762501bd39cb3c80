"""Statements of the audit log: entries, checkpoints, inner hashes. Rows are added; an entry gets a checkpoint once."""

from __future__ import annotations

STATEMENTS: dict[str, str] = {
    "audit_add": "INSERT INTO audit (number, entry, leaf, checkpoint) VALUES (?, ?, ?, ?)",
    "audit_seal": "UPDATE audit SET checkpoint = ? WHERE number = ? AND checkpoint = ''",
    "audit_node_add": "INSERT INTO audit_node (height, number, hash) VALUES (?, ?, ?)",
    "audit_size": "SELECT coalesce(max(number) + 1, 0) FROM audit",
    "audit_between": "SELECT number, entry, leaf FROM audit WHERE number >= ? AND number < ? ORDER BY number",
    "audit_before": "SELECT number, entry FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?",
    "audit_leaves": "SELECT leaf FROM audit WHERE number >= ? AND number < ? ORDER BY number",
    "audit_nodes": "SELECT hash FROM audit_node WHERE height = ? AND number >= ? AND number < ? ORDER BY number",
    "audit_checkpoint_newest": "SELECT checkpoint FROM audit WHERE checkpoint <> '' ORDER BY number DESC LIMIT 1",
    "audit_checkpoint_covering": "SELECT checkpoint FROM audit WHERE number >= ? AND checkpoint <> ''"
    " ORDER BY number LIMIT 1",
    "audit_checkpoints": "SELECT checkpoint FROM audit WHERE checkpoint <> '' ORDER BY number",
}
