"""Services: what must be kept running. Desired rows are reconciled with what is seen.

Nothing here knows what runs inside a service. Rules:

1. A task that returned an endpoint with a service stays `deferred` until the service is healthy; it holds no process.
2. A service asks both desks for clearance as an attempt does, and is launched by the same engine.
3. A replica that refuses (a model that is not as signed, a wrong configuration) fails for good. One that ends, or
   does not answer its health check three times, is started again after a backoff that doubles from 0.5 to 30
   seconds; five starts in a row that never became healthy are a failure for good.
4. Stopping drains: a notice, the grace period, then the end. A service outlives the run that made it.
5. A restart asks for the same port again, so that clients need not be told.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.cluster import Answer, Job, Placement, task_groups
from clearance.engine.base import Finished, Launch, Ready, Started
from clearance.errors import ClearanceError
from clearance.run import rows
from clearance.run.clearance import denial
from clearance.run.instance import Instance
from clearance.run.replicas import attempt_key, key_after, launch_of, service_of
from clearance.run.rows import ServiceRow
from clearance.store.outbox import Event as Happened
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from clearance.types.principal import groups_of
from clearance.types.references import Endpoint
from clearance.types.states import ServiceState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

STARTS = 5
UNANSWERED = 3
FINAL = frozenset({"clearance.errors.Refused", "clearance.errors.UsageError", "clearance.errors.Corrupt"})
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0


class Services:
    """The services of this installation, as the controller sees them."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._rows = {row.name: row for row in rows.services(controller.database)}
        self._waiting: dict[str, tuple[Instance, Artifact]] = {}
        self._unanswered: dict[str, int] = {}
        self._asked: set[str] = set()
        self._deadline: dict[str, float] = {}
        self._launches: list[Launch] = []
        self._cancels: list[str] = []
        self.attempts: dict[str, ServiceRow] = {}
        self.due = math.inf

    @property
    def wanted(self) -> bool:
        """True while a service should run, or has yet to stop."""
        return any(row.desired or row.state == ServiceState.DRAINING for row in self._rows.values())

    def list(self) -> list[ServiceRow]:
        """Returns the services, by name."""
        return [self._rows[name] for name in sorted(self._rows)]

    def running(self, name: str) -> ServiceRow | None:
        """Returns a service of which a replica runs that is wanted; None where none is."""
        row = self._rows.get(name)
        return row if row is not None and row.desired and attempt_key(row) in self.attempts else None

    def attempt_of(self, name: str) -> str | None:
        """Returns the replica of a service that runs; None where none does."""
        row = self._rows.get(name)
        key = attempt_key(row) if row is not None else ""
        return key if key in self.attempts else None

    @staticmethod
    def asks(result: Artifact) -> bool:
        """True when the endpoint in this artifact has a service that must be started."""
        return _endpoint(result).service is not None

    def want(self, instance: Instance, result: Artifact, now: float) -> None:
        """Writes the desired row for the endpoint an instance returned; the instance waits until it is healthy."""
        endpoint = _endpoint(result)
        name = endpoint.name
        assert endpoint.service is not None
        try:
            config = self._controller.evidence.service_config(instance, endpoint)
        except ClearanceError as error:
            self._refuse(instance, str(error), now)
            return
        old = self._rows.get(name)
        if old is not None and old.state in (ServiceState.STARTING, ServiceState.HEALTHY, ServiceState.UNHEALTHY):
            self._cancels.append(attempt_key(old))
        if displaced := self._waiting.pop(name, None):
            self._controller.machine.finish(
                displaced[0], TaskState.FAILED, reason=f"service {name!r} was replaced by {instance.run.id}"
            )
        self._controller.handovers.drop(name)
        self._rows[name] = ServiceRow(
            name=name, run=instance.run.number, instance=instance.number, bundle=instance.run.bundle,
            spec=rows.json_text(
                replace(
                    endpoint.service, config=config, queue=instance.spec.queue or instance.run.graph.queue,
                    user=instance.run.principal,
                )
            ),
            endpoint=rows.json_text(endpoint), desired=1, state=ServiceState.BACKOFF,
            epoch=old.epoch if old else 0, failures=0, due_at=now, info=old.info if old else "", message="",
            changed_at=now, attempt=old.attempt if old else "",
        )  # fmt: skip
        self._waiting[name] = (instance, result)
        self._save(self._rows[name], now, "wanted")

    def stop(self, name: str, now: float) -> bool:
        """Stops a service; False when there is none of this name that runs."""
        row = self._rows.get(name)
        if row is None or row.state in (ServiceState.STOPPED, ServiceState.FAILED):
            return False
        row.desired = 0
        self._controller.handovers.drop(name)
        self._give_up(row, f"service {name!r} was stopped before it was healthy")
        if row.state == ServiceState.BACKOFF:
            self._controller.scheduler.release(self._controller.handovers.job_of(name))
            self._asked.discard(name)
            self.change(row, ServiceState.STOPPED, now, "stopped")
        else:
            self._cancels.append(attempt_key(row))
            self.change(row, ServiceState.DRAINING, now, "draining")
        return True

    def probes(self) -> dict[str, dict[str, Any]]:
        """Returns how each healthy or unhealthy service can be asked whether it is well, by name."""
        seen = (ServiceState.HEALTHY, ServiceState.UNHEALTHY)
        return {row.name: msgspec.json.decode(row.info) for row in self._rows.values() if row.state in seen}

    def answered(self, name: str, well: bool, message: str, now: float) -> None:
        """Takes the outcome of one health check."""
        row = self._rows.get(name)
        if row is None or row.state not in (ServiceState.HEALTHY, ServiceState.UNHEALTHY):
            return
        if well:
            self._unanswered[name] = 0
            if row.state == ServiceState.UNHEALTHY:
                self.change(row, ServiceState.HEALTHY, now, "answers again")
            return
        self._unanswered[name] = self._unanswered.get(name, 0) + 1
        if row.state == ServiceState.HEALTHY:
            self.change(row, ServiceState.UNHEALTHY, now, message)
        if self._unanswered[name] >= UNANSWERED:
            self._unanswered[name] = 0
            self._cancels.append(attempt_key(row))

    def recover(self, running: dict[str, Started], ready: dict[str, Ready]) -> None:
        """Adopts replicas that still run; the others start again."""
        now = self._controller.clock()
        for row in self._rows.values():
            key = attempt_key(row)
            live = row.state not in (ServiceState.STOPPED, ServiceState.FAILED, ServiceState.BACKOFF)
            self._remember_waiting(row)
            if live and key in running:
                self.attempts[key] = row
                self._asked.add(row.name)
                self._controller.scheduler.restore(self.job(row), Placement(running[key].nodes))
                if key in ready and row.state == ServiceState.STARTING:
                    self.observe(ready[key], now)
                elif row.state == ServiceState.STARTING:
                    self._deadline[key] = now + service_of(row).start_timeout
                elif row.state == ServiceState.DRAINING:
                    self._cancels.append(key)
            elif live:
                self._down(row, now, "its process was lost")

    def lost(self, now: float) -> None:
        """The engine died, and every replica with it."""
        self._controller.handovers.lost()
        for row in self.attempts.values():
            self._controller.scheduler.release(self._controller.handovers.job_of(row.name))
            self._asked.discard(row.name)
            self._down(row, now, "the engine was lost")
        self.attempts.clear()

    def observe(self, event: Started | Ready | Finished, now: float) -> None:
        """Takes a report on a replica."""
        if self._controller.handovers.observe(event, now):
            return
        row = self.attempts[event.attempt]
        current = event.attempt == attempt_key(row) and self._rows.get(row.name) is row
        if isinstance(event, Finished):
            del self.attempts[event.attempt]
            self._deadline.pop(event.attempt, None)
            told = self._controller.evictions.ended(event.attempt)
            left = event.outcome == "evicted" or (told and event.outcome == "success")  # it drained, and ended well
            evicted = current and left and row.desired
            job = self._controller.handovers.job_of(row.name)
            if evicted and self._controller.moves.take(job):
                self.change(row, ServiceState.BACKOFF, now, f"evicted: {told}")
                if (answer := self._controller.moves.arrived(job)) is not None:
                    self.decided(answer, now)
                return
            self._controller.moves.gone(job)
            self._controller.scheduler.release(job)
            self._asked.discard(row.name)
            if evicted:
                row.due_at = now
                self.change(row, ServiceState.BACKOFF, now, f"evicted: {told}")
            elif current:
                message = event.failure.message if event.failure else f"ended with {event.outcome}"
                if event.failure and FINAL & {event.failure.kind, *event.failure.bases}:
                    self._fail(row, now, message)
                else:
                    self._down(row, now, message)
        elif isinstance(event, Ready) and current and row.state == ServiceState.STARTING:
            self._deadline.pop(event.attempt, None)
            row.info = rows.json_text(event.info)
            row.failures = 0
            self.change(row, ServiceState.HEALTHY, now, "")
            self._complete(row, event.info, now)

    def decided(self, decision: Answer, now: float) -> None:
        """Launches a replica that the capacity desk has room for, or fails one that can never have any."""
        if self._controller.handovers.decided(decision, now):
            return
        row = self._rows[self._controller.handovers.name_of(decision.id)]
        if decision.verdict == "denied":
            self._asked.discard(row.name)
            self._deny(row, decision.reason, now)
            return
        if not row.desired or row.state != ServiceState.BACKOFF:
            self._controller.scheduler.release(decision.id)
            return
        row.epoch += 1
        row.attempt = key_after(row)
        self.change(row, ServiceState.STARTING, now, decision.reason)
        grace = self._controller.settings.grace
        self.start(row, launch_of(row, row.attempt, decision.placement, decision.queue, grace), now)

    def start(self, row: ServiceRow, launch: Launch, now: float) -> None:
        """Launches a replica, once this turn is committed."""
        self.attempts[launch.attempt] = row
        self._deadline[launch.attempt] = now + service_of(row).start_timeout
        self._launches.append(launch)

    def end(self, attempt: str) -> None:
        """Ends a replica, once this turn is committed."""
        self._cancels.append(attempt)

    def in_time(self, attempt: str) -> None:
        """A replica is ready that did not count yet."""
        self._deadline.pop(attempt, None)

    def forget(self, attempt: str) -> None:
        """A replica has ended that does not count."""
        self.attempts.pop(attempt, None)
        self._deadline.pop(attempt, None)

    def reconcile(self, now: float) -> None:
        """Brings what runs nearer to what is wanted."""
        due = self._controller.handovers.reconcile(now)
        for row in self._rows.values():
            if row.desired and row.state == ServiceState.BACKOFF and row.name not in self._asked:
                if row.due_at <= now:
                    self._request(row, now)
                else:
                    due = min(due, row.due_at)
        for key, deadline in list(self._deadline.items()):
            if deadline <= now:
                del self._deadline[key]
                if key == attempt_key(self.attempts[key]):
                    self.attempts[key].message = "it was not healthy in time"
                self._cancels.append(key)
            else:
                due = min(due, deadline)
        for name, (instance, _) in list(self._waiting.items()):
            if instance.state is not TaskState.DEFERRED:
                del self._waiting[name]
                self.stop(name, now)
        self.due = due

    def act(self) -> None:
        """Acts on what is committed."""
        engine = self._controller.engine
        if self._cancels:
            cancels, self._cancels = self._cancels, []
            engine.cancel(cancels, self._controller.settings.grace)
        if self._launches:
            launches, self._launches = self._launches, []
            engine.launch(launches)

    def _request(self, row: ServiceRow, now: float) -> None:
        if denial := self._controller.scheduler.submit(self.job(row)):
            self._deny(row, denial.reason, now)
        else:
            self._asked.add(row.name)

    def _deny(self, row: ServiceRow, reason: str, now: float) -> None:
        row.desired = 0
        self.change(row, ServiceState.FAILED, now, f"denied: {reason}")
        self._give_up(row, f"service {row.name!r}: denied: {reason}")

    def _down(self, row: ServiceRow, now: float, message: str) -> None:
        message = row.message if row.state == ServiceState.STARTING and row.message.startswith("it was") else message
        if not row.desired:
            self.change(row, ServiceState.STOPPED, now, "stopped")
            return
        row.failures += 1
        if row.failures >= STARTS:
            self._fail(row, now, message)
            return
        row.due_at = now + min(FIRST_BACKOFF * 2 ** (row.failures - 1), LONGEST_BACKOFF)
        self.change(row, ServiceState.BACKOFF, now, message)

    def _refuse(self, instance: Instance, reason: str, now: float) -> None:
        """The trust desk does not let this be served: the task is denied, with the reason on its record."""
        instance.clearance = denial(instance.clearance, reason, now)
        self._controller.machine.finish(instance, TaskState.FAILED, reason=f"denied: {reason}")

    def _complete(self, row: ServiceRow, info: dict[str, Any], now: float) -> None:
        """The service is healthy: the task that asked for it succeeds with the endpoint filled in."""
        waiting = self._waiting.pop(row.name, None)
        if waiting is None or waiting[0].state is not TaskState.DEFERRED:
            return
        instance, result = waiting
        asked = _endpoint(result)
        endpoint = Endpoint(
            name=asked.name, url=info.get("url", ""), model=asked.model, authority=info.get("authority", ""),
            token_file=self._controller.evidence.token_file(asked.name),
        )  # fmt: skip
        data = msgspec.json.encode(endpoint)
        artifact = Artifact(digest_of(data), len(data), "endpoint", result.type, data)
        self._controller.reports.complete(instance, artifact, now, now)

    def _fail(self, row: ServiceRow, now: float, message: str) -> None:
        row.desired = 0
        self.change(row, ServiceState.FAILED, now, message)
        self._give_up(row, f"service {row.name!r} did not become healthy: {message}")

    def _give_up(self, row: ServiceRow, reason: str) -> None:
        waiting = self._waiting.pop(row.name, None)
        if waiting and waiting[0].state is TaskState.DEFERRED:
            self._controller.machine.finish(waiting[0], TaskState.FAILED, reason=reason)

    def _remember_waiting(self, row: ServiceRow) -> None:
        for run in self._controller.runs.values():
            if run.number != row.run:
                continue
            for instance in run.instances():
                if instance.number == row.instance and instance.state is TaskState.DEFERRED:
                    data = row.endpoint.encode()
                    self._waiting[row.name] = (instance, Artifact(digest_of(data), len(data), "endpoint", "", data))

    def job(self, row: ServiceRow) -> Job:
        """Returns what the replica of a service asks of the capacity desk."""
        service = service_of(row)
        asked = {"cpu": service.cpu_millis, "memory": service.memory}
        return Job(
            self._controller.handovers.job_of(row.name),
            task_groups=task_groups({key: n for key, n in asked.items() if n}),
            queue=service.queue,
            user=service.user,
            groups=groups_of(service.user),
            service=True,
            label=f"service {row.name}",
        )

    def change(self, row: ServiceRow, state: ServiceState, now: float, message: str) -> None:
        """Changes where a service stands, and tells of it."""
        row.state, row.message = state, message
        self._save(row, now, state)

    def _save(self, row: ServiceRow, now: float, kind: str) -> None:
        row.changed_at = now
        self._controller.ledger.put_service(row)
        payload = {"service": row.name, "state": kind, "message": row.message}
        self._controller.ledger.tell(Happened(now, row.run, row.instance, "service", payload))


def _endpoint(artifact: Artifact) -> Endpoint:
    return msgspec.json.decode(artifact.inline or b"{}", type=Endpoint)
