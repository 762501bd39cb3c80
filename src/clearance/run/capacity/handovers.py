"""Handovers: a healthy service leaves its node by a replica that takes over, and only then ends the old one.

Rules:

1. That is so where the service allows a replica beside it (`Service.overlap`) and its node is closed, or consolidation
   moves it. Who is preempted gives room back, and does not ask for more first.
2. Off a closed node, the successor asks the capacity desk for room of its own, as the job with the other of two ids.
   If there is none at once, the old replica ends first and the next one starts when there is; its record says so. In a
   move the scheduler has taken the room already.
3. When the successor is ready it counts from the next commit on, and then the old one gets its notice. A controller
   that takes over finds the one that counts, and ends the other.
4. Where the successor fails, the old one stays if it may, and ends first if it may not.
5. Where the old one ends before, its successor is the replica that starts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from clearance.cluster import Answer, Placement
from clearance.engine.base import Finished, Ready, Started
from clearance.run import rows
from clearance.run.capacity.evictions import SERVICE
from clearance.run.replicas import attempt_key, key_after, launch_of, service_of
from clearance.run.rows import ServiceRow
from clearance.types.states import ServiceState

if TYPE_CHECKING:
    from clearance.cluster.decision import Migrate
    from clearance.run.controller import Controller

_OTHER = "#other"


class _Handover:
    """One that is under way.

    Attributes:
        row: of the service.
        reason: for people.
        old: id of the job that holds the room of the old replica.
        job: id of that which holds the room of the successor; the same in a move.
        move: what consolidation decided; None: the node is closed.
        successor: key of its attempt; empty while there is no room.
        looked: whether it was looked for room.
    """

    __slots__ = ("job", "looked", "move", "old", "reason", "row", "successor")

    def __init__(self, row: ServiceRow, reason: str, old: str, job: str, move: Migrate | None) -> None:
        self.row = row
        self.reason = reason
        self.old = old
        self.job = job
        self.move = move
        self.successor = ""
        self.looked = False


class Handovers:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._going: dict[str, _Handover] = {}
        self._ending: dict[str, _Handover] = {}  # by the key of the replica that counts no more
        self._jobs: dict[str, str] = {}

    def job_of(self, name: str) -> str:
        """Returns the id of the job that holds the room of a service's replica that counts."""
        return self._jobs.get(name, f"{SERVICE}{name}")

    @staticmethod
    def name_of(job: str) -> str:
        """Returns the name of the service that has such a job."""
        return job.removeprefix(SERVICE).removesuffix(_OTHER)

    def begin(self, job: str, reason: str, move: Migrate | None = None) -> bool:
        """Lets a successor take over from a service that is to leave its node.

        Args:
            job: id of the job that holds its room.
            reason: for people.
            move: what consolidation decided; None: it is evicted.

        Returns:
            False where it is to end first.
        """
        controller, name = self._controller, self.name_of(job)
        known = self._going.get(name)
        if known is not None:
            if job == known.job != known.old:  # the successor is to leave as well
                controller.services.end(known.successor)
            return True
        row = controller.services.running(name)
        if row is None or job != self.job_of(name) or attempt_key(row) in self._ending:
            return False
        if row.state != ServiceState.HEALTHY or not service_of(row).overlap or not (move or self._closed(job)):
            return False
        other = job.removesuffix(_OTHER) if job.endswith(_OTHER) else job + _OTHER
        handover = _Handover(row, reason, job, other if move is None else job, move)
        now = controller.clock()
        if move is None:
            if other in controller.scheduler.scheduler.apps:  # that of the replica before, which has not ended yet
                return False
            wanted = msgspec.structs.replace(controller.services.job(row), id=other)
            if controller.scheduler.submit(wanted) is not None:
                return False
            self._going[name] = handover
            return True
        self._going[name] = handover
        queue = controller.scheduler.scheduler.apps[job].queue.path
        self._start(handover, Placement((move.target,), (move.devices,) if move.devices else ()), queue, now)
        return True

    def _closed(self, job: str) -> bool:
        """Whether a node of a job takes nothing new."""
        answer = self._controller.scheduler.explain(job)
        nodes = answer.placement.nodes if answer is not None and answer.placement is not None else ()
        named = self._controller.scheduler.scheduler.nodes.named
        return any(named[node].closed or not named[node].node.schedulable for node in nodes if node in named)

    def decided(self, answer: Answer, now: float) -> bool:
        """Takes what the capacity desk says of a service; returns whether it was said of a successor."""
        handover = self._going.get(self.name_of(answer.id))
        if handover is None or handover.job != answer.id or handover.move is not None:
            return False
        if answer.verdict == "granted":
            self._start(handover, answer.placement, answer.queue, now)
        else:
            self._give_up(handover, "there is never room for a replica beside it")
        return True

    def reconcile(self, now: float) -> float:
        """Gives up those for whom there was no room; returns when there is more to do, seconds since 1970."""
        due = math.inf
        for handover in list(self._going.values()):
            if handover.successor:
                continue
            if handover.looked:
                self._give_up(handover, "there is no room for a replica beside it")
            handover.looked, due = True, now
        return due

    def observe(self, event: Started | Ready | Finished, now: float) -> bool:
        """Takes a report on a replica; returns whether that was all there is to do about it."""
        ended = self._ending.get(event.attempt)
        if ended is not None:
            if isinstance(event, Finished):
                del self._ending[event.attempt]
                self._forget(event.attempt)
                self._settle(ended)
            return True
        services = self._controller.services
        handover = self._going.get(services.attempts[event.attempt].name)
        if handover is None:
            return False
        row = handover.row
        if event.attempt == handover.successor:
            if isinstance(event, Ready):
                services.in_time(event.attempt)
                before = attempt_key(row)
                self._ending[before] = handover
                self._count(handover)
                row.info, row.failures = rows.json_text(event.info), 0
                services.change(row, ServiceState.HEALTHY, now, f"it has moved: {handover.reason}")
                services.end(before)
            elif isinstance(event, Finished):
                self._forget(event.attempt)
                what = event.failure.message if event.failure is not None else f"it ended with {event.outcome}"
                self._give_up(handover, f"its successor failed ({what})")
            return True
        if not isinstance(event, Finished) or event.attempt != attempt_key(row):
            return False
        if not row.desired or not handover.successor:
            self.drop(row.name)
            return False
        self._forget(event.attempt)
        self._count(handover)
        self._settle(handover)
        services.change(row, ServiceState.STARTING, now, f"it moves: {handover.reason}")
        return True

    def drop(self, name: str) -> None:
        """A service is stopped, or another one takes its name: its successor is not wanted any more."""
        handover = self._going.pop(name, None)
        if handover is not None:
            self._give_back(handover)
            if handover.successor:
                self._ending[handover.successor] = handover
                handover.old = handover.job = ""
                self._controller.services.end(handover.successor)

    def lost(self) -> None:
        """The engine died: of each service one replica is left, which counts."""
        for key, handover in list(self._ending.items()):
            self._forget(key)
            self._settle(handover)
        self._ending.clear()
        for handover in list(self._going.values()):
            self._give_back(handover)
            self._forget(handover.successor)
        self._going.clear()

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _start(self, handover: _Handover, placement: Placement | None, queue: str, now: float) -> None:
        controller, row = self._controller, handover.row
        row.epoch += 1
        handover.successor = key_after(row, beside=True)
        launch = launch_of(row, handover.successor, placement, queue, controller.settings.grace)
        controller.services.start(row, launch, now)
        controller.services.change(row, ServiceState(row.state), now, f"its successor starts: {handover.reason}")

    def _count(self, handover: _Handover) -> None:
        """From now on the successor counts."""
        row = handover.row
        self._going.pop(row.name, None)
        row.attempt = handover.successor
        self._jobs[row.name] = handover.job

    def _settle(self, handover: _Handover) -> None:
        """The replica that counts no more has ended: its room is given back."""
        scheduler, move = self._controller.scheduler, handover.move
        if not handover.old:
            return
        if move is None:
            scheduler.release(handover.old)
        elif handover.old in scheduler.scheduler.apps:
            if scheduler.moved(handover.old, {move.member: move.target}) is None:
                scheduler.release(handover.old)
                scheduler.restore(self._controller.services.job(handover.row), Placement((move.target,)))
            self._controller.moves.settled(handover.old)

    def _give_back(self, handover: _Handover) -> None:
        """The room of a successor is given back."""
        scheduler, move = self._controller.scheduler, handover.move
        if move is None:
            scheduler.release(handover.job)
        elif handover.old in scheduler.scheduler.apps:
            scheduler.moved(handover.old, {move.member: move.source})
            self._controller.moves.settled(handover.old)

    def _give_up(self, handover: _Handover, why: str) -> None:
        """There will be no successor."""
        controller, row = self._controller, handover.row
        self._going.pop(row.name, None)
        if handover.move is not None:
            controller.moves.abandon()
        self._give_back(handover)
        if handover.move is None:
            controller.evictions.notice(handover.old, f"{handover.reason}; {why}, so it ends first")
        else:
            controller.services.change(row, ServiceState(row.state), controller.clock(), f"it did not move: {why}")

    def _forget(self, attempt: str) -> None:
        self._controller.services.forget(attempt)
        self._controller.evictions.ended(attempt)
