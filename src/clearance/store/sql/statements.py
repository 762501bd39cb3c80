"""Every SQL statement, by name: one text for both dialects, with `?` for each parameter.

Writes that must not be lost to a race are compare-and-set: their WHERE names the state and epoch that
the writer believes in, and `Database.apply` refuses the whole batch when a row did not match.
"""

from __future__ import annotations

from clearance.store.sql import (
    statements_access,
    statements_audit,
    statements_cache,
    statements_cluster,
    statements_identities,
    statements_telemetry,
    statements_triggers,
)

_RUN = "number, key, id, dag, version, state, parameters, principal, environment, created_at, finished_at"

_INSTANCE = "number, node, task, scope, position, state, epoch, attempts, due_at, changed_at, clearance"

_STEPS = (
    "SELECT step.position, step.number, path, step.task, idx, entry, inputs, state, attempts, data, failure,"
    " started_at, finished_at FROM step JOIN instance ON instance.run = step.run AND instance.number = step.number"
    " LEFT JOIN artifact ON artifact.run = step.run AND artifact.number = step.number"
    " LEFT JOIN attempt ON attempt.run = step.run AND attempt.number = step.number AND attempt.epoch = instance.epoch"
    " WHERE step.run = ?"
)

STATEMENTS: dict[str, str] = {
    # The lease: who leads.
    "lease_read": "SELECT epoch, holder, address, expires_at FROM lease WHERE name = ?",
    "lease_create": "INSERT INTO lease (name, epoch, holder, address, expires_at) VALUES (?, 0, '', '', 0)"
    " ON CONFLICT (name) DO NOTHING",
    "lease_take": "UPDATE lease SET epoch = ?, holder = ?, address = ?, expires_at = ? WHERE name = ? AND epoch = ?",
    "lease_check": "SELECT epoch FROM lease WHERE name = ?",
    "lease_renew": "UPDATE lease SET expires_at = ? WHERE name = ? AND epoch = ?",
    "lease_release": "UPDATE lease SET expires_at = 0, holder = '' WHERE name = ? AND epoch = ?",
    # What runs are made of.
    "version_add": "INSERT INTO dag_version (digest, dag, bundle, module, graph, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (digest) DO NOTHING",
    "version_newest": "SELECT bundle, module FROM dag_version WHERE dag = ? ORDER BY created_at DESC, digest LIMIT 1",
    "version_dags": "SELECT DISTINCT dag FROM dag_version ORDER BY dag",
    "version_get": "SELECT dag, bundle, module, graph FROM dag_version WHERE digest = ?",
    "environment_add": "INSERT INTO environment (digest, lock) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
    "run_count": "SELECT (SELECT count(*) FROM run WHERE dag = ?)"
    " + coalesce((SELECT runs FROM pruned WHERE dag = ?), 0)",
    "run_add": "INSERT INTO run (number, key, id, dag, version, state, parameters, principal, environment, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "run_highest": "SELECT max(highest) FROM (SELECT coalesce(max(number), 0) AS highest FROM run"
    " UNION ALL SELECT coalesce(max(highest), 0) FROM pruned) AS numbers",
    "run_get": f"SELECT {_RUN} FROM run WHERE id = ?",  # noqa: S608
    "run_at": f"SELECT {_RUN} FROM run WHERE number = ?",  # noqa: S608
    "run_ids": "SELECT id FROM run ORDER BY number DESC LIMIT 1000",
    "runs_in": f"SELECT {_RUN} FROM run WHERE state = ? ORDER BY number",  # noqa: S608
    "run_cancel": "UPDATE run SET cancelling = ? WHERE number = ?",
    "run_cancelling": "SELECT cancelling FROM run WHERE number = ?",
    "run_change": "UPDATE run SET state = ?, finished_at = ? WHERE number = ? AND state = ?",
    # Instances: the state machine.
    "instance_add": f"INSERT INTO instance (run, {_INSTANCE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
    "instances": f"SELECT {_INSTANCE} FROM instance WHERE run = ? ORDER BY number",  # noqa: S608
    "instance_change": "UPDATE instance SET state = ?, epoch = ?, attempts = ?, due_at = ?, changed_at = ?,"
    " clearance = ? WHERE run = ? AND number = ? AND state = ? AND epoch = ?",
    "instance_mark": "UPDATE instance SET state = ?, attempts = 0, changed_at = ? WHERE run = ? AND number = ?"
    " AND state = ?",
    "instances_at": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND node = ? AND scope = ?"  # noqa: S608
    " AND position = ? AND position >= 0",
    "instances_numbered": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND number = ?",  # noqa: S608
    "instances_page": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND position >= 0"  # noqa: S608
    " AND (? = '' OR state = ?) ORDER BY number LIMIT ?",
    "instances_outside": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND position < 0 ORDER BY number",  # noqa: S608
    "instances_open": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND (position < 0"  # noqa: S608
    " OR (scope, position) IN (SELECT scope, position FROM instance WHERE run = ? AND position >= 0"
    " AND state IN ('awaiting_clearance', 'queued', 'running', 'up_for_retry', 'deferred', 'preempted')))"
    " ORDER BY number",
    "instances_bad": "SELECT node, scope, position, number, state FROM instance WHERE run = ? AND position >= 0"
    " AND state IN ('failed', 'upstream_failed', 'skipped', 'cancelled')",
    "instances_bad_of": "SELECT position FROM instance WHERE run = ? AND node = ? AND scope = ? AND position >= 0"
    " AND state IN ('failed', 'upstream_failed', 'cancelled') ORDER BY position LIMIT ?",
    "instances_in": "SELECT node, scope, position, number FROM instance WHERE run = ? AND position >= 0 AND state = ?",
    "instances_again": "SELECT position FROM instance WHERE run = ? AND node = ? AND scope = ? AND position >= 0"
    " AND state = 'scheduled' ORDER BY position",
    "instances_active": "SELECT position FROM instance WHERE run = ? AND node = ? AND scope = ? AND position >= 0"
    " AND state IN ('awaiting_clearance', 'queued', 'running', 'up_for_retry', 'deferred', 'preempted')",
    "instance_counts": "SELECT node, scope, state, count(*) FROM instance WHERE run = ? AND position >= 0"
    " GROUP BY node, scope, state",
    "instance_counts_of": "SELECT state, count(*) FROM instance WHERE run = ? AND node = ? AND scope = ?"
    " AND position >= 0 GROUP BY state",
    "instances_of_task": f"SELECT {_INSTANCE} FROM instance WHERE run = ? AND position < 0 AND task = ?",  # noqa: S608
    "instances_within": "SELECT count(*) FROM instance WHERE run = ? AND position >= 0 AND (? = '' OR state = ?)",
    "instance_denied": "SELECT 1 FROM instance WHERE run = ?"
    ' AND substr(clearance, 1, 19) = \'{"verdict":"denied"\' LIMIT 1',
    "node_starts": "SELECT instance.node, min(started_at) FROM instance JOIN attempt ON attempt.run = instance.run"
    " AND attempt.number = instance.number WHERE instance.run = ? GROUP BY instance.node",
    "instances_summary": "SELECT run, state, count(*) FROM instance WHERE run BETWEEN ? AND ? GROUP BY run, state",
    # Steps of flows.
    "step_add": "INSERT INTO step (run, position, number, path, task, idx, entry, inputs, arguments)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "step_drop": "DELETE FROM step WHERE run = ? AND position >= ?",
    "step_numbers": "SELECT position, number FROM step WHERE run = ?",
    "step_at": "SELECT position FROM step WHERE run = ? AND task = ? AND idx = ?",
    "step_last_failed": "SELECT max(step.position) FROM step JOIN instance ON instance.run = step.run"
    " AND instance.number = step.number WHERE step.run = ? AND state <> 'success'"
    " AND state IN ('failed', 'skipped', 'cancelled', 'upstream_failed')",
    "step_calls": "SELECT idx, arguments FROM step JOIN instance ON instance.run = step.run"
    " AND instance.number = step.number WHERE step.run = ? AND step.task = ? AND arguments IS NOT NULL"
    " AND state NOT IN ('success', 'failed', 'skipped', 'cancelled', 'upstream_failed')",
    "steps": f"{_STEPS} AND step.position >= ? ORDER BY step.position LIMIT ?",
    "step_numbered": f"{_STEPS} AND step.number = ?",
    # Pools.
    "pools": "SELECT name, slots FROM pool ORDER BY name",
    "pool_put": "INSERT INTO pool (name, slots) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET slots = excluded.slots",
    "pool_remove": "DELETE FROM pool WHERE name = ?",
    # Attempts.
    "attempt_put": "INSERT INTO attempt (run, number, epoch, outcome, node, processes, started_at, finished_at,"
    " failure, cpu_seconds, peak_memory) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run, number, epoch) DO UPDATE SET outcome = excluded.outcome, node = excluded.node,"
    " processes = excluded.processes, started_at = excluded.started_at, finished_at = excluded.finished_at,"
    " failure = excluded.failure, cpu_seconds = excluded.cpu_seconds, peak_memory = excluded.peak_memory",
    "attempt_forget": "DELETE FROM attempt WHERE run = ? AND number = ? AND epoch < ? AND outcome = 'deferred'",
    "attempts_of": "SELECT run, number, epoch, outcome, node, processes, started_at, finished_at, failure, cpu_seconds,"
    " peak_memory FROM attempt WHERE run = ? AND number = ? ORDER BY epoch",
    "attempts_begun": "SELECT run, number, epoch, outcome, node, processes, started_at, finished_at, failure,"
    " cpu_seconds, peak_memory FROM attempt WHERE run = ? AND outcome = ''",
    "attempt_first": "SELECT min(started_at) FROM attempt WHERE run = ? AND number = ? AND epoch > ?",
    # Artifacts and what is attested of them.
    "artifact_add": "INSERT INTO artifact (run, number, digest, data, created_at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (run, number) DO UPDATE SET digest = excluded.digest, data = excluded.data,"
    " created_at = excluded.created_at",
    "artifacts_outside": "SELECT number, data FROM artifact WHERE run = ? AND number <= ?",
    "attempts_outside": "SELECT run, number, epoch, outcome, node, processes, started_at, finished_at, failure,"
    " cpu_seconds, peak_memory FROM attempt WHERE run = ? AND number <= ? ORDER BY number, epoch",
    "artifact_get": "SELECT data FROM artifact WHERE run = ? AND number = ?",
    "results_of": "SELECT scope, position, data FROM instance LEFT JOIN artifact ON artifact.run = instance.run"
    " AND artifact.number = instance.number WHERE instance.run = ? AND node = ? AND position >= 0",
    "results_between": "SELECT position, data FROM instance JOIN artifact ON artifact.run = instance.run"
    " AND artifact.number = instance.number WHERE instance.run = ? AND node = ? AND scope = ?"
    " AND position BETWEEN ? AND ? AND position >= 0",
    "attestation_add": "INSERT INTO attestation (subject, kind, run, instance, envelope, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?)",
    "attestations": "SELECT kind, run, instance, envelope, created_at FROM attestation WHERE subject = ?"
    " ORDER BY number",
    # Services.
    "services": "SELECT name, run, instance, bundle, spec, endpoint, desired, state, epoch, failures, due_at, info,"
    " message, changed_at, attempt FROM service ORDER BY name",
    "service_put": "INSERT INTO service (name, run, instance, bundle, spec, endpoint, desired, state, epoch, failures,"
    " due_at, info, message, changed_at, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET run = excluded.run, instance = excluded.instance, bundle = excluded.bundle,"
    " spec = excluded.spec, endpoint = excluded.endpoint, desired = excluded.desired, state = excluded.state,"
    " epoch = excluded.epoch, failures = excluded.failures, due_at = excluded.due_at, info = excluded.info,"
    " message = excluded.message, changed_at = excluded.changed_at, attempt = excluded.attempt",
    # Deferrals: what a task waits for without a process; approvals: what a person decided.
    "deferrals": "SELECT number, kind, key, waiting, due_at, deadline, soft, since, times, state, details, payload"
    " FROM deferral WHERE run = ?",
    "deferral_put": "INSERT INTO deferral (run, number, kind, key, waiting, due_at, deadline, soft, since, times,"
    " state, details, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, number) DO UPDATE SET"
    " kind = excluded.kind, key = excluded.key, waiting = excluded.waiting, due_at = excluded.due_at,"
    " deadline = excluded.deadline, soft = excluded.soft, since = excluded.since, times = excluded.times,"
    " state = excluded.state, details = excluded.details, payload = excluded.payload",
    "approval_add": "INSERT INTO approval (run, number, epoch, decision, principal, note, decided_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)",
    "approvals": "SELECT epoch, decision, principal, note, decided_at FROM approval WHERE run = ? AND number = ?"
    " ORDER BY epoch",
    # The outbox.
    "event_add": "INSERT INTO event (run, seq, at, instance, kind, payload) VALUES (?, ?, ?, ?, ?, ?)",
    "event_highest": "SELECT coalesce(max(seq), 0) FROM event WHERE run = ?",
    "event_newest_of": "SELECT payload FROM event WHERE run = ? AND instance = ? ORDER BY seq DESC LIMIT 1",
    "events_of_kind": "SELECT instance FROM event WHERE run = ? AND kind = ?",
    "events_after": "SELECT seq, at, run, instance, kind, payload FROM event WHERE run = ? AND seq > ? ORDER BY seq",
    # Assets: what was written, who waits for it, what was started of it.
    "asset_event_add": "INSERT INTO asset_event (number, asset, key, at, source) VALUES (?, ?, ?, ?, ?)",
    "asset_event_highest": "SELECT coalesce(max(number), 0) FROM asset_event",
    "asset_event_of": "SELECT number FROM asset_event WHERE source = ?",
    "asset_subscription_get": "SELECT name, definition, after, paused, due_at FROM asset_subscription WHERE name = ?",
    "asset_subscription_names": "SELECT name FROM asset_subscription ORDER BY name",
    "asset_subscription_put": "INSERT INTO asset_subscription (name, definition, after, paused, due_at)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET definition = excluded.definition,"
    " after = excluded.after, paused = excluded.paused, due_at = excluded.due_at",
    "asset_subscription_pause": "UPDATE asset_subscription SET paused = ? WHERE name = ?",
    "asset_subscription_due": "UPDATE asset_subscription SET due_at = ? WHERE name = ?",
    "asset_subscription_rest": "UPDATE asset_subscription SET due_at = NULL WHERE name = ? AND due_at <= ?",
    "asset_subscription_clear": "DELETE FROM asset_subscription WHERE name = ?",
    "asset_subscriptions_due": "SELECT name FROM asset_subscription WHERE due_at <= ? AND paused = 0",
    "asset_subscriptions_waiting": "SELECT name FROM asset_subscription WHERE paused = 0"
    " AND EXISTS (SELECT 1 FROM asset_waiting WHERE subscription = name)",
    "asset_next_due": "SELECT min(due_at) FROM asset_subscription WHERE due_at > ? AND paused = 0",
    "asset_follower_add": "INSERT INTO asset_follower (asset, subscription) VALUES (?, ?)",
    "asset_follower_clear": "DELETE FROM asset_follower WHERE subscription = ?",
    "asset_followers": "SELECT subscription FROM asset_follower WHERE asset = ?",
    "asset_waiting_add": "INSERT INTO asset_waiting (subscription, event, part, asset, key, at)"
    " VALUES (?, ?, ?, ?, ?, ?)",
    "asset_waiting_clear": "DELETE FROM asset_waiting WHERE subscription = ?",
    "asset_waiting_settle": "DELETE FROM asset_waiting WHERE subscription = ? AND EXISTS (SELECT 1 FROM consumed"
    " WHERE consumed.subscription = asset_waiting.subscription AND consumed.event = asset_waiting.event)",
    "asset_waiting_take": "DELETE FROM asset_waiting WHERE subscription = ? AND event = ?",
    "asset_waiting_has": "SELECT 1 FROM asset_waiting WHERE subscription = ? AND part = ? AND asset = ? LIMIT 1",
    "asset_waiting_in": "SELECT event, asset, at, key FROM asset_waiting WHERE subscription = ? AND event IN"
    " (SELECT event FROM asset_waiting WHERE subscription = ? AND part = ?) ORDER BY event",
    "asset_waiting": "SELECT event, asset, at, key FROM asset_waiting WHERE subscription = ? ORDER BY event LIMIT ?",
    "asset_run_add": "INSERT INTO asset_run (number, subscription, key, created_at) VALUES (?, ?, ?, ?)",
    "asset_run_highest": "SELECT coalesce(max(number), 0) FROM asset_run",
    "asset_run_get": "SELECT subscription, finished_at FROM asset_run WHERE number = ?",
    "asset_run_active": "SELECT count(*) FROM asset_run WHERE subscription = ? AND finished_at IS NULL",
    "asset_run_of_key": "SELECT 1 FROM asset_run WHERE subscription = ? AND key = ? LIMIT 1",
    "asset_run_start": "UPDATE asset_run SET run = ? WHERE number = ? AND run IS NULL",
    "asset_run_finish": "UPDATE asset_run SET finished_at = ? WHERE number = ? AND finished_at IS NULL",
    "asset_runs_wanted": "SELECT number, subscription, key FROM asset_run WHERE run IS NULL AND finished_at IS NULL"
    " ORDER BY number",
    "consumed_add": "INSERT INTO consumed (subscription, event, request) VALUES (?, ?, ?)",
    "consumed_of": "SELECT event FROM consumed WHERE request = ? ORDER BY event",
}

for _more in (
    statements_access,
    statements_audit,
    statements_cache,
    statements_cluster,
    statements_identities,
    statements_telemetry,
    statements_triggers,
):
    assert not STATEMENTS.keys() & _more.STATEMENTS.keys(), "two statements have one name"
    STATEMENTS |= _more.STATEMENTS
