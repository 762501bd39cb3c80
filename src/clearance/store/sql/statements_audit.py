"""Statements of the audit log: entries, inner hashes, checkpoints. Rows are added and never changed."""

from __future__ import annotations

STATEMENTS: dict[str, str] = {
    "audit_add": "INSERT INTO audit (number, entry, leaf) VALUES (?, ?, ?)",
    "audit_node_add": "INSERT INTO audit_node (height, number, hash) VALUES (?, ?, ?)",
    "audit_checkpoint_add": "INSERT INTO audit_checkpoint (size, note) VALUES (?, ?)",
    "audit_size": "SELECT coalesce(max(number) + 1, 0) FROM audit",
    "audit_between": "SELECT number, entry, leaf FROM audit WHERE number >= ? AND number < ? ORDER BY number",
    "audit_before": "SELECT number, entry FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?",
    "audit_leaves": "SELECT leaf FROM audit WHERE number >= ? AND number < ? ORDER BY number",
    "audit_nodes": "SELECT hash FROM audit_node WHERE height = ? AND number >= ? AND number < ? ORDER BY number",
    "audit_checkpoint_newest": "SELECT size, note FROM audit_checkpoint ORDER BY size DESC LIMIT 1",
    "audit_checkpoint_covering": "SELECT size, note FROM audit_checkpoint WHERE size > ? ORDER BY size LIMIT 1",
    "audit_checkpoints": "SELECT size, note FROM audit_checkpoint ORDER BY size",
    "audit_checkpoint_at": "SELECT note FROM audit_checkpoint WHERE size = ?",
}
