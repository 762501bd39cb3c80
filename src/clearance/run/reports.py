"""What the engine reports of attempts: starts and ends become changes of state, results and their evidence.

Rules:

1. A report of an attempt that is not the newest of its instance is refused (fenced) and leaves no trace but an event.
2. The end of an attempt that asks for a run is taken when the graph of that run is made: see `run.deferral`.
3. At a takeover attempts that run are adopted, spooled results are taken, and what the engine does not know was lost.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import msgspec

from clearance.engine.base import (
    Defined,
    EngineLost,
    Event,
    Failure,
    Finished,
    NodeGone,
    NodeReady,
    Ready,
    Signal,
    Started,
    Unwatched,
)  # fmt: skip
from clearance.errors import ClearanceError
from clearance.run import recovery, rows
from clearance.run.deferral import DEFER, LOOKS
from clearance.run.instance import Instance
from clearance.run.machine import LOST_LIMIT, stopping
from clearance.run.verdicts import outcome
from clearance.store.outbox import Event as Happened
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

SKIP = "clearance.errors.Skip"
_failures = msgspec.json.Encoder()


class Reports:
    """See the module.

    Args:
        controller: which leads.

    Attributes:
        attempts: the instances that were launched, by the key of their attempt.
        over: attempts whose end is taken and is to be acknowledged.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.attempts: dict[str, Instance] = {}
        self.over: list[str] = []
        self._retries: list[tuple[float, int, Instance]] = []
        self._serial = 0

    @property
    def due(self) -> float:
        """When the next retry is due, seconds since 1970."""
        return self._retries[0][0] if self._retries else math.inf

    def recover(self) -> None:
        """Takes over what an earlier controller left: running attempts are adopted, spooled results taken."""
        controller = self._controller
        snapshot = controller.engine.adopt(controller.epoch)
        now = controller.scheduler.now = controller.clock()
        running = {started.attempt: started for started in snapshot.running}
        finished = {event.attempt: event for event in snapshot.finished}
        for run in recovery.unfinished_runs(controller.database, controller.evidence.arguments):
            controller.runs[run.id] = run
            controller.admission.restore(run)
            controller.deadlines.begin(run, known=True)
            attempts = {(row.number, row.epoch): row for row in rows.attempts_begun(controller.database, run.number)}
            if not run.unfinished:
                controller.machine.changes.ended.append((run, outcome(run)))
            for instance in run.instances():
                if row := attempts.get((instance.number, instance.epoch)):
                    controller.ledger.recall(instance.attempt, row)
                self._readopt(instance, running, finished, now)
            if run.unfinished and (times := controller.database.rows("run_cancelling", run.number)[0][0]):
                run.cancelling = times > 1
                controller.cancel(run.id)
            controller.engine.prepare(run.bundle, list(dict.fromkeys(node.preload for node in run.graph.nodes)))
        controller.services.recover(running, {ready.attempt: ready for ready in snapshot.ready})
        known = {*self.attempts, *controller.services.attempts}
        controller.cancels += [attempt for attempt in running if attempt not in known]
        self.over += [attempt for attempt in finished if attempt not in known]
        for event in snapshot.finished:
            if event.attempt in known:
                self.observe(event, now)
        controller.driver.recover()

    def wake(self, now: float) -> None:
        """Retries what is due."""
        while self._retries and self._retries[0][0] <= now:
            _, _, instance = heapq.heappop(self._retries)
            if instance.state is TaskState.UP_FOR_RETRY and instance.due_at <= now:
                self._controller.machine.wake(instance)

    def observe(self, event: Event, now: float) -> None:
        """Takes one event of the engine."""
        controller = self._controller
        kind = type(event)
        if kind is Finished or kind is Started or kind is Ready:
            self._reported(event, now)  # type: ignore[arg-type]
        elif isinstance(event, EngineLost):
            self._lost(event, now)
        elif isinstance(event, Signal | Unwatched | NodeReady | NodeGone):
            controller.driver.observe(event)
        elif isinstance(event, Defined):
            if (finished := controller.deferrals.defined(event)) is not None:
                self._reported(finished, now, event)
            else:
                controller.defined(event)
        else:
            instance = self.attempts.get(event.attempt)
            if instance is not None and instance.attempt == event.attempt:
                controller.flows.observe(instance, event, now)  # type: ignore[arg-type]

    def _reported(self, event: Started | Ready | Finished, now: float, made: Defined | None = None) -> None:
        """Takes a report on an attempt of a task or a service; `made` is the graph that its end was kept for."""
        controller = self._controller
        key = event.attempt
        instance = self.attempts.get(key)
        known = instance is not None and instance.attempt == key
        if isinstance(event, Finished):
            if instance is not None and known and made is None and controller.deferrals.parks(instance, event):
                return
            self.over.append(key)
        if controller.driver.reported(event):
            return
        if key in controller.services.attempts:
            controller.services.observe(event, now)
        elif instance is None or not known:
            if isinstance(event, Finished):
                self._fence(event, now)
        elif isinstance(event, Finished):
            self._on_finished(instance, event, now, made)
        elif isinstance(event, Started):
            self._on_started(instance, event, now)

    def _on_started(self, instance: Instance, event: Started, now: float) -> None:
        controller = self._controller
        if instance.state is not TaskState.QUEUED:
            return
        row = controller.ledger.attempt(instance)
        row.node, row.started_at = event.node, now
        row.processes = rows.json_text([event.pids, event.births])
        controller.machine.move(instance, TaskState.RUNNING)

    def _on_finished(self, instance: Instance, event: Finished, now: float, made: Defined | None = None) -> None:
        controller = self._controller
        key = event.attempt
        if instance.spec.flow:
            controller.flows.before_end(instance, event, now)
        del self.attempts[key]
        evicted = event.outcome == "evicted" and not stopping(instance)
        told = controller.evictions.ended(key)
        job = controller.desks.id_of(instance)
        controller.driver.tried(job, event, now)
        if not (evicted and controller.moves.take(job)):
            controller.moves.gone(job)
            controller.desks.release(instance, again=evicted)
        failure = event.failure
        row = controller.ledger.attempt(instance)
        row.outcome, row.finished_at = event.outcome, now
        row.failure = _failures.encode(failure).decode() if failure else ""
        row.cpu_seconds, row.peak_memory = event.usage.cpu_seconds, event.usage.peak_memory
        started = row.started_at or now
        if instance.run.marks and controller.machine.mark(instance):
            return
        if event.outcome == "success":
            self._succeed(instance, event.result, started, now)
        elif event.outcome == "cancelled" or (stopping(instance) and event.outcome == "evicted"):
            controller.machine.finish(instance, TaskState.CANCELLED, reason="cancelled")
        elif evicted:
            controller.machine.again(instance, f"evicted: {told}", self._evicted(instance) + 1)
        elif event.outcome == "lost":
            controller.machine.again(instance, evicted=self._evicted(instance))
        elif failure is not None and DEFER in failure.bases:
            row.outcome, row.failure = "deferred", ""
            controller.ledger.add("attempt_forget", instance.run.number, instance.number, instance.epoch + 1 - LOOKS)
            controller.deferrals.take(instance, failure, started, now, made)
        elif failure is not None and SKIP in failure.bases:
            controller.machine.finish(instance, TaskState.SKIPPED, reason=failure.message)
        else:
            failure = failure or Failure(event.outcome, f"ended with {event.outcome}")
            controller.machine.fail(instance, failure, now, controller.rng)
            if instance.state is TaskState.UP_FOR_RETRY:
                self._retry_later(instance)
                controller.machine.changes.reasons[instance] = failure.message

    def _evicted(self, instance: Instance) -> int:
        """Returns how many attempts of an instance were evicted; 0 where so few ended early that it does not matter."""
        if instance.epoch - instance.attempts <= LOST_LIMIT:
            return 0
        rows_of = self._controller.database.rows("attempts_of", instance.run.number, instance.number)
        return sum(row[3] == "evicted" for row in rows_of)

    def _succeed(self, instance: Instance, result: Artifact | None, started: float, now: float) -> None:
        controller = self._controller
        if result is not None and result.serializer == "endpoint" and controller.services.asks(result):
            controller.machine.move(instance, TaskState.DEFERRED)
            controller.services.want(instance, result, now)
            return
        self.complete(instance, result, started, now)

    def complete(
        self, instance: Instance, result: Artifact | None, started: float, now: float, cached: bool = False
    ) -> None:
        """Ends an instance with success: result, attestation and events of assets are in the same transaction.

        A result that was `cached` is not attested anew: the attempt that made it was.
        """
        controller = self._controller
        try:
            written = controller.triggers.written(instance, result)
        except (ClearanceError, msgspec.MsgspecError) as error:
            controller.machine.finish(instance, TaskState.FAILED, reason=f"the asset it returned: {error}")
            return
        if result is not None:
            self.keep(instance, result, started, now, attest=not cached)
        if not cached:
            controller.cache.keep(instance, result, now)
        controller.machine.finish(instance, TaskState.SUCCESS, result)
        if written:
            controller.triggers.wrote(instance, written, now)

    def keep(self, instance: Instance, result: Artifact, started: float, now: float, attest: bool = True) -> None:
        """Stores what an instance returned, and attests it."""
        controller = self._controller
        number, run = instance.number, instance.run.number
        controller.ledger.add("artifact_add", run, number, result.digest, rows.artifact_encoder.encode(result), now)
        signed = controller.evidence.attest(instance, result, started, now) if attest else []
        for subject, kind, envelope in signed:
            controller.ledger.add("attestation_add", subject, kind, run, number, envelope, now)
        if signed:
            envelopes = {kind: digest_of(envelope) for _, kind, envelope in signed}
            controller.ledger.note(
                "artifact.signed", result.digest, run=instance.run.id, task=instance.label, launch=instance.epoch,
                envelopes=envelopes,
            )  # fmt: skip

    def _lost(self, event: EngineLost, now: float) -> None:
        """The engine died: what it had spooled is taken, the rest is done again."""
        controller = self._controller
        snapshot = controller.engine.adopt(controller.epoch)
        for finished in snapshot.finished:
            self.observe(finished, now)
        for key, instance in list(self.attempts.items()):
            if controller.deferrals.parked(key):
                continue
            failure = Failure("lost", event.reason)
            self._on_finished(instance, Finished(key, "lost", failure=failure), now)
        controller.services.lost(now)
        controller.driver.lost()
        controller.deferrals.lost()
        for run in controller.runs.values():
            controller.engine.prepare(run.bundle, list(dict.fromkeys(node.preload for node in run.graph.nodes)))

    def _fence(self, event: Started | Ready | Finished, now: float) -> None:
        kind = type(event).__name__.lower()
        self._controller.ledger.tell(Happened(now, 0, -1, "fenced", {"attempt": event.attempt, "report": kind}))

    def _readopt(
        self, instance: Instance, running: dict[str, Started], finished: dict[str, Finished], now: float
    ) -> None:
        controller = self._controller
        state = instance.state
        if state in (TaskState.QUEUED, TaskState.RUNNING):
            key = instance.attempt
            if key in running or key in finished:
                self.attempts[key] = instance
                controller.desks.restore(instance, recovery.placement(instance), recovery.queue(instance))
                if key in running and state is TaskState.QUEUED:
                    self._on_started(instance, running[key], now)
                if key in running and (instance.node, instance.path) in instance.run.marks:
                    controller.stop(instance)
            else:
                row = controller.ledger.attempt(instance)
                row.outcome, row.finished_at = "lost", now
                controller.machine.again(instance, evicted=self._evicted(instance))
        elif state in (TaskState.AWAITING_CLEARANCE, TaskState.PREEMPTED):
            if state is TaskState.PREEMPTED:
                controller.machine.wake(instance)
            else:
                controller.machine.changes.ready.append(instance)
        elif state is TaskState.UP_FOR_RETRY:
            self._retry_later(instance)
        elif state is TaskState.DEFERRED:
            controller.deferrals.restore(instance)

    def _retry_later(self, instance: Instance) -> None:
        self._serial += 1
        heapq.heappush(self._retries, (instance.due_at, self._serial, instance))
