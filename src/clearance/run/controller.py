"""The controller: gathers what happened, decides, commits once a turn, and only then acts.

Rules:

1. A turn is: observe → decide → one commit → launch, cancel, acknowledge, tell followers. Nothing is launched
   whose row is not committed, and nothing is acknowledged whose result is not.
2. A report of an attempt that is not the newest of its instance is refused (fenced) and leaves no trace but an event.
3. Whatever the controller holds in memory can be read back from the database: kill it anywhere.
"""

from __future__ import annotations

import heapq
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from clearance.cluster import Scheduler
from clearance.engine.base import (
    Begun,
    Called,
    Defined,
    Engine,
    EngineLost,
    Event,
    Failure,
    Finished,
    Launch,
    Ready,
    Started,
    Stepped,
)  # fmt: skip
from clearance.errors import ClearanceError, UsageError, nearest
from clearance.graph import model
from clearance.run import recovery, rows
from clearance.run.admission import Admission
from clearance.run.approvals import Approvals
from clearance.run.asking import Asking
from clearance.run.clearance import Desks
from clearance.run.deadlines import Deadlines
from clearance.run.deferral import DEFER, Deferrals
from clearance.run.evidence import Evidence
from clearance.run.flows import Flows
from clearance.run.instance import ActiveRun, Instance
from clearance.run.ledger import Ledger
from clearance.run.machine import Changes, Machine, outcome, stopping
from clearance.run.redo.adopting import Adopt
from clearance.run.redo.cache import Cache
from clearance.run.redo.choosing import choice
from clearance.run.redo.clearing import Choice, Reach
from clearance.run.redo.marking import Marking
from clearance.run.services import Services
from clearance.run.starts.triggers import Triggers
from clearance.run.stored import Stored
from clearance.run.tags import add_marks, check_tags, set_tags
from clearance.run.telemetry.deliveries import Deliveries
from clearance.run.telemetry.metrics import Metrics
from clearance.run.telemetry.tracing import Tracing
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.store.outbox import Event as Happened
from clearance.types.artifact import Artifact
from clearance.types.cause import Cause
from clearance.types.states import TaskState

SKIP = "clearance.errors.Skip"
Listener = Callable[[list[Happened]], None]
_failures = msgspec.json.Encoder()


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that is to be run.

    Attributes:
        graph: canonical JSON of the graph.
        bundle: digest of its source bundle, which lies unpacked in the home.
        module: name of the pipeline's module in the bundle.
        run_id: chosen id; empty for the next number of the DAG.
        principal: who submits.
        traceparent: the trace of the caller; empty for none.
        adopt: id of a run of which results are taken over; `again` names tasks that are not.
        tags: what the run is found by later.
    """

    graph: bytes
    bundle: str
    module: str
    run_id: str = ""
    principal: str = ""
    traceparent: str = ""
    adopt: str = ""
    again: tuple[str, ...] = ()
    tags: dict[str, str] = {}


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
        self.ledger = Ledger(database, epoch, clock)
        self.stored = Stored(database)
        self.evidence = Evidence(settings, self._stored_envelope, self.stored)
        self.machine = Machine(self.evidence.arguments, admits=True)
        self.scheduler = Scheduler()
        for node in engine.nodes():
            self.scheduler.add_node(node.name, node.capacity)
        self.desks = Desks(self.scheduler)
        self.admission = Admission(self.desks, self.machine, database)
        self.runs: dict[str, ActiveRun] = {}
        self.listeners: list[Listener] = []
        self.defined: Callable[[Defined], None] = lambda _: None
        self.services = Services(self)
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
        self._attempts: dict[str, Instance] = {}
        self.asking = Asking(self)
        self._retries: list[tuple[float, int, Instance]] = []
        self._launches: list[Launch] = []
        self._done: list[str] = []
        self._cancels: list[str] = []
        self._numbers = int(database.rows("run_highest")[0][0])
        self._counts: dict[str, int] = {}
        self._serial = 0

    # -- asked from outside ------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> tuple[str, bool]:
        """Creates a run, or goes on with the one that has this id.

        Returns:
            The id of the run, and whether it is new.

        Raises:
            UsageError: the id belongs to a run of other code or parameters, or is no valid id.
        """
        graph = model.decode(submission.graph)
        self.admission.check(graph)
        check_tags(submission.tags)
        version = recovery.version_digest(submission.graph, submission.bundle)
        if submission.run_id:
            recovery.check_run_id(submission.run_id)
            if found := rows.run_row(self.database, submission.run_id):
                if found.version != version:
                    raise UsageError(
                        f"run {found.id!r} exists with other code or parameters: choose another --run-id, "
                        f"or go on with `clearance resume {found.id}`"
                    )
                self.resume(found.id)
                return found.id, False
        now = self.clock()
        adopt = Adopt(self, submission.adopt, submission.again) if submission.adopt else None
        if adopt is not None:
            adopt.check(graph)
        id = submission.run_id or self._next_id(graph.dag)
        self.ledger.add("version_add", version, graph.dag, submission.bundle, submission.module, submission.graph, now)
        self.begin(
            id, graph, version, submission.bundle, submission.principal,
            traceparent=submission.traceparent, adopt=adopt, tags=submission.tags,
        )  # fmt: skip
        return id, True

    def begin(
        self,
        id: str,
        graph: model.Graph,
        version: str,
        bundle: str,
        principal: str,
        cause: Cause | None = None,
        traceparent: str = "",
        adopt: Adopt | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Makes a run of this id, which must be new, of a stored version.

        `cause` says what started it by itself, `adopt` what it takes from a run before.
        """
        now = self.clock()
        lock = self.evidence.environment()
        self._numbers += 1
        run = ActiveRun(
            number=self._numbers, key=secrets.token_hex(8), id=id, version=version, bundle=bundle,
            graph=graph, principal=principal, environment=lock.digest, cause=cause, created_at=now,
        )  # fmt: skip
        self.admission.ask(run)
        ledger = self.ledger
        ledger.add("environment_add", lock.digest, lock.text)
        ledger.add(
            "run_add", run.number, run.key, id, graph.dag, version, run.state,
            rows.json_text(graph.parameters), principal, lock.digest, now,
        )  # fmt: skip
        add_marks(ledger, run.number, graph.parameters, tags or {})
        self.machine.changes.added.extend(run.nodes)
        self.runs[id] = run
        told: dict[str, Any] = {"dag": graph.dag, "tasks": len(run.nodes)}
        if cause is not None:
            ledger.add_cause(run, cause)
            told["cause"] = cause.kind
        if traceparent:
            told["traceparent"] = traceparent
        self.tracing.begin(run, traceparent)
        ledger.tell_of(now, run, None, "created", told)
        preloads = dict.fromkeys(node.preload for node in graph.nodes)
        self.engine.prepare(run.bundle, list(preloads))
        self.triggers.prepare(run)
        self.deadlines.begin(run)
        if adopt is not None:
            adopt.into(run, now)
        self.machine.begin(run)

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
        self._settle()
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
        cleared = self.machine.clear(run, choices, reach)
        changes = self.machine.take()
        self.machine.changes.ready, changes.ready = changes.ready, []
        self._commit(self.clock(), changes)  # what is opened again is read from the database
        return cleared

    def stop(self, instance: Instance) -> None:
        """Ends the attempt of an instance; its end comes as an event."""
        self._cancels.append(instance.attempt)

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
        self._settle()
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
        self.admission.cancel(run)
        for instance in self.machine.cancel(run):
            self._cancels.append(instance.attempt)
        for instance in run.instances():
            if instance.state is TaskState.CANCELLED:
                self.withdraw(instance)
        return True

    def forget(self, what: str, older: float, dry: bool) -> dict[str, Any]:
        """Takes away old cache entries or runs, see `run.forgetting`; what is taken is committed when this returns."""
        self._settle()
        from clearance.run.redo import forgetting

        told = forgetting.forget(self.database, self.ledger, what, self.clock() - older, dry)
        self._settle()
        return told

    def wake_deferred(self, kind: str, key: str, payload: Any) -> int:
        """Wakes the tasks that wait for this (see `Deferrals.wake`); returns how many there were."""
        return self.deferrals.wake(kind, key, payload)

    def submit_defined(self, graph: bytes, run_id: str, dag: str, by: ActiveRun) -> None:
        """Starts the run that a task of the run `by` asked for, on the newest version of the DAG.

        Raises:
            UsageError: the id belongs to a run of other code or parameters.
        """
        bundle, module = self.database.rows("version_newest", dag)[0]
        self.submit(Submission(graph=graph, bundle=bundle, module=module, run_id=run_id, principal=by.principal))

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
        return {"verdict": decision.verdict, "reason": decision.reason, "blockers": names}

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
        snapshot = self.engine.adopt(self.epoch)
        now = self.clock()
        running = {started.attempt: started for started in snapshot.running}
        finished = {event.attempt: event for event in snapshot.finished}
        for run in recovery.unfinished_runs(self.database, self.evidence.arguments):
            self.runs[run.id] = run
            self.admission.restore(run)
            self.deadlines.begin(run, known=True)
            attempts = {(row.number, row.epoch): row for row in rows.attempts_begun(self.database, run.number)}
            for instance in run.instances():
                if row := attempts.get((instance.number, instance.epoch)):
                    self.ledger.recall(instance.attempt, row)
                self._readopt(instance, running, finished, now)
            if not run.unfinished:
                self.machine.changes.ended.append((run, outcome(run)))
            self.engine.prepare(run.bundle, list(dict.fromkeys(node.preload for node in run.graph.nodes)))
        self.services.recover({*running}, {ready.attempt: ready for ready in snapshot.ready})
        known = {*self._attempts, *self.services.attempts}
        self._cancels += [attempt for attempt in running if attempt not in known]
        self._done += [attempt for attempt in finished if attempt not in known]
        for event in snapshot.finished:
            if event.attempt in known:
                self._observe(event, now)

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
            self._observe(event, now)
        while self._retries and self._retries[0][0] <= now:
            _, _, instance = heapq.heappop(self._retries)
            if instance.state is TaskState.UP_FOR_RETRY and instance.due_at <= now:
                self.machine.wake(instance)
        self.deferrals.fire(now)
        self.deadlines.fire(now)
        self.services.reconcile(now)
        self.triggers.turn(now)
        self.deliveries.turn(now)
        self._commit(now, self.asking.turn(now))
        if self.machine.changes.dirty or self.machine.changes.ready:  # woken by what this turn committed
            return 0.0
        due = [now if self.asking.more else self.ledger.due, self.services.due, self.deferrals.due, self.triggers.due]
        due.append(self.deliveries.due)
        due.append(self.deadlines.due)
        if self._retries:
            due.append(self._retries[0][0])
        return max(0.0, min(due) - self.clock())

    def _observe(self, event: Event, now: float) -> None:
        kind = type(event)
        if kind is Finished or kind is Started or kind is Ready:
            self._reported(event, now)  # type: ignore[arg-type]
        elif isinstance(event, EngineLost):
            self._lost(event, now)
        elif isinstance(event, Defined):
            if not self.deferrals.defined(event):
                self.defined(event)
        elif isinstance(event, Begun | Stepped | Called):
            if (instance := self._attempts.get(event.attempt)) is not None and instance.attempt == event.attempt:
                self.flows.observe(instance, event, now)

    def _reported(self, event: Started | Ready | Finished, now: float) -> None:
        """Takes a report on an attempt of a task or a service."""
        key = event.attempt
        over = type(event) is Finished
        if over:
            self._done.append(key)
        if key in self.services.attempts:
            self.services.observe(event, now)
            return
        instance = self._attempts.get(key)
        if instance is None or instance.attempt != key:
            if over:
                self._fence(event, now)
        elif isinstance(event, Finished):
            self._on_finished(instance, event, now)
        elif isinstance(event, Started):
            self._on_started(instance, event, now)

    def _on_started(self, instance: Instance, event: Started, now: float) -> None:
        if instance.state is not TaskState.QUEUED:
            return
        row = self.ledger.attempt(instance)
        row.node, row.started_at = event.node, now
        row.processes = rows.json_text([event.pids, event.births])
        self.machine.move(instance, TaskState.RUNNING)

    def _on_finished(self, instance: Instance, event: Finished, now: float) -> None:
        key = event.attempt
        if instance.spec.flow:
            self.flows.before_end(instance, event, now)
        del self._attempts[key]
        self.desks.release(instance)
        failure = event.failure
        row = self.ledger.attempt(instance)
        row.outcome, row.finished_at = event.outcome, now
        row.failure = _failures.encode(failure).decode() if failure else ""
        row.cpu_seconds, row.peak_memory = event.usage.cpu_seconds, event.usage.peak_memory
        started = row.started_at or now
        if instance.run.marks and self.machine.mark(instance):
            return
        if event.outcome == "success":
            self._succeed(instance, event.result, started, now)
        elif event.outcome == "cancelled" or (stopping(instance) and event.outcome == "evicted"):
            self.machine.finish(instance, TaskState.CANCELLED, reason="cancelled")
        elif event.outcome in ("evicted", "lost"):
            self.machine.again(instance)
        elif failure is not None and DEFER in failure.bases:
            row.outcome, row.failure = "deferred", ""
            self.deferrals.take(instance, failure, started, now)
        elif failure is not None and SKIP in failure.bases:
            self.machine.finish(instance, TaskState.SKIPPED, reason=failure.message)
        else:
            failure = failure or Failure(event.outcome, f"ended with {event.outcome}")
            self.machine.fail(instance, failure, now, self.rng)
            if instance.state is TaskState.UP_FOR_RETRY:
                self._retry_later(instance)
                self.machine.changes.reasons[instance] = failure.message

    def _succeed(self, instance: Instance, result: Artifact | None, started: float, now: float) -> None:
        if result is not None and result.serializer == "endpoint" and self.services.asks(result):
            self.machine.move(instance, TaskState.DEFERRED)
            self.services.want(instance, result, now)
            return
        self.complete(instance, result, started, now)

    def complete(
        self, instance: Instance, result: Artifact | None, started: float, now: float, cached: bool = False
    ) -> None:
        """Ends an instance with success: result, attestation and events of assets are in the same transaction.

        A result that was `cached` is not attested anew: the attempt that made it was.
        """
        try:
            written = self.triggers.written(instance, result)
        except (ClearanceError, msgspec.MsgspecError) as error:
            self.machine.finish(instance, TaskState.FAILED, reason=f"the asset it returned: {error}")
            return
        if result is not None:
            self.keep(instance, result, started, now, attest=not cached)
        if not cached:
            self.cache.keep(instance, result, now)
        self.machine.finish(instance, TaskState.SUCCESS, result)
        if written:
            self.triggers.wrote(instance, written, now)

    def keep(self, instance: Instance, result: Artifact, started: float, now: float, attest: bool = True) -> None:
        """Stores what an instance returned, and attests it."""
        number, run = instance.number, instance.run.number
        self.ledger.add("artifact_add", run, number, result.digest, rows.artifact_encoder.encode(result), now)
        signed = self.evidence.attest(instance, result, started, now) if attest else []
        for subject, kind, envelope in signed:
            self.ledger.add("attestation_add", subject, kind, run, number, envelope, now)

    def _lost(self, event: EngineLost, now: float) -> None:
        """The engine died: what it had spooled is taken, the rest is done again."""
        snapshot = self.engine.adopt(self.epoch)
        for finished in snapshot.finished:
            self._observe(finished, now)
        for key, instance in list(self._attempts.items()):
            failure = Failure("lost", event.reason)
            self._on_finished(instance, Finished(key, "lost", failure=failure), now)
        self.services.lost(now)
        self.deferrals.lost()
        for run in self.runs.values():
            self.engine.prepare(run.bundle, list(dict.fromkeys(node.preload for node in run.graph.nodes)))

    def _fence(self, event: Started | Ready | Finished, now: float) -> None:
        kind = type(event).__name__.lower()
        self.ledger.tell(Happened(now, 0, -1, "fenced", {"attempt": event.attempt, "report": kind}))

    def _settle(self) -> None:
        """Commits what requests have changed since the last turn."""
        now = self.clock()
        self._commit(now, self.asking.turn(now))

    @staticmethod
    def unknown(run: ActiveRun, label: str) -> UsageError:
        """Returns the error for a task that a run does not have."""
        near = nearest(label, [each.label for each in run.instances()])
        return UsageError(f"run {run.id!r} has no task {label!r}{near}; `clearance runs show {run.id}` lists them")

    def launch(self, instance: Instance) -> None:
        """Has a granted instance launched once this turn is committed."""
        spec, run = instance.spec, instance.run
        key = instance.attempt
        self._attempts[key] = instance
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
        if self._cancels:
            cancels, self._cancels = self._cancels, []
            self.engine.cancel(cancels, self.settings.grace)
        self.services.act()
        self.deferrals.act()
        if self._done:
            done, self._done = self._done, []
            self.engine.acknowledge(done)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _next_id(self, dag: str) -> str:
        number = self._counts.get(dag) or int(self.database.rows("run_count", dag, dag)[0][0])
        while True:
            number += 1
            id = f"{dag}/{number}"
            if id not in self.runs and not self.database.rows("run_get", id):
                self._counts[dag] = number
                return id

    def _load(self, id: str) -> ActiveRun:
        return recovery.load(self.database, recovery.known(self.database, id), self.evidence.arguments)

    def _readopt(
        self, instance: Instance, running: dict[str, Started], finished: dict[str, Finished], now: float
    ) -> None:
        state = instance.state
        if state in (TaskState.QUEUED, TaskState.RUNNING):
            key = instance.attempt
            if key in running or key in finished:
                self._attempts[key] = instance
                self.scheduler.restore(self.desks.ask_of(instance), recovery.placement(instance))
                if key in running and state is TaskState.QUEUED:
                    self._on_started(instance, running[key], now)
                if key in running and (instance.node, instance.path) in instance.run.marks:
                    self.stop(instance)
            else:
                row = self.ledger.attempt(instance)
                row.outcome, row.finished_at = "lost", now
                self.machine.again(instance)
        elif state in (TaskState.AWAITING_CLEARANCE, TaskState.PREEMPTED):
            if state is TaskState.PREEMPTED:
                self.machine.wake(instance)
            else:
                self.machine.changes.ready.append(instance)
        elif state is TaskState.UP_FOR_RETRY:
            self._retry_later(instance)
        elif state is TaskState.DEFERRED:
            self.deferrals.restore(instance)

    def _retry_later(self, instance: Instance) -> None:
        self._serial += 1
        heapq.heappush(self._retries, (instance.due_at, self._serial, instance))

    def _stored_envelope(self, digest: str, kind: str) -> bytes | None:
        found = [row[3] for row in self.database.rows("attestations", digest) if row[0] == kind]
        return bytes(found[-1]) if found else None
