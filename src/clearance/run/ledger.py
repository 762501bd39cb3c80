"""The ledger: what one turn writes, gathered by noun and committed at once under the lease.

Rules:

1. Statements run in the order of `ORDER`, whatever the order of their facts: a run before its instances, an instance
   before what changes it.
2. A change of state is compare-and-set from what was last committed; events leave in the same transaction, numbered
   by run.
3. The lease is renewed when a third of it is over, else only checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from clearance.run import rows
from clearance.run.changes import Changes
from clearance.run.clearance import noted
from clearance.run.host.lease import SECONDS
from clearance.run.instance import ActiveRun, Instance
from clearance.store.database import Batch, Database
from clearance.store.outbox import Event, append
from clearance.trust.audit.log import ORDER as AUDIT
from clearance.trust.audit.log import AuditLog, Note
from clearance.types.cause import Cause
from clearance.types.states import RunState, TaskState

PRUNING = (
    "prune_events", "prune_artifacts", "prune_attestations", "prune_attempts", "prune_deferrals", "prune_approvals",
    "prune_lookups", "prune_marks", "prune_steps", "prune_tags", "prune_parameters", "prune_deliveries",
    "prune_instances", "prune_causes", "prune_runs",
)  # fmt: skip
ORDER = (
    "environment_add", "version_add", "run_add", "run_cause_add", "run_parameter_add", "run_tag_put",
    "run_tag_remove", "pool_put", "pool_remove", "queues_add", "cordon_put", "cordon_remove",
    "condition_put", "condition_remove", "instance_add",
    "instance_change", "instance_mark", "instance_drop", "step_drop", "step_add", "run_change", "run_cancel",
    "attempt_put", "attempt_forget", "deferral_put", "approval_add", "artifact_drop", "artifact_add",
    "attestation_add", "cache_forget", "cache_entry_drop", "cache_code_add", "cache_entry_put", "cache_entry_use",
    "cache_lookup_put", "mark_add", "mark_apply", "account_put", "account_revoke", "api_key_add", "api_key_revoke",
    "api_keys_revoke", "service_put", "event_add", "delivery_add", "delivery_change", "delivery_again",
    "delivery_prune", *PRUNING, "prune_versions", "pruned_add", *AUDIT,
)  # fmt: skip


class Ledger:
    """The writes of this turn, and what must be known to number and fence them.

    Args:
        database: open for writing, migrated.
        epoch: of the lease under which it writes.
        clock: returns seconds since 1970.
        audit: the log in which is entered what this turn decides.
    """

    def __init__(self, database: Database, epoch: int, clock: Callable[[], float], audit: AuditLog) -> None:
        self._database = database
        self._epoch = epoch
        self._clock = clock
        self._audit = audit
        self._noted: list[Note] = []
        self._batch = Batch(ORDER)
        self._told: list[tuple[float, int, int, str, dict[str, Any]]] = []
        self._seqs: dict[int, int] = {}
        self._open: dict[str, rows.AttemptRow] = {}
        self._changed: dict[str, rows.AttemptRow] = {}
        self._until = 0.0
        self.outgoing: Callable[[list[Event]], Iterable[tuple[Any, ...]]] = lambda _: ()

    @property
    def due(self) -> float:
        """When the lease must be renewed or the audit log signed, seconds since 1970."""
        return min(self._renewal, self._audit.due)

    @property
    def _renewal(self) -> float:
        return self._until - SECONDS * 2 / 3

    def add(self, statement: str, *row: Any) -> None:
        """Adds one row of a statement in `ORDER`."""
        self._batch.add(statement, *row)

    def add_instance(self, instance: Instance, now: float) -> None:
        """Adds the row of an instance."""
        self._batch.add(
            "instance_add", instance.run.number, instance.number, instance.node, instance.spec.id, instance.scope,
            instance.position, instance.state, instance.epoch, instance.attempts, instance.due_at, now,
            instance.clearance,
        )  # fmt: skip

    def reuse_instance(self, instance: Instance, old: rows.InstanceRow, now: float) -> None:
        """Changes the row of an instance that was not in memory."""
        self._batch.guard(
            "instance_change", instance.state, instance.epoch, instance.attempts, instance.due_at, now,
            instance.clearance, instance.run.number, instance.number, old.state, old.epoch,
        )  # fmt: skip

    def add_cause(self, run: ActiveRun, cause: Cause) -> None:
        """Adds why a new run was started."""
        self._batch.add(
            "run_cause_add", run.number, run.graph.dag, cause.kind, cause.start, cause.end, cause.again,
            cause.request or None, cause.backfill,
        )  # fmt: skip

    def change_run(self, number: int, state: RunState, finished: float | None, stored: str) -> None:
        """Changes the state of a run from the one that is stored."""
        self._batch.guard("run_change", state, finished, number, stored)

    def put_service(self, row: rows.ServiceRow) -> None:
        """Writes the row of a service."""
        self._batch.add("service_put", *msgspec.structs.astuple(row))

    def note(self, action: str, subject: str, actor: str = "", **details: Any) -> None:
        """Enters something into the audit log, in the transaction of this turn."""
        self._noted.append(Note(action, subject, actor, details))

    def seal(self) -> None:
        """Lets a checkpoint cover the whole audit log, if none does yet.

        Raises:
            LeaseLost: another controller leads.
            StoreError: the database failed.
        """
        staged = self._audit.stage((), self._clock(), seal=True)
        if staged is not None:
            batch = Batch(AUDIT)
            staged.put(batch)
            self._database.apply(batch, epoch=self._epoch)
            self._audit.accept(staged)

    def tell(self, event: Event) -> None:
        """Adds an event; it gets its number when it is committed."""
        self._told.append((event.at, event.run, event.instance, event.kind, event.payload))

    def tell_of(
        self, now: float, run: ActiveRun, instance: Instance | None, kind: str, payload: dict[str, Any]
    ) -> None:
        """Adds an event of a run, or of one of its instances."""
        number = -1 if instance is None else instance.number
        self._told.append((now, run.number, number, str(kind), payload))

    def newest_event(self, run: int) -> int:
        """Returns the number of the newest event of a run; 0 for none."""
        known = self._seqs.get(run)
        return int(self._database.rows("event_highest", run)[0][0]) if known is None else known

    def recall(self, key: str, row: rows.AttemptRow) -> None:
        """Takes back the row of an attempt that an earlier controller began."""
        self._open[key] = row

    def attempt(self, instance: Instance) -> rows.AttemptRow:
        """Returns the row of an instance's newest attempt, to be changed: it is written with this turn."""
        key = instance.attempt
        row = self._open.get(key)
        if row is None:
            row = self._open[key] = rows.AttemptRow(instance.run.number, instance.number, instance.epoch)
        self._changed[key] = row
        return row

    def commit(self, now: float, changes: Changes) -> list[Event]:
        """Writes everything in one transaction, or nothing.

        Returns:
            The events, numbered.

        Raises:
            LeaseLost: another controller leads.
            StoreError: the database failed, or a row had moved on.
            Refused: the audit log takes no entry at this time.
        """
        self._gather(now, changes)
        events = [self._numbered(*told) for told in self._told]
        for event in events:
            append(self._batch, event)
        for row in self.outgoing(events):
            self._batch.add("delivery_add", *row)
        staged = self._audit.stage(self._noted, now)
        if staged is not None:
            staged.put(self._batch)
        renew = now > self._renewal
        if self._batch or renew or self._database.entered:
            until = now + SECONDS if renew else None
            self._database.apply(self._batch, epoch=self._epoch, lease_until=until)
            self._until = until or self._until
            self._batch = Batch(ORDER)
        if staged is not None:
            self._audit.accept(staged)
        self._told, self._noted = [], []
        for instance in changes.dirty:
            instance.stored = (instance.state, instance.epoch)
        for run, _ in changes.ended:
            self._seqs.pop(run.number, None)
        return events

    def _gather(self, now: float, changes: Changes) -> None:
        """Turns what the machine changed into rows and events."""
        batch = self._batch
        for instance, note in changes.notes.items():
            instance.clearance = noted(instance.state, note, now)
        for instance in changes.added:
            self.add_instance(instance, now)
        added = {*changes.added}
        for instance, state in changes.dirty.items():
            stored, epoch = instance.stored
            if instance not in added:
                batch.guard(
                    "instance_change", state, instance.epoch, instance.attempts, instance.due_at, now,
                    instance.clearance, instance.run.number, instance.number, stored, epoch,
                )  # fmt: skip
            if (deferral := instance.deferral) is not None:
                self._put_deferral(instance, deferral)
            payload: dict[str, Any] = {"task": instance.label, "attempt": instance.attempts, "from": stored}
            if state is TaskState.DEFERRED:
                expansion = instance.run.expansions.get((instance.node, instance.path))
                if expansion is not None:
                    payload["instances"] = expansion.total
            if instance.epoch:
                payload["launch"] = instance.epoch
            if state is TaskState.DEFERRED and deferral is not None and deferral.waiting:
                payload["waits"] = deferral.kind
            if reason := changes.reasons.get(instance):
                payload["reason"] = reason
            self.tell_of(now, instance.run, instance, state, payload)
        for run, number, old, new in changes.marked:
            batch.guard("instance_mark", new, now, run.number, number, old)
        for run, number in changes.forgotten:
            batch.add("artifact_drop", run.number, number)
        for run, number in changes.dropped:
            batch.add("instance_drop", run.number, number)
        for run, number in changes.uncached:
            batch.add("cache_forget", run.number, number)
        for run, number in changes.applied:
            batch.add("mark_apply", run.number, number)
        for key, attempt in self._changed.items():
            batch.add("attempt_put", *msgspec.structs.astuple(attempt))
            if attempt.outcome:
                self._open.pop(key, None)
        self._changed.clear()
        for run, final in changes.ended:
            self.change_run(run.number, final, self._clock(), run.state)
            self.tell_of(now, run, None, final, {})

    def _put_deferral(self, instance: Instance, row: rows.DeferralRow) -> None:
        if instance.state is not TaskState.DEFERRED:
            row.waiting = 0
        if instance.state.finished:
            row.since, row.state = 0.0, "null"
        elif instance.state is TaskState.SCHEDULED:
            row.payload = ""
        self._batch.add("deferral_put", instance.run.number, instance.number, *msgspec.structs.astuple(row))

    def _numbered(self, at: float, run: int, instance: int, kind: str, payload: dict[str, Any]) -> Event:
        number = self._seqs[run] = self.newest_event(run) + 1
        return Event(at, run, instance, kind, payload, number)
