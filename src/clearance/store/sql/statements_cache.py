"""Statements of the cache, of clearing and marking, and of taking away what is no longer wanted."""

from __future__ import annotations

_ENTRY = "digest, function, fields, result, artifact, evidence, builder, run, task, created_at, used_at"
_LOOKUP = "run, number, digest, fields, outcome, reason, from_run, from_task, at"

STATEMENTS: dict[str, str] = {
    # The cache.
    "cache_entry_get": f"SELECT {_ENTRY} FROM cache_entry WHERE digest = ?",  # noqa: S608
    "cache_entries": f"SELECT {_ENTRY} FROM cache_entry ORDER BY used_at DESC, digest LIMIT ?",  # noqa: S608
    "cache_entries_of": f"SELECT {_ENTRY} FROM cache_entry WHERE function = ? AND created_at < ?"  # noqa: S608
    " ORDER BY created_at DESC, digest LIMIT ?",
    "cache_entry_put": f"INSERT INTO cache_entry ({_ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (digest) DO UPDATE SET result = excluded.result, artifact = excluded.artifact,"
    " evidence = excluded.evidence, builder = excluded.builder, run = excluded.run, task = excluded.task,"
    " created_at = excluded.created_at, used_at = excluded.used_at",
    "cache_entry_use": "UPDATE cache_entry SET used_at = ? WHERE digest = ?",
    "cache_entry_drop": "DELETE FROM cache_entry WHERE digest = ?",
    "cache_forget": "DELETE FROM cache_entry WHERE digest IN (SELECT digest FROM cache_lookup WHERE run = ?"
    " AND number = ?)",
    "cache_entries_unused": "SELECT digest FROM cache_entry WHERE used_at < ? ORDER BY digest",
    "cache_code_add": "INSERT INTO cache_code (digest, parts) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
    "cache_code_get": "SELECT parts FROM cache_code WHERE digest = ?",
    "cache_lookup_put": f"INSERT INTO cache_lookup ({_LOOKUP}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (run, number) DO UPDATE SET digest = excluded.digest, fields = excluded.fields,"
    " outcome = excluded.outcome, reason = excluded.reason, from_run = excluded.from_run,"
    " from_task = excluded.from_task, at = excluded.at",
    "cache_lookup_get": f"SELECT {_LOOKUP} FROM cache_lookup WHERE run = ? AND number = ?",  # noqa: S608
    "environment_get": "SELECT lock FROM environment WHERE digest = ?",
    # What is no longer wanted.
    "runs_old": "SELECT number, dag FROM run WHERE finished_at < ? AND state IN ('success', 'failed', 'cancelled')"
    " AND NOT EXISTS (SELECT 1 FROM service WHERE service.run = run.number) ORDER BY number LIMIT ?",
    "pruned_add": "INSERT INTO pruned (dag, runs, highest) VALUES (?, 1, ?) ON CONFLICT (dag) DO UPDATE SET"
    " runs = pruned.runs + 1, highest = CASE WHEN excluded.highest > pruned.highest THEN excluded.highest"
    " ELSE pruned.highest END",
    "prune_events": "DELETE FROM event WHERE run = ?",
    "prune_attestations": "DELETE FROM attestation WHERE run = ? AND NOT EXISTS (SELECT 1 FROM artifact"
    " WHERE artifact.digest = attestation.subject AND artifact.run <> attestation.run) AND NOT EXISTS"
    " (SELECT 1 FROM cache_entry WHERE cache_entry.artifact = attestation.subject)",
    "prune_artifacts": "DELETE FROM artifact WHERE run = ?",
    "prune_attempts": "DELETE FROM attempt WHERE run = ?",
    "prune_deferrals": "DELETE FROM deferral WHERE run = ?",
    "prune_approvals": "DELETE FROM approval WHERE run = ?",
    "prune_lookups": "DELETE FROM cache_lookup WHERE run = ?",
    "prune_marks": "DELETE FROM mark WHERE run = ?",
    "prune_steps": "DELETE FROM step WHERE run = ?",
    "prune_tags": "DELETE FROM run_tag WHERE run = ?",
    "prune_parameters": "DELETE FROM run_parameter WHERE run = ?",
    "prune_deliveries": "DELETE FROM delivery WHERE run = ?",
    "prune_instances": "DELETE FROM instance WHERE run = ?",
    "prune_causes": "DELETE FROM run_cause WHERE run = ?",
    "prune_runs": "DELETE FROM run WHERE number = ?",
    "prune_versions": "DELETE FROM dag_version WHERE created_at < ?"
    " AND NOT EXISTS (SELECT 1 FROM run WHERE run.version = dag_version.digest)"
    " AND NOT EXISTS (SELECT 1 FROM dag WHERE dag.version = dag_version.digest)"
    " AND NOT EXISTS (SELECT 1 FROM backfill WHERE backfill.version = dag_version.digest)"
    " AND created_at < (SELECT max(newer.created_at) FROM dag_version AS newer WHERE newer.dag = dag_version.dag)",
    "artifacts_all": "SELECT run, number, data FROM artifact WHERE (run, number) > (?, ?) ORDER BY run, number LIMIT ?",
    "attempts_left": "SELECT run, number, epoch, failure FROM attempt WHERE (run, number, epoch) > (?, ?, ?)"
    " AND failure LIKE ? ORDER BY run, number, epoch LIMIT ?",
    "cache_results": "SELECT digest, result FROM cache_entry WHERE digest > ? ORDER BY digest LIMIT ?",
    "bundles_used": "SELECT bundle FROM dag_version UNION SELECT bundle FROM service",
    # Versions.
    "versions_of": "SELECT digest, bundle, module, created_at, (SELECT count(*) FROM run WHERE run.version ="
    " dag_version.digest) FROM dag_version WHERE dag = ? ORDER BY created_at DESC, digest",
    "version_environment": "SELECT environment FROM run WHERE version = ? ORDER BY number DESC LIMIT 1",
    # Clearing and marking.
    "artifact_drop": "DELETE FROM artifact WHERE run = ? AND number = ?",
    "instance_drop": "DELETE FROM instance WHERE run = ? AND number = ? AND position >= 0",
    "instances_finished": "SELECT node, scope, position, number, state FROM instance WHERE run = ? AND position >= 0"
    " AND state IN ('success', 'failed', 'upstream_failed', 'skipped', 'cancelled')",
    "instance_numbers": "SELECT max(number) FROM (SELECT max(number) AS number FROM instance WHERE run = ?"
    " UNION ALL SELECT max(number) FROM attempt WHERE run = ? UNION ALL SELECT max(number) FROM cache_lookup"
    " WHERE run = ?) AS numbers",
    "mark_add": "INSERT INTO mark (run, number, at, state, reason, principal, applied) VALUES (?, ?, ?, ?, ?, ?, 0)",
    "mark_apply": "UPDATE mark SET applied = 1 WHERE run = ? AND number = ?",
    "marks_open": "SELECT number, state, reason FROM mark WHERE run = ? AND applied = 0 ORDER BY at",
    "marks_in": "SELECT number, state, reason, principal FROM mark WHERE run = ? ORDER BY at",
    "marks_of": "SELECT at, state, reason, principal FROM mark WHERE run = ? AND number = ? ORDER BY at",
}
