"""Who waits: lanes are entered and left, parked at what they wait for, and woken when that has changed.

Rules:

1. A lane is parked at one thing: a maximum (`Counter`), a limit that lies on no node (`LimitState`), or room on nodes
   (`Unit`).
2. Whatever gives something back wakes who waits for it; whatever frees room on a node wakes whom it could help.
3. What a request is counted by is changed where it enters, starts and leaves, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearance.cluster.application import Application, Request
from clearance.cluster.limits import LimitState, next_lanes
from clearance.cluster.queues import Counter, Lane
from clearance.cluster.state import State
from clearance.cluster.unit import Unit


class Waiting(State):
    """See the module."""

    def _ask(self, request: Request) -> None:
        """Lets a request wait."""
        app = request.app
        app.requests.append(request)
        wanted = self.nodes.wanted
        for part in request.unit.parts:
            wanted[part.shape] = wanted.get(part.shape, 0) + part.count * request.left
            if self.nodes.gradient is not None:
                self.nodes.gradient.saw(part.shape, part.count * request.left)
        for queue in app.queue.above:
            queue.pending += request.unit.members * request.left
        self._enter(request)

    def withdraw(self, request: Request) -> None:
        """Takes back a request that waits."""
        app = request.app
        app.requests.remove(request)
        for part in request.unit.parts:
            self.nodes.wanted[part.shape] -= part.count * request.left
        for queue in app.queue.above:
            queue.pending -= request.unit.members * request.left
        self._leave(request)
        self.units.forget(request.unit)
        if self.backfill.kind:
            self.backfill.withdrawn(request)
        self.preemption.withdrawn(request)
        self._dirty[app.queue] = None

    def _enter(self, request: Request) -> None:
        """Puts a request into its lane."""
        app, queue, unit = request.app, request.app.queue, request.unit
        priority = -app.job.priority if queue.sorts_priority else 0
        request.key = (priority, app.share() if queue.fair else 0.0, app.order)
        name = app.job.user if len(app.limits) > len(queue.above) else ""
        lane = queue.lanes.get((unit, name, app.shares))
        if lane is None:
            lane = queue.lanes[unit, name, app.shares] = Lane(queue, unit, name, app.shares, next(self.numbers))
        request.lane = lane
        lane.add(request)
        if unit.parked and lane.parked is None:
            self._park(lane, unit)
        elif lane.parked is None and lane.heap[0][2] is request:
            queue.push(lane)
        self._dirty[queue] = None

    def _leave(self, request: Request) -> None:
        """Takes a request out of its lane."""
        lane, request.lane = request.lane, None
        if lane is not None:
            queue = lane.queue
            if lane.head() is None:
                del queue.lanes[lane.unit, lane.name, lane.shares]
                if lane.parked is not None:
                    lane.parked.waiting.pop(lane, None)
            else:
                queue.push(lane)
            for share in lane.shares:
                self.wake_limit(share.limit)

    def _park(self, lane: Lane, on: Counter | LimitState | Unit) -> None:
        """Lets a lane wait for a limit, or for room; those go on who had to wait for other limits behind it."""
        lane.parked = on
        on.waiting[lane] = None
        self._dirty[lane.queue] = None
        for share in lane.shares:
            if share.limit is not on:
                self.wake_limit(share.limit)

    def park_unit(self, unit: Unit) -> None:
        """Lets a unit wait for room on nodes."""
        if not unit.parked:
            unit.parked = True
            if unit.drawn:
                self._drawn[unit] = None
            for shape in {part.shape for part in unit.parts}:
                self._parked.setdefault(shape, []).append(unit)

    def wake(self, on: Counter | LimitState | Unit) -> None:
        """Lets the lanes try again that wait for something."""
        for lane in on.waiting:
            lane.parked = None
            lane.queue.push(lane)
            self._dirty[lane.queue] = None
        on.waiting.clear()

    def wake_limit(self, limit: LimitState) -> None:
        """Lets the lanes try again for whose first there is enough of a limit."""
        if limit.waiting:
            for lane in next_lanes(limit):
                del limit.waiting[lane]
                lane.parked = None
                lane.queue.push(lane)
                self._dirty[lane.queue] = None

    def lacking(self) -> frozenset[int]:
        """Returns the positions of what those ask for who wait for room."""
        return frozenset(
            position
            for shape, units in self._parked.items() if any(unit.waiting for unit in units)
            for position, _ in shape.usage
        )  # fmt: skip

    def unpark(self, unit: Unit) -> None:
        """Lets a unit be tried again."""
        if unit.parked:
            unit.parked = False
            self._drawn.pop(unit, None)
            for shape in {part.shape for part in unit.parts}:
                units = self._parked[shape]
                units.remove(unit)
                if not units:
                    del self._parked[shape]
        self.wake(unit)

    def _wake_by_nodes(self) -> None:
        """Looks who could go where something has become free."""
        freed, self._freed = self._freed, {}
        holding = self.backfill.holding
        for index in freed:
            if not self._parked:
                return
            for shape in self.nodes.fitting(index, self._parked):
                for unit in list(self._parked.get(shape, ())):
                    if holding and self.backfill.keeps(index, unit, shape):
                        continue
                    if unit.simple is None:
                        unit.short -= self.nodes.room(shape, self.nodes.at[index])
                    if unit.simple is not None or unit.short <= 0:
                        self.unpark(unit)

    def unpark_all(self) -> None:
        """Lets everything be tried again that waits for room: the nodes have changed."""
        for units in list(self._parked.values()):
            for unit in list(units):
                self.unpark(unit)

    def wake_all(self) -> None:
        """Lets everything be tried again: the configuration has changed."""
        self.unpark_all()
        for counter in self.tree.counted():
            self.wake(counter)
        for limit in self.limits.named.values():
            self.wake(limit)

    def _moved(self) -> None:
        """Lets those be tried again that are drawn to others or kept away from them, since one has come or gone."""
        for unit in list(self._drawn):
            self.unpark(unit)

    def _add(self, app: Application, usage: Iterable[tuple[int, int]], members: int, waited: int) -> None:
        """Counts what an application has got against its queue and limits; so many of the members had waited."""
        own = app.usage
        for position, amount in usage:
            own[position] = own.get(position, 0) + amount
        step = not app.counted
        app.counted = True
        for counter in app.limits:
            used = counter.used
            for position, amount in usage:
                used[position] += amount
            if step:
                counter.applications += 1
        if step:
            app.queue.runs(app, self.now)
            for share in app.shares:
                share.limit.taken += share.amount
                share.limit.users[app.id] = share.amount
        for queue in app.queue.above:
            queue.allocated += members
            queue.pending -= waited

    def _subtract(self, app: Application, usage: Iterable[tuple[int, int]], members: int = 1) -> None:
        """Counts what an application has given back with some members, and wakes who waits for it."""
        own = app.usage
        for position, amount in usage:
            own[position] -= amount
        last = app.counted and not app.held
        if last:
            app.counted = False
        for counter in app.limits:
            used = counter.used
            for position, amount in usage:
                used[position] -= amount
            counter.applications -= last
            if counter.waiting:
                self.wake(counter)
        if last:
            app.queue.stops(app)
            self._give_limits(app)
        for queue in app.queue.above:
            queue.allocated -= members
        self._dirty[app.queue] = None

    def _give_limits(self, app: Application) -> None:
        """Gives back what an application holds of limits that lie on no node."""
        for share in app.shares:
            share.limit.taken -= share.limit.users.pop(app.id)
            self.wake_limit(share.limit)
