"""Recovery: from rows back to a run in memory, so that nothing depends on the process that died."""

from __future__ import annotations

import re

from clearance.cluster import Placement
from clearance.errors import UsageError, nearest
from clearance.graph import model
from clearance.run import arguments, rows
from clearance.run.causes import cause_of
from clearance.run.clearance import decode
from clearance.run.instance import ActiveRun, Instance
from clearance.run.machine import counts_as_failure
from clearance.store.database import Database
from clearance.types.digest import Digest, digest_of
from clearance.types.states import RunState, TaskState

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}\Z")


def version_digest(graph: bytes, bundle: str) -> Digest:
    """Returns the digest of a DAG version: its graph and its source bundle together."""
    return digest_of(f"{digest_of(graph)}\n{bundle}\n".encode())


def check_run_id(id: str) -> None:
    """Checks the form of a run id that a person chose.

    Raises:
        UsageError: empty, too long, or with characters that are not allowed.
    """
    if not _RUN_ID.match(id) or ".." in id:
        raise UsageError(
            f"run id {id!r}: use up to 200 letters, digits and . _ : / -, beginning with a letter or digit"
        )


def known(database: Database, id: str) -> rows.RunRow:
    """Returns the run of this id.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    row = rows.run_row(database, id)
    if row is None:
        ids = [found[0] for found in database.rows("run_ids")]
        raise UsageError(f"no run {id!r}{nearest(id, ids)}; `clearance runs list` shows them all")
    return row


def state_of(database: Database, number: int) -> str:
    """Returns the stored state of a run."""
    return str(database.rows("run_at", number)[0][5])


def unfinished_runs(database: Database, read: arguments.Read) -> list[ActiveRun]:
    """Loads every run that has not finished, oldest first."""
    from_disk = [rows.RunRow(*row) for row in database.rows("runs_in", RunState.RUNNING)]
    return [load(database, row, read) for row in from_disk]


def load(database: Database, row: rows.RunRow, read: arguments.Read) -> ActiveRun:
    """Builds a run as it stands in the database.

    Args:
        database: where it is remembered.
        row: the run.
        read: returns the bytes of an artifact, for runs that were mapped over a result.
    """
    _, bundle, _, graph = database.rows("version_get", row.version)[0]
    run = ActiveRun(
        number=row.number, key=row.key, id=row.id, version=row.version, bundle=bundle,
        graph=model.decode(bytes(graph)), principal=row.principal, environment=row.environment,
        cause=cause_of(database, row.number),
    )  # fmt: skip
    results = rows.artifacts(database, row.number)
    deferrals = rows.deferrals(database, row.number)
    for stored in rows.instance_rows(database, row.number):
        if stored.position < 0:
            instance = run.nodes[stored.node]
        else:
            instance = Instance(run, stored.number, stored.node, stored.position)
            run.expanded.setdefault(stored.node, []).append(instance)
            run.total += 1
            run.unfinished += 1
        instance.state = TaskState(stored.state)
        instance.pending, instance.failed, instance.skipped = stored.pending, stored.failed, stored.skipped
        instance.epoch, instance.attempts, instance.due_at = stored.epoch, stored.attempts, stored.due_at
        instance.clearance = stored.clearance
        instance.deferral = deferrals.get(stored.number)
        instance.stored = (instance.state, instance.epoch)
        instance.result = results.get(stored.number)
        if instance.state.finished:
            run.unfinished -= 1
            run.failures += counts_as_failure(instance)
            run.cancelled += instance.state is TaskState.CANCELLED
    for node, spec in enumerate(run.graph.nodes):
        if (spec.mapped and run.nodes[node].state is TaskState.DEFERRED) or node in run.expanded:
            group = run.expanded.setdefault(node, [])
            group.sort(key=lambda each: each.position)
            for instance, mapped in zip(group, arguments.elements(run.nodes[node], read), strict=True):
                instance.mapped = mapped
    return run


def placement(instance: Instance) -> Placement:
    """Returns where a granted instance was placed, as its clearance says."""
    record = decode(instance.clearance)
    nodes = record.capacity.nodes if record and record.capacity else ()
    return Placement(nodes)
