"""Room kept for who is first and does not fit yet, and who may go on around it.

Rules (EASY: Lifka 1995; conservative: Feitelson and Weil 1998):

1. At most one unit of each queue has room kept for it: under `easy` only the first of all, under `conservative` the
   first of each queue. It holds nothing meanwhile: its nodes work on until it starts.
2. The start that is reserved follows from when the members that run are expected to end, those that are late already
   included (`cluster.estimates`). Of the room there will be then, what is not free yet is kept before what is.
3. Whatever ends before a reserved start goes anywhere; whatever may not goes where it leaves the kept room then.
   They go in the order of the queue; under `sjbf`, which is else as `easy`, the shortest first (Tsafrir, Etsion and
   Feitelson, 2007). The first of a queue is the first by that order whichever kind it is, so that all have their turn.
4. Under `fifo` nothing of a queue overtakes its first; there is no reservation.
5. Where estimates are missing the start is unknown, and the nodes that could be free first take nothing more that would
   be in the way.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, Request
from clearance.cluster.decision import Reserve
from clearance.cluster.estimates import corrected
from clearance.cluster.nodes import Nodes
from clearance.cluster.nodestate import NodeState
from clearance.cluster.queues import QueueState
from clearance.cluster.shape import Shape
from clearance.cluster.space import DEVICE, EMPTY, MOST, WHOLE
from clearance.cluster.unit import Part, Unit
from clearance.errors import UsageError, nearest

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

FIFO, EASY, SJBF, CONSERVATIVE = "fifo", "easy", "sjbf", "conservative"
KINDS = (FIFO, EASY, SJBF, CONSERVATIVE)
NEVER = math.inf


class Reservation:
    """Room that is kept.

    Attributes:
        request: for whom.
        start: when it is to start; infinity: unknown.
        spare: by node, the columns that are left besides at that start.
    """

    __slots__ = ("request", "spare", "start")

    def __init__(self, request: Request, start: float, spare: dict[int, list[int]]) -> None:
        self.request = request
        self.start = start
        self.spare = spare


class Backfill:
    """See the module.

    Args:
        scheduler: whose units these are.
        kind: `fifo`, `easy`, `sjbf`, `conservative` or None.

    Attributes:
        holding: what is reserved, by queue.
    """

    def __init__(self, scheduler: Scheduler, kind: str | None) -> None:
        if kind is not None and kind not in KINDS:
            raise UsageError(f"there is no backfill {kind!r}{nearest(kind, KINDS)}: use {', '.join(KINDS)} or none")
        self._scheduler = scheduler
        self.kind = kind
        self.holding: dict[QueueState, Reservation] = {}
        self._held_back: dict[Unit, None] = {}
        self._ends: list[tuple[float, int, Application]] = []

    @property
    def reserves(self) -> bool:
        """Whether room is kept at all."""
        return self.kind in (EASY, SJBF, CONSERVATIVE)

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def started(self, request: Request, places: Iterable[tuple[Shape, int]]) -> None:
        """A request has started, with members of these shapes on these nodes."""
        app = request.app
        if request.app.queue.stuck is request:
            request.app.queue.unstick()
        if not self.reserves:
            return
        entry = (app.ends, app.number, app)
        at = bisect.bisect_left(self._ends, entry[:2])
        if at == len(self._ends) or self._ends[at][1] != app.number:
            self._ends.insert(at, entry)
        self._drop(request)
        for reservation in self.holding.values():
            if app.ends > reservation.start or reservation.start <= self._scheduler.now:
                for shape, node in places:
                    if (spare := reservation.spare.get(node)) is not None:
                        _reduce(spare, shape, 1)

    def withdrawn(self, request: Request) -> None:
        """A request waits no more."""
        if request.app.queue.stuck is request:
            request.app.queue.unstick()
        self._drop(request)

    def ended(self, app: Application) -> None:
        """An application has ended."""
        if self.reserves and app.started is not None:
            at = bisect.bisect_left(self._ends, (app.ends, app.number))
            if at < len(self._ends) and self._ends[at][1] == app.number:
                del self._ends[at]

    def refused(self, request: Request) -> None:
        """There is no room for a request now: keeps some for it where it is the first."""
        queue = request.app.queue
        if self.kind == FIFO:
            if queue.stuck is None or request.key < queue.stuck.key:
                queue.stuck = request
            return
        if self.holding and self._ends_of(request) > min(kept.start for kept in self.holding.values()):
            self._held_back[request.unit] = None
        kept = self.holding.get(queue)
        if kept is not None and kept.request is request:
            if kept.start > self._scheduler.now:
                return
        elif kept is not None if self.kind == CONSERVATIVE else self.holding:
            return
        reservation = self._plan(request)
        self.holding[queue] = reservation
        if self.kind == SJBF:
            for leaf in self._scheduler.tree.leaves():
                leaf.sort(shortest=True)
        if request.app.promised is None and reservation.start < NEVER:
            request.app.promised = reservation.start
        scheduler = self._scheduler
        nodes = tuple(scheduler.nodes.at[index].name for index in sorted(reservation.spare))
        start = reservation.start if reservation.start < NEVER else None
        when = "when enough has ended" if start is None else f"at {start:g}"
        scheduler.decide(
            Reserve(scheduler.next_id(), f"{request.unit.members} members fit {when}", request.app.id, nodes, start)
        )

    def holds(self, request: Request) -> bool:
        """Whether room is kept for a request: it may start where others that ask for the same may not."""
        kept = self.holding.get(request.app.queue)
        return kept is not None and kept.request is request

    def overdue(self) -> Iterable[Request]:
        """Returns the requests whose reserved start has come."""
        now = self._scheduler.now
        return [kept.request for kept in self.holding.values() if kept.start <= now]

    def _drop(self, request: Request) -> None:
        queue = request.app.queue
        kept = self.holding.get(queue)
        if kept is not None and kept.request is request:
            del self.holding[queue]
            held_back, self._held_back = self._held_back, {}
            for unit in held_back:
                self._scheduler.unpark(unit)
            for leaf in (queue,) if self.kind == CONSERVATIVE else self._scheduler.tree.leaves():
                leaf.sort(shortest=False)
                first = leaf.waiting_first()
                if first is not None and first.unit.parked:
                    self._scheduler.unpark(first.unit)

    def copy_to(
        self, other: Backfill, requests: Mapping[Request, Request], queue: Callable[[QueueState], QueueState]
    ) -> None:
        """Gives a fork what is reserved and who is expected to end."""
        other.holding = {
            queue(where): Reservation(
                requests[kept.request], kept.start, {index: list(spare) for index, spare in kept.spare.items()}
            )
            for where, kept in self.holding.items()
        }  # fmt: skip
        other._ends = list(self._ends)

    # -- what it allows ------------------------------------------------------------------------------------------------

    def caps(self, request: Request, part: Part) -> dict[int, int]:
        """Returns by node how many members of a part are not in the way of what is reserved there."""
        ends = self._ends_of(request)
        found: dict[int, int] = {}
        for kept in self.holding.values():
            if kept.request is not request and ends > kept.start:
                for index, spare in kept.spare.items():
                    cap = _fits(spare, part.shape, part.count)
                    if cap < found.get(index, part.count):
                        found[index] = cap
        return found

    def keeps(self, index: int, unit: Unit, shape: Shape) -> bool:
        """Whether room that is free on a node now is of no use to a unit that waits because of what is reserved."""
        return unit in self._held_back and any(
            kept.request.unit is not unit and index in kept.spare and not _fits(kept.spare[index], shape, 1)
            for kept in self.holding.values()
        )

    def _ends_of(self, request: Request) -> float:
        """Returns when a request would end that started now: later than now, however short it is said to be."""
        estimate = request.app.job.runtime_estimate
        now = self._scheduler.now
        return NEVER if estimate is None else max(now + estimate, math.nextafter(now, NEVER))

    # -- when ----------------------------------------------------------------------------------------------------------

    def _plan(self, request: Request) -> Reservation:
        """Finds the first moment when a request fits, and where."""
        scheduler = self._scheduler
        nodes, now = scheduler.nodes, scheduler.now
        kept_already = {index for kept in self.holding.values() if kept.request is not request for index in kept.spare}
        seen = _Foresight(nodes, request.unit.parts, kept_already)
        if not seen.enough():
            for end, _, app in self._expected(now):
                for held in app.held.values():
                    seen.free(held.node, held.shape, held.devices)
                if seen.enough():
                    return Reservation(request, end, seen.spare())
        return Reservation(request, NEVER if not seen.enough() else now, seen.spare())

    def _expected(self, now: float) -> Iterable[tuple[float, int, Application]]:
        """Returns the applications that run by their expected ends, late ones included."""
        late = bisect.bisect_right(self._ends, (now, math.inf))
        if not late:
            return self._ends
        moved = [(corrected(app.started or 0.0, now), number, app) for _, number, app in self._ends[:late]]
        return heapq.merge(sorted(moved), itertools.islice(self._ends, late, None))


class _Foresight:
    """The nodes as they will be, as far as members are expected to end."""

    def __init__(self, nodes: Nodes, parts: tuple[Part, ...], without: set[int]) -> None:
        self._nodes = nodes
        self._parts = parts
        self._states: dict[int, NodeState] = {}
        self._rooms: list[dict[int, int]] = []
        self._before: list[dict[int, int]] = []
        self._totals: list[dict[int, int]] = []
        self._domains: list[list[int] | None] = []
        self._without = without
        for part in parts:
            level = part.topology.required
            domain = nodes.domain(level) if level else None
            rooms: dict[int, int] = {}
            totals: dict[int, int] = {}
            for index in nodes.columns.ranked(nodes.row(part.shape)):
                if index not in without:
                    rooms[index] = self._room(part, nodes.at[index])
                    where = domain[index] if domain else 0
                    totals[where] = totals.get(where, 0) + rooms[index]
            self._rooms.append(rooms)
            self._before.append(dict(rooms))
            self._totals.append(totals)
            self._domains.append(domain)

    def _room(self, part: Part, state: NodeState) -> int:
        room = self._nodes.room(part.shape, state)
        return min(room, 1) if part.apart else room

    def free(self, index: int, shape: Shape, devices: tuple[int, ...]) -> None:
        """A member ends on a node."""
        if index in self._without:
            return
        state = self._states.get(index)
        if state is None:
            state = self._states[index] = self._nodes.at[index].copy()
            state.held = dict(state.held)
        for position, amount in shape.usage:
            state.used[position] -= amount
        for number in devices:
            if number < len(state.devices):
                state.devices[number] += shape.share or DEVICE
        state.whole -= shape.whole
        for number, part in enumerate(self._parts):
            if part.shape.bias(state.node) == -NEVER:
                continue
            rooms, domain = self._rooms[number], self._domains[number]
            room = self._room(part, state)
            where = domain[index] if domain else 0
            self._totals[number][where] = self._totals[number].get(where, 0) + room - rooms.get(index, 0)
            rooms[index] = room

    def enough(self) -> bool:
        """Whether every part fits, each by itself."""
        return all(
            max(totals.values(), default=0) >= part.count
            for part, totals in zip(self._parts, self._totals, strict=True)
        )

    def spare(self) -> dict[int, list[int]]:
        """Returns where the parts would go, and what is left there besides."""
        found: dict[int, list[int]] = {}
        for number, part in enumerate(self._parts):
            domain, totals = self._domains[number], self._totals[number]
            enough = [where for where, total in totals.items() if total >= part.count]
            wanted = min(enough, default=None)
            left = part.count
            rooms, before = self._rooms[number], self._before[number]
            there = sorted(index for index in rooms if domain is None or domain[index] == wanted)
            kept: dict[int, int] = {}
            for index in there:
                here = min(rooms[index] - before.get(index, 0), left)
                if here > 0:
                    kept[index] = here
                    left -= here
            for index in there:
                here = min(rooms[index] - kept.get(index, 0), left)
                if here > 0:
                    kept[index] = kept.get(index, 0) + here
                    left -= here
            for index, here in kept.items():
                state = self._states.get(index) or self._nodes.at[index]
                columns = found.setdefault(index, self._nodes.free(state))
                _reduce(columns, part.shape, here)
        return found


def _fits(spare: list[int], shape: Shape, most: int) -> int:
    """Returns how many members, up to so many, fit beside what is kept on a node."""
    if shape.whole:
        return int(all(need <= have for need, have in zip(shape.needs, spare, strict=True)))
    for column, amount in shape.takes:
        most = min(most, spare[column] // amount)
    if shape.gpus:
        most = min(most, spare[WHOLE] // shape.gpus)
    elif shape.share:
        most = min(most, max(spare[WHOLE], int(spare[MOST] >= shape.share)))
    return max(most, 0)


def _reduce(spare: list[int], shape: Shape, count: int) -> None:
    """Takes members out of what is left on a node, with no more of its devices than it could lose."""
    for column, amount in shape.takes:
        spare[column] -= amount * count
    spare[WHOLE] -= shape.gpus * count + (1 if shape.share else 0)
    spare[MOST] = DEVICE if spare[WHOLE] > 0 else 0
    spare[EMPTY] = 0
