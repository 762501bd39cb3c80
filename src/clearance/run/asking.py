"""Asking both desks: whatever is ready is sent to them, and what they grant is launched.

Rules:

1. The trust desk is asked first, some inputs at a time, so that a turn stays short; then the cache; then the capacity
   desk, which keeps the order.
2. What a desk denies has failed, with the reason of the desk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from clearance.cluster import Answer
from clearance.errors import ClearanceError
from clearance.run.changes import Changes
from clearance.run.clearance import Verdict
from clearance.run.instance import ActiveRun, Instance
from clearance.types.states import RunState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

GRANTS, STEP = 2000, 500


class Asking:
    """See the module.

    Args:
        controller: whose desks these are.

    Attributes:
        more: whether the next turn has something to do at once.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._asking: dict[str, Instance] = {}
        self._judging: dict[Instance, Iterator[Verdict | None]] = {}
        self.more = False

    def get(self, ask: str) -> Instance | None:
        """Returns the instance that asks the capacity desk under this id."""
        return self._asking.get(ask)

    def withdraw(self, instance: Instance) -> None:
        """An instance asks no more."""
        self._asking.pop(self._controller.desks.id_of(instance), None)

    def turn(self, now: float) -> Changes:
        """Sends whatever is ready to both desks, and takes what they grant: up to `GRANTS` in a turn."""
        controller = self._controller
        controller.scheduler.now = now
        held = [instance for instance, trust in controller.cache.compared(now) if self._request(instance, trust, now)]
        if self._judging:
            held += [each for each, verdicts in list(self._judging.items()) if self._judge(each, verdicts, now)]
        left = GRANTS
        while True:
            filling = [run for run in controller.runs.values() if run.filling]
            for run in filling:
                controller.admission.fill(run)
            held += self._ask(now)
            most = min(left, STEP)
            granted = controller.scheduler.step(most)
            for decision in granted:
                self._decided(decision, now)
            left -= len(granted)
            if not granted or left <= 0:
                break
            if len(granted) < most and not filling and not controller.machine.changes.ready:
                break  # whatever fits was granted, and nothing more asks
        for instance in held:
            if instance.state is TaskState.AWAITING_CLEARANCE:
                decision_now = controller.scheduler.explain(controller.desks.id_of(instance))
                if decision_now is not None:
                    controller.desks.held(instance, decision_now, now)
        changes = self.take()
        self.more = bool(left <= 0 or changes.closed or changes.ended or self._judging)
        filling = [run for run in controller.runs.values() if run.filling]
        self.more = self.more or any(controller.admission.wants(run) for run in filling)
        return changes

    def take(self) -> Changes:
        """Takes what the machine has changed; what has ended gives its share of limits back."""
        changes = self._controller.machine.take()
        for closed in changes.closed:
            self._controller.admission.close(*closed)
        for run, _ in changes.ended:
            self._controller.admission.end(run)
        return changes

    def _ask(self, now: float) -> list[Instance]:
        """Asks both desks for what is ready; returns who waits for the capacity desk now."""
        controller = self._controller
        waiting: list[Instance] = []
        while ready := controller.machine.changes.ready:
            controller.machine.changes.ready = []
            for instance in ready:
                if instance.state is not TaskState.AWAITING_CLEARANCE:
                    continue
                if instance.run.marks and controller.machine.mark(instance):
                    continue
                if (answer := controller.moves.arrived(controller.desks.id_of(instance))) is not None:
                    self._launch(instance, answer, now)
                elif instance.run.state is RunState.QUEUED:
                    instance.run.parked.append(instance)
                else:
                    try:
                        given = controller.evidence.arguments.of(instance)
                    except ClearanceError as error:  # a part of a result that is not there
                        controller.machine.finish(instance, TaskState.FAILED, reason=str(error))
                        continue
                    if self._judge(instance, controller.evidence.judge(instance, given), now):
                        waiting.append(instance)
        return waiting

    def _judge(self, instance: Instance, verdicts: Iterator[Verdict | None], now: float) -> bool:
        """Lets the trust desk look at some more inputs of an instance, and asks for it when it is allowed.

        Returns:
            Whether it waits for the capacity desk now.
        """
        self._judging.pop(instance, None)
        if instance.state is not TaskState.AWAITING_CLEARANCE:
            return False
        trust = next(verdicts)
        if trust is None:
            self._judging[instance] = verdicts
            return False
        if trust.verdict != "denied" and self._controller.cache.take(instance, trust, now):
            return False
        return self._request(instance, trust, now)

    def _request(self, instance: Instance, trust: Verdict, now: float) -> bool:
        """Asks the capacity desk, after the trust desk; True when the instance waits for it now."""
        controller = self._controller
        if controller.desks.request(instance, trust, now):
            self._asking[controller.desks.id_of(instance)] = instance
            return True
        self._deny(instance)
        return False

    def _deny(self, instance: Instance) -> None:
        """A desk has denied, which its record says."""
        record = msgspec.json.decode(instance.clearance)
        desk = record["capacity"] if record.get("capacity") else record["trust"]
        told = {"rule": desk.get("rule", ""), "reason": desk["reason"]}
        self._controller.ledger.note(
            "policy.denied", f"{instance.run.id} {instance.label}", instance.run.principal, **told
        )
        self._controller.machine.finish(instance, TaskState.FAILED, reason=f"denied: {desk['reason']}")

    def _decided(self, decision: Answer, now: float) -> None:
        controller = self._controller
        if decision.verdict == "evicted":
            controller.evictions.give_notice(decision.id, decision.reason)
            return
        if decision.id.startswith("service:"):
            controller.services.decided(decision, now)
            return
        instance = self._asking.pop(decision.id, None)
        if decision.verdict == "denied":
            if instance is not None and instance.state is TaskState.AWAITING_CLEARANCE:
                controller.desks.decided(instance, decision, now)
                self._deny(instance)
            return
        if instance is None:
            if isinstance(run := controller.admission.granted(decision), ActiveRun):
                self._begin(run, now)
        elif instance.state is TaskState.AWAITING_CLEARANCE:
            self._launch(instance, decision, now)
        else:
            controller.scheduler.release(decision.id)

    def _launch(self, instance: Instance, answer: Answer, now: float) -> None:
        """What was granted room is launched."""
        controller = self._controller
        instance.epoch += 1
        instance.attempts += 1
        controller.desks.decided(instance, answer, now)
        controller.machine.move(instance, TaskState.QUEUED)
        controller.launch(instance, answer)

    def _begin(self, run: ActiveRun, now: float) -> None:
        """A queued run goes on."""
        controller = self._controller
        controller.ledger.change_run(run.number, RunState.RUNNING, None, RunState.QUEUED)
        controller.ledger.tell_of(now, run, None, RunState.RUNNING, {})
        controller.machine.changes.ready += run.parked
        run.parked = []
