"""Every SQL statement, by name: one text for both dialects, with `?` for each parameter.

Writes that must not be lost to a race are compare-and-set: their WHERE names the state and epoch that
the writer believes in, and `Database.apply` refuses the whole batch when a row did not match.
"""

from __future__ import annotations

_RUN = "number, key, id, dag, version, state, parameters, principal, environment, created_at, finished_at"

STATEMENTS: dict[str, str] = {
    # The lease: who leads.
    "lease_read": "SELECT epoch, holder, address, expires_at FROM lease WHERE name = ?",
    "lease_create": "INSERT INTO lease (name, epoch, holder, address, expires_at) VALUES (?, 0, '', '', 0)"
    " ON CONFLICT (name) DO NOTHING",
    "lease_take": "UPDATE lease SET epoch = ?, holder = ?, address = ?, expires_at = ?"
    " WHERE name = ? AND epoch = ?",
    "lease_check": "SELECT epoch FROM lease WHERE name = ?",
    "lease_renew": "UPDATE lease SET expires_at = ? WHERE name = ? AND epoch = ?",
    "lease_release": "UPDATE lease SET expires_at = 0, holder = '' WHERE name = ? AND epoch = ?",
    # What runs are made of.
    "version_add": "INSERT INTO dag_version (digest, dag, bundle, module, graph, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (digest) DO NOTHING",
    "version_get": "SELECT dag, bundle, module, graph FROM dag_version WHERE digest = ?",
    "environment_add": "INSERT INTO environment (digest, lock) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
    "environment_get": "SELECT lock FROM environment WHERE digest = ?",
    "run_count": "SELECT count(*) FROM run WHERE dag = ?",
    "run_add": "INSERT INTO run (number, key, id, dag, version, state, parameters, principal, environment, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "run_highest": "SELECT coalesce(max(number), 0) FROM run",
    "run_get": f"SELECT {_RUN} FROM run WHERE id = ?",  # noqa: S608
    "run_at": f"SELECT {_RUN} FROM run WHERE number = ?",  # noqa: S608
    "run_latest": "SELECT id FROM run WHERE dag = ? ORDER BY number DESC LIMIT 1",
    "run_ids": "SELECT id FROM run ORDER BY number DESC LIMIT 1000",
    "runs_in": f"SELECT {_RUN} FROM run WHERE state = ? ORDER BY number",  # noqa: S608
    "runs_list": f"SELECT {_RUN} FROM run ORDER BY number DESC LIMIT ?",  # noqa: S608
    "runs_list_dag": f"SELECT {_RUN} FROM run WHERE dag = ? ORDER BY number DESC LIMIT ?",  # noqa: S608
    "run_change": "UPDATE run SET state = ?, finished_at = ? WHERE number = ? AND state = ?",
    # Instances: the state machine.
    "instance_add": "INSERT INTO instance (run, number, node, task, position, state, pending, failed, skipped, epoch,"
    " attempts, due_at, changed_at, clearance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "instances": "SELECT number, node, task, position, state, pending, failed, skipped, epoch, attempts, due_at,"
    " changed_at, clearance FROM instance WHERE run = ? ORDER BY number",
    "instance_count": "UPDATE instance SET pending = pending - 1, failed = failed + ?, skipped = skipped + ?"
    " WHERE run = ? AND number = ? AND pending > 0",
    "instance_change": "UPDATE instance SET state = ?, pending = ?, failed = ?, skipped = ?, epoch = ?, attempts = ?,"
    " due_at = ?, changed_at = ?, clearance = ? WHERE run = ? AND number = ? AND state = ? AND epoch = ?",
    "instance_open": "UPDATE instance SET pending = ?, failed = ?, skipped = ? WHERE run = ? AND number = ?",
    "instances_summary": "SELECT run, state, count(*) FROM instance WHERE run BETWEEN ? AND ? GROUP BY run, state",
    # Attempts.
    "attempt_put": "INSERT INTO attempt (run, number, epoch, outcome, node, processes, started_at, finished_at,"
    " failure, cpu_seconds, peak_memory) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run, number, epoch) DO UPDATE SET outcome = excluded.outcome, node = excluded.node,"
    " processes = excluded.processes, started_at = excluded.started_at, finished_at = excluded.finished_at,"
    " failure = excluded.failure, cpu_seconds = excluded.cpu_seconds, peak_memory = excluded.peak_memory",
    "attempts": "SELECT run, number, epoch, outcome, node, processes, started_at, finished_at, failure, cpu_seconds,"
    " peak_memory FROM attempt WHERE run = ? ORDER BY number, epoch",
    # Artifacts and what is attested of them.
    "artifact_add": "INSERT INTO artifact (run, number, digest, data, created_at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (run, number) DO UPDATE SET digest = excluded.digest, data = excluded.data,"
    " created_at = excluded.created_at",
    "artifacts": "SELECT number, data FROM artifact WHERE run = ? ORDER BY number",
    "artifact_by_digest": "SELECT run, number, data FROM artifact WHERE digest = ? ORDER BY run LIMIT 1",
    "attestation_add": "INSERT INTO attestation (subject, kind, run, instance, envelope, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?)",
    "attestations": "SELECT kind, run, instance, envelope, created_at FROM attestation WHERE subject = ?"
    " ORDER BY number",
    # Services.
    "services": "SELECT name, run, instance, bundle, spec, endpoint, desired, state, epoch, failures, due_at, info,"
    " message, changed_at FROM service ORDER BY name",
    "service_put": "INSERT INTO service (name, run, instance, bundle, spec, endpoint, desired, state, epoch, failures,"
    " due_at, info, message, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET run = excluded.run, instance = excluded.instance, bundle = excluded.bundle,"
    " spec = excluded.spec, endpoint = excluded.endpoint, desired = excluded.desired, state = excluded.state,"
    " epoch = excluded.epoch, failures = excluded.failures, due_at = excluded.due_at, info = excluded.info,"
    " message = excluded.message, changed_at = excluded.changed_at",
    # The outbox.
    "event_add": "INSERT INTO event (run, seq, at, instance, kind, payload) VALUES (?, ?, ?, ?, ?, ?)",
    "event_highest": "SELECT coalesce(max(seq), 0) FROM event WHERE run = ?",
    "events_after": "SELECT seq, at, run, instance, kind, payload FROM event WHERE run = ? AND seq > ? ORDER BY seq",
}
