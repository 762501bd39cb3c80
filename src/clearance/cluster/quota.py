"""Quota preemption: a queue that uses more than its maximum, because that was lowered, shrinks until it does not.

Rules (YuniKorn, "Quota Enforcement through Preemption"):

1. It is the partition's choice (`quotapreemptionenabled`), and takes a `quota.preemption.delay` of the queue above 0.
   The delay runs from when the queue came to use too much, and anew where a maximum is lowered further.
2. Who leaves uses something of which there is too much. No queue comes under its guarantee in anything; nobody leaves
   who must not be preempted, or out of a queue whose policy is `disabled`; a group keeps its minimum, or its whole job
   is ended. Within these the queue comes as near to its maximum as it can.
3. The least harm first (`cluster.victims`); then who is not needed is let off, the worst harm first, so that of those
   who remain none could stay. The queues below shrink before those above, which count what leaves them.
4. There are no storms: who was asked to leave counts as gone, and nothing starts above a maximum, so that what there is
   too much of only falls until somebody changes the maxima; nobody is asked where nothing is too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clearance.cluster.decision import Preempt
from clearance.cluster.ledger import Ledger
from clearance.cluster.queues import QueueState
from clearance.cluster.victim import Victim, by_surplus, usage_of

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler


class Quota:
    """See the module.

    Args:
        scheduler: whose queues these are.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._since: dict[QueueState, float] = {}

    def lowered(self, before: Mapping[QueueState, Sequence[int]]) -> None:
        """Takes note of maxima that were lowered.

        Args:
            before: what the maxima were, by position.
        """
        ledger = self._scheduler.preemption.ledger()
        for queue in self._scheduler.tree.queues.values():
            lower = any(new < old for new, old in zip(queue.max, before.get(queue, ()), strict=False))
            if _excess(queue, ledger) and (lower or queue not in self._since):
                self._since[queue] = self._scheduler.now

    def decide(self) -> None:
        """Asks members of queues to leave that have used too much for too long."""
        scheduler, now = self._scheduler, self._scheduler.now
        if not scheduler.partition.quota_preemption:
            self._since.clear()
            return
        since, self._since = self._since, {}
        for queue in sorted(scheduler.tree.queues.values(), key=lambda queue: (-len(queue.above), queue.path)):
            ledger = scheduler.preemption.ledger()
            if not _excess(queue, ledger):
                continue
            begun = self._since[queue] = since.get(queue, now)
            delay = queue.config.properties.quota_preemption_delay
            if delay and now >= begun + delay and (chosen := self._victims(queue, ledger)):
                members = scheduler.preemption.leave(chosen)
                reason = f"{queue.path} uses more than its maximum"
                scheduler.decide(Preempt(scheduler.next_id(), reason, members, ""))

    def _victims(self, queue: QueueState, ledger: Ledger) -> list[Victim]:
        """Returns who leaves a queue; see rules 2 and 3. The ledger counts them as gone."""
        options: list[Victim] = []
        for app in self._scheduler.apps.values():
            policy = app.queue.config.properties.preemption_policy
            if app.held and queue in app.queue.above and app.job.preemptible and policy != "disabled":
                options += by_surplus(app, app.held.values(), self._scheduler.preemption.leaving, self._scheduler.now)
        found: list[Victim] = []
        for one in sorted(options, key=lambda one: one.harm):
            excess = _excess(queue, ledger)
            if not excess:
                break
            replaced = [other for other in found if one.whole and other.app is one.app]
            for other in replaced:
                _count(ledger, other, 1)
            usage = usage_of(one)
            if excess.keys() & usage.keys() and _allowed(one, usage, ledger):
                found = [other for other in found if other not in replaced] + [one]
                _count(ledger, one, -1)
            else:
                for other in replaced:
                    _count(ledger, other, -1)
        for one in sorted(found, key=lambda one: one.harm, reverse=True):
            excess = _excess(queue, ledger)
            _count(ledger, one, 1)
            if _excess(queue, ledger) == excess:
                found.remove(one)
            else:
                _count(ledger, one, -1)
        return found


def _count(ledger: Ledger, one: Victim, sign: int) -> None:
    ledger.count(one.app.queue, usage_of(one).items(), sign)


def _excess(queue: QueueState, ledger: Ledger) -> dict[int, int]:
    """Returns by position how much a queue uses above its maximum."""
    return {
        position: over for position in queue.limited if (over := ledger.used(queue, position) - queue.max[position]) > 0
    }  # fmt: skip


def _allowed(one: Victim, usage: Mapping[int, int], ledger: Ledger) -> bool:
    """Whether no queue comes under its guarantee when a victim leaves too."""
    return not any(
        queue.guaranteed[position] and ledger.used(queue, position) - amount < queue.guaranteed[position]
        for queue in one.app.queue.above for position, amount in usage.items()
    )  # fmt: skip
