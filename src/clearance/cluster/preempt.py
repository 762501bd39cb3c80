"""Preemption: queues under their guarantee get room that others use beyond theirs.

Rules (YuniKorn, "Preemption Design"; victims: `cluster.victims`; lowered maxima: `cluster.quota`):

1. It is a suggestion: the victims are told, and leave when the driver says so. What is not gone after `LAPSE` is no
   longer counted on.
2. An ask waits `preemption.delay` first. Where nobody was found, or the room did not come, it waits as long again.
   For at most `SEARCHES` asks in `EVERY` seconds victims are looked for.
3. Victims are found for the whole unit, or nobody leaves. Their room is promised to it until it starts: nobody else
   starts on it, and nobody uses up the maximum of its queues; and no other victims are looked for meanwhile.
4. Each preemption lowers the sum of what queues lack of their guarantees: the asker's queue lacks less, no other more.
   So there are at most as many as that sum has units, and siblings never take turns.
5. A job that is ended whole asks again for its gang, and only when its last member has gone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, Request
from clearance.cluster.decision import Preempt
from clearance.cluster.ledger import Ledger
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.queues import Counter, QueueState
from clearance.cluster.quota import Quota
from clearance.cluster.shape import Shape
from clearance.cluster.space import DEVICE
from clearance.cluster.unit import Part, Unit
from clearance.cluster.victim import Victim, remove

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

EVERY = 1.0
LAPSE = 300.0
SEARCHES = 4


class Promise:
    """Room that is kept for a request until its victims have gone.

    Attributes:
        request: for whom.
        places: node and shape of each of its members.
        until: when it lapses, in seconds of the driver's clock.
    """

    __slots__ = ("places", "request", "until", "waiting")

    def __init__(self, request: Request, places: list[tuple[int, Shape]], waiting: set[str], until: float) -> None:
        self.request = request
        self.places = places
        self.waiting = waiting
        self.until = until


class Preemption:
    """See the module.

    Args:
        scheduler: whose members these are.
        on: whether asks may preempt; None: as the partition says. If not, nobody leaves for a maximum either.

    Attributes:
        quota: of queues that use more than their maximum.
        promises: what is kept, by request.
        leaving: members that were asked to leave and have not, with when they are no longer counted on.
    """

    def __init__(self, scheduler: Scheduler, on: bool | None) -> None:
        self._scheduler = scheduler
        self._on = on
        self.quota = Quota(scheduler)
        self.promises: dict[Request, Promise] = {}
        self.leaving: dict[str, float] = {}
        self._ending: dict[Application, tuple[frozenset[str], set[str]]] = {}  # who was asked, who has not left
        self._retry: dict[Request, float] = {}
        self._next = 0.0

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def gone(self, app: Application, held: Held) -> None:
        """A member has left its node, for whatever reason."""
        if self.leaving.pop(held.id, None) is not None:
            for promise in self.promises.values():
                promise.waiting.discard(held.id)
        if (ending := self._ending.get(app)) is not None:
            ending[1].discard(held.id)

    def again(self, app: Application) -> bool:
        """Whether an application that lost members is being ended whole; asks for all of it once the last has gone."""
        ending = self._ending.get(app)
        if ending is None:
            return False
        if not ending[1]:
            self._afresh(app)
        return True

    def ended(self, app: Application) -> None:
        """An application has ended."""
        self._ending.pop(app, None)

    def withdrawn(self, request: Request) -> None:
        """A request has started, or waits no more."""
        self._retry.pop(request, None)
        if request in self.promises:
            self._drop(request)

    # -- promises ------------------------------------------------------------------------------------------------------

    def keep_promises(self) -> None:
        """Starts those whose room is there, and gives up what has lapsed."""
        if not self.leaving and not self.promises:
            return
        scheduler, now = self._scheduler, self._scheduler.now
        for id in [id for id, until in self.leaving.items() if until <= now]:
            self._stay(id)
        for promise in list(self.promises.values()):
            if not promise.waiting and scheduler.start(promise.request):
                continue
            if promise.request in self.promises and (not promise.waiting or promise.until <= now):
                self._drop(promise.request)
                self._retry[promise.request] = now + _delay(promise.request)

    def _stay(self, id: str) -> None:
        """A victim has not left in time: it is a member like any other again."""
        if self.leaving.pop(id, None) is None:
            return
        app = self._scheduler.members[id][0]
        ending = self._ending.pop(app, None)
        if ending is None:
            return
        asked, staying = ending
        for other in staying:
            self.leaving.pop(other, None)
        for group in app.groups:
            of_group = f"{app.id}/{group.group.name}/"
            left = {int(id.removeprefix(of_group)) for id in asked - staying if id.startswith(of_group)}
            group.again = sorted({*group.again, *left}, reverse=True)
        self._scheduler.ask_for_more(app)

    def _drop(self, request: Request) -> None:
        del self.promises[request]
        self._scheduler.unpark_all()
        for queue in request.app.queue.above:
            self._scheduler.wake(queue)

    def in_the_way(self, app: Application, unit: Unit) -> Counter | None:
        """Returns the first queue whose maximum would not suffice for those too who are promised room."""
        for queue in app.queue.above:
            if queue.limited:
                promised = dict(unit.usage)
                for request in self.promises:
                    if request.app is not app and queue in request.app.queue.above:
                        for position, amount in request.unit.usage:
                            promised[position] = promised.get(position, 0) + amount
                for position, _ in unit.usage:
                    if queue.used[position] + promised[position] > queue.max[position]:
                        return queue
        return None

    def caps(self, request: Request, part: Part) -> dict[int, int]:
        """Returns by node how many members of a part may start there, so that those still can who are promised room."""
        kept: dict[int, list[Shape]] = {}
        for promise in self.promises.values():
            if promise.request is not request:
                for index, shape in promise.places:
                    kept.setdefault(index, []).append(shape)
        return {index: self._cap(index, shapes, part) for index, shapes in kept.items()}

    def _cap(self, index: int, kept: list[Shape], part: Part) -> int:
        nodes = self._scheduler.nodes
        state = nodes.at[index].copy()
        for count in range(part.count):
            if nodes.room(part.shape, state) < 1:
                return count
            _take(state, part.shape)
            later = state.copy()
            for id in [id for id in later.held if id in self.leaving]:
                remove(later, later.held[id])
            for shape in kept:
                if nodes.room(shape, later) < 1:
                    return count
                _take(later, shape)
        return part.count

    # -- asking others to leave ----------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Looks who must leave, at most once in `EVERY` seconds."""
        now, partition = self._scheduler.now, self._scheduler.partition
        if self._on is False or now < self._next:
            return
        self._next = now + EVERY
        searches = SEARCHES
        self.quota.decide()
        if not (partition.preemption if self._on is None else self._on):
            return
        for queue in sorted(self._scheduler.tree.leaves(), key=lambda queue: queue.path):
            if not any(map(_lacks, queue.above)):
                continue
            fruitless: set[tuple[Unit, int]] = set()
            for request in self._due(queue, now):
                kind = (request.unit, request.app.job.priority)
                if kind in fruitless or not searches or request.lane is None:
                    continue
                from clearance.cluster.victims import Search

                search = Search(self._scheduler, request, self.ledger(), self.leaving)
                if not search.possible():
                    fruitless.add(kind)
                    continue
                searches -= 1
                found = search.run()
                if found is None or not found[0]:
                    fruitless.add(kind)
                    self._retry[request] = now + _delay(request)
                else:
                    self._ask(request, *found)

    def _due(self, queue: QueueState, now: float) -> list[Request]:
        """Returns those who wait in a leaf long enough, in their order, without those that may not overtake."""
        delay = queue.config.properties.preemption_delay
        found = [
            request
            for lane in queue.lanes.values()
            for key, _, request in lane.heap
            if request.lane is lane and request.key == key and request.since + delay <= now
            and request not in self.promises and self._retry.get(request, now) <= now
            and (queue.stuck is None or request.key <= queue.stuck.key)
        ]  # fmt: skip
        return sorted(found, key=lambda request: (request.key, request.number))

    def ledger(self) -> Ledger:
        """Returns what queues will use when everything has come of what was decided."""
        ledger = Ledger()
        for id in self.leaving:
            app, held = self._scheduler.members[id]
            ledger.count(app.queue, held.shape.usage, -1)
        for request in self.promises:
            ledger.count(request.app.queue, request.unit.usage, 1)
        return ledger

    def _ask(self, request: Request, victims: list[Victim], places: list[tuple[int, Shape]]) -> None:
        until = self._scheduler.now + LAPSE
        lacking = next(queue for queue in request.app.queue.above if any(queue.guaranteed))
        members = self.leave(victims)
        waiting = {id for id in self.leaving if self._scheduler.members[id][1].node in {index for index, _ in places}}
        self.promises[request] = Promise(request, places, waiting | set(members), until)
        reason = f"{lacking.path} is under its guarantee"
        self._scheduler.decide(Preempt(self._scheduler.next_id(), reason, members, request.app.id))

    def leave(self, victims: Iterable[Victim]) -> tuple[str, ...]:
        """Counts on it that victims leave; returns the ids of their members."""
        until = self._scheduler.now + LAPSE
        members = []
        for one in victims:
            for held in one.members:
                self.leaving[held.id] = until
                members.append(held.id)
            if one.whole:
                self._ending[one.app] = frozenset(one.app.held), set(one.app.held)
                for request in list(one.app.requests):
                    self._scheduler.withdraw(request)
        return tuple(members)

    def _afresh(self, app: Application) -> None:
        del self._ending[app]
        if self._scheduler.backfill.kind:
            self._scheduler.backfill.ended(app)
        app.started, app.ends = None, float("inf")
        for group in app.groups:
            group.next, group.again = 0, []
        self._scheduler.ask_for_all(app)


def _lacks(queue: QueueState) -> bool:
    """Whether a queue uses less of something than it is guaranteed."""
    return any(map(operator.lt, queue.used, queue.guaranteed))


def _delay(request: Request) -> float:
    return request.app.queue.config.properties.preemption_delay


def _take(state: NodeState, shape: Shape) -> None:
    """Takes what one member needs out of a copy of a node, from the devices from which it would get it there."""
    for position, amount in shape.usage:
        state.used[position] += amount
    free = [number for number, left in enumerate(state.devices) if left == DEVICE]
    devices = tuple(free[: shape.gpus])
    if shape.share:
        left = [(left, number) for number, left in enumerate(state.devices) if left >= shape.share]
        devices = (min(left)[1],)
    for number in devices:
        state.devices[number] -= shape.share or DEVICE
    state.whole += shape.whole
    id = f"?/{len(state.held)}"
    state.held[id] = Held(id, shape, state.index, devices)
