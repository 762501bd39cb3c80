"""The controller: gathers what happened, decides, commits once a turn, and only then acts.

Rules:

1. A turn is: observe → decide → one commit → launch, cancel, acknowledge, tell followers. Nothing is launched
   whose row is not committed, and nothing is acknowledged whose result is not.
2. Whatever the controller holds in memory can be read back from the database: kill it anywhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clearance.cluster import Answer, Placement
from clearance.engine.base import (
    Defined,
    Engine,
    Launch,
)  # fmt: skip
from clearance.errors import UsageError, nearest
from clearance.graph import model
from clearance.run import recovery
from clearance.run.admission import Admission
from clearance.run.approvals import Approvals
from clearance.run.asking import Asking
from clearance.run.capacity.cluster import Cluster, desk_for
from clearance.run.capacity.driver import Driver
from clearance.run.capacity.evictions import Evictions
from clearance.run.capacity.handovers import Handovers
from clearance.run.capacity.moves import Moves
from clearance.run.changes import Changes
from clearance.run.clearance import Desks
from clearance.run.deadlines import Deadlines
from clearance.run.deferral import Deferrals
from clearance.run.evidence import Evidence
from clearance.run.flows import Flows
from clearance.run.instance import ActiveRun, Instance
from clearance.run.ledger import Ledger
from clearance.run.machine import Machine
from clearance.run.redo.cache import Cache
from clearance.run.redo.choosing import choice
from clearance.run.redo.clearing import Choice, Reach
from clearance.run.redo.marking import Marking
from clearance.run.reports import Reports
from clearance.run.services import Services
from clearance.run.starts.triggers import Triggers
from clearance.run.stored import Stored
from clearance.run.submission import Submission, Submissions
from clearance.run.tags import set_tags
from clearance.run.telemetry.deliveries import Deliveries
from clearance.run.telemetry.metrics import Metrics
from clearance.run.telemetry.tracing import Tracing
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.store.outbox import Event as Happened
from clearance.trust.audit.log import AuditLog
from clearance.types.cause import Cause
from clearance.types.states import TaskState

Listener = Callable[[list[Happened]], None]


class Controller:
    """The one writer.

    Args:
        settings: where things live.
        database: open for writing, migrated.
        engine: what runs attempts.
        epoch: of the lease this controller holds.
        clock: returns seconds since 1970.
        rng: draws the jitter of retries.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        engine: Engine,
        epoch: int,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.engine = engine
        self.epoch = epoch
        self.clock = clock
        self.rng = rng or random.Random()  # noqa: S311
        self.stored = Stored(database)
        self.evidence = Evidence(settings, self._stored_envelope, self.stored, clock)
        if settings.policy:
            from clearance.run.policies import Policies

            self.evidence.policies = Policies(settings, database, lambda: self.evidence.attestor)
        self.ledger = Ledger(database, epoch, clock, AuditLog(database, self.evidence.attestor))
        self.machine = Machine(self.evidence.arguments, admits=True)
        self.scheduler = desk_for(database, engine, settings, clock())
        self.desks = Desks(self.scheduler)
        self.admission = Admission(self.desks, self.machine, database)
        self.runs: dict[str, ActiveRun] = {}
        self.listeners: list[Listener] = []
        self.defined: Callable[[Defined], None] = lambda _: None
        self.services = Services(self)
        self.evictions = Evictions(self)
        self.moves = Moves(self)
        self.handovers = Handovers(self)
        self.driver = Driver(self)
        self.cluster = Cluster(self)
        self.deferrals = Deferrals(self)
        self.flows = Flows(self)
        self.approvals = Approvals(self)
        self.triggers = Triggers(self)
        self.deliveries = Deliveries(self)
        self.tracing = Tracing(database, settings.notify)
        self.metrics = Metrics(self)
        self.deadlines = Deadlines(self)
        self.cache = Cache(self)
        self.marking = Marking(self)
        self.asking = Asking(self)
        self.submissions = Submissions(self)
        self.reports = Reports(self)
        self.cancels: list[str] = []
        self._launches: list[Launch] = []

    # -- asked from outside ------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> tuple[str, bool]:
        """Creates a run, or goes on with the one that has this id: see `Submissions.submit`."""
        return self.submissions.submit(submission)

    def begin(
        self, id: str, graph: model.Graph, version: str, bundle: str, principal: str, cause: Cause | None = None
    ) -> None:
        """Makes a run of this id, which must be new, of a stored version; `cause` says what started it by itself."""
        self.submissions.begin(id, graph, version, bundle, principal, cause)

    def resume(self, id: str, tasks: list[str] | None = None) -> bool:
        """Goes on with a run: everything that did not succeed is done again.

        Args:
            id: of the run.
            tasks: only these (and what depends on them), as `task` or `task[3]`; None means all.

        Returns:
            False when there is nothing to do: it succeeded, or it is running.

        Raises:
            UsageError: no such run or task, or a named task has succeeded.
        """
        run = self.looked_at(id)
        choices = [choice(run, self.stored, label) for label in tasks or ()]
        done = all(row.state is TaskState.SUCCESS or row.spec.step for row in run.nodes)
        if tasks is None and (id in self.runs or done):
            return False
        return self.set_back(run, None if tasks is None else choices, Reach.UNSUCCESSFUL) > 0

    def looked_at(self, id: str) -> ActiveRun:
        """Returns a run of which everything that happened is committed; one that has ended is not among `runs`.

        Raises:
            UsageError: no such run.
        """
        self.settle()
        return self.runs.get(id) or self._load(id)

    def set_back(self, run: ActiveRun, choices: list[Choice] | None, reach: Reach) -> int:
        """Sets rows of a run back that have ended, and goes on with it; returns how many."""
        if run.id not in self.runs:
            self.runs[run.id] = run
            old = recovery.state_of(self.database, run.number)
            self.admission.ask(run)
            self.deadlines.begin(run, known=True)
            self.ledger.change_run(run.number, run.state, None, old)
            self.ledger.tell_of(self.clock(), run, None, run.state, {"resumed": True})
        self.ledger.add("run_cancel", 0, run.number)
        self.admission.withdraw(run)
        cleared = self.machine.clear(run, choices, reach)
        self.commit_decided()
        return cleared

    def commit_decided(self) -> None:
        """Commits what was decided, and asks for nothing: what is opened again is read from the database."""
        changes = self.asking.take()
        self.machine.changes.ready, changes.ready = changes.ready, []
        self._commit(self.clock(), changes)

    def stop(self, instance: Instance) -> None:
        """Ends the attempt of an instance; its end comes as an event."""
        self.cancels.append(instance.attempt)

    def withdraw(self, instance: Instance) -> None:
        """Takes back whatever an instance that does not run asks or waits for."""
        self.desks.release(instance)
        self.asking.withdraw(instance)
        self.deferrals.forget(instance)

    def set_pool(self, name: str, slots: int | None) -> bool:
        """Sets how many slots a pool has, or takes it away; False when there is nothing to change."""
        if self.admission.pools.get(name) == slots:
            return False
        if slots is None:
            self.ledger.add("pool_remove", name)
        else:
            self.ledger.add("pool_put", name, slots)
        self.admission.set_pool(name, slots)
        return True

    def set_tags(self, id: str, tags: Mapping[str, str], remove: Iterable[str] = ()) -> dict[str, str]:
        """Sets and takes away tags of a run, and returns those that it has then.

        Raises:
            UsageError: no such run, or a tag that is none.
        """
        self.settle()
        active = self.runs.get(id)
        number = active.number if active else recovery.known(self.database, id).number
        return set_tags(self.database, self.ledger, number, tags, remove)

    def cancel(self, id: str) -> bool:
        """Cancels a run; False when it is not running.

        Raises:
            UsageError: no such run.
        """
        run = self.runs.get(id)
        if run is None:
            recovery.known(self.database, id)
            return False
        self.ledger.add("run_cancel", 1 + run.cancelling, run.number)
        self.admission.withdraw(run)
        for instance in self.machine.cancel(run):
            self.cancels.append(instance.attempt)
        for instance in run.instances():
            if instance.state is TaskState.CANCELLED:
                self.withdraw(instance)
        return True

    def forget(self, what: str, older: float, dry: bool) -> dict[str, Any]:
        """Takes away old cache entries or runs, see `run.forgetting`; what is taken is committed when this returns."""
        self.settle()
        from clearance.run.redo import forgetting

        told = forgetting.forget(self.database, self.ledger, what, self.clock() - older, dry)
        self.settle()
        return told

    def wake_deferred(self, kind: str, key: str, payload: Any) -> int:
        """Wakes the tasks that wait for this (see `Deferrals.wake`); returns how many there were."""
        return self.deferrals.wake(kind, key, payload)

    def why(self, id: str, label: str) -> dict[str, Any] | None:
        """Returns what the capacity desk says of a waiting instance at this moment; None when it does not wait."""
        run = self.runs.get(id)
        instance = run.find(label) if run else None
        if run is None or instance is None or instance.state is not TaskState.AWAITING_CLEARANCE:
            return None
        decision = self.admission.why(run) or self.scheduler.explain(self.desks.id_of(instance))
        if decision is None:
            return None
        names = [self.scheduler.label(blocker) for blocker in decision.blockers]
        return {
            "verdict": decision.verdict, "reason": decision.reason, "blockers": names, "queue": decision.queue,
            "besides": self.scheduler.besides(decision.id),
        }  # fmt: skip

    def newest_event(self, id: str) -> int:
        """Returns the number of the newest event of a run that is committed.

        Raises:
            UsageError: no such run.
        """
        return self.ledger.newest_event(recovery.known(self.database, id).number)

    @property
    def busy(self) -> bool:
        """True while a run is active or a service is wanted."""
        return bool(self.runs) or self.services.wanted or self.triggers.pending

    # -- the turn ----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Takes over what an earlier controller left: running attempts are adopted, spooled results taken."""
        self.reports.recover()

    def turn(self) -> float:
        """Does everything that can be done now.

        Returns:
            Seconds until something is due by itself.

        Raises:
            LeaseLost: another controller leads.
        """
        try:
            return self._turn()
        except BaseException:
            self.database.abandon()
            raise

    def _turn(self) -> float:
        now = self.clock()
        for event in self.engine.observe():
            self.reports.observe(event, now)
        self.reports.wake(now)
        self.deferrals.fire(now)
        self.deadlines.fire(now)
        self.services.reconcile(now)
        self.triggers.turn(now)
        self.deliveries.turn(now)
        changes = self.asking.turn(now)
        self.driver.turn(now)
        self._commit(now, changes)
        if self.machine.changes.dirty or self.machine.changes.ready:  # woken by what this turn committed
            return 0.0
        due = [now if self.asking.more else self.ledger.due, self.services.due, self.deferrals.due, self.triggers.due]
        due.append(self.deliveries.due)
        due += [self.deadlines.due, self.reports.due, self.driver.due]
        return max(0.0, min(due) - self.clock())

    def settle(self) -> None:
        """Commits what requests have changed since the last turn."""
        now = self.clock()
        self._commit(now, self.asking.turn(now))

    @staticmethod
    def unknown(run: ActiveRun, label: str) -> UsageError:
        """Returns the error for a task that a run does not have."""
        near = nearest(label, [each.label for each in run.instances()])
        return UsageError(f"run {run.id!r} has no task {label!r}{near}; `clearance runs show {run.id}` lists them")

    def launch(self, instance: Instance, granted: Answer) -> None:
        """Has an instance launched, where it was granted room, once this turn is committed."""
        spec, run = instance.spec, instance.run
        key = instance.attempt
        placement = granted.placement or Placement(())
        self.reports.attempts[key] = instance
        self._launches.append(
            Launch(
                attempt=key,
                bundle=run.bundle,
                entry=spec.function,
                arguments=self.evidence.arguments.of(instance),
                isolation=spec.isolation,
                preload=spec.preload,
                gang=spec.gang,
                cpu_millis=spec.resources.get("cpu", 0),
                memory=spec.resources.get("memory", 0),
                timeout=spec.timeout,
                grace=self.settings.grace,
                run=run.id,
                task=spec.id,
                instance=instance.position,
                number=instance.attempts,
                checkpoint=f"{run.key}.{instance.number}",
                cause=run.cause,
                resumed=self.deferrals.resumed(instance),
                environment=self.tracing.environment(instance),
                nodes=placement.nodes,
                devices=placement.devices,
                tenant=granted.queue,
                flow=spec.flow,
            )
        )

    def _commit(self, now: float, changes: Changes) -> None:
        """Commits this turn, and only then acts on it."""
        events = self.ledger.commit(now, changes)
        self.deliveries.committed()
        self.cache.committed(changes)
        for run, expansion, position in changes.closed:
            run.drop(expansion, position)
        self.flows.committed(changes)
        for run, state in changes.ended:
            self.runs.pop(run.id, None)
            self.triggers.ended(run)
            self.tracing.end(run)
            self.deferrals.wake("run", run.id, {"state": state})
        self._act()
        if events:
            for listener in list(self.listeners):
                listener(events)

    def _act(self) -> None:
        """Acts on what is committed."""
        if self._launches:
            launches, self._launches = self._launches, []
            self.engine.launch(launches)
        if self.cancels:
            cancels, self.cancels = self.cancels, []
            self.engine.cancel(cancels, self.settings.grace)
        self.evictions.act()
        self.services.act()
        self.driver.act()
        self.deferrals.act()
        if self.reports.over:
            over, self.reports.over = self.reports.over, []
            self.engine.acknowledge(over)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _load(self, id: str) -> ActiveRun:
        return recovery.load(self.database, recovery.known(self.database, id), self.evidence.arguments)

    def _stored_envelope(self, digest: str, kind: str) -> bytes | None:
        found = [row[3] for row in self.database.rows("attestations", digest) if row[0] == kind]
        return bytes(found[-1]) if found else None
