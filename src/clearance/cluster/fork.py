"""A scheduler that goes its own way from here: for questions that begin with "what if".

Rules:

1. A fork shares what never changes (jobs, shapes, nodes as declared) and copies what does: nodes, queues, units, and
   applications that wait. It is asked before its origin goes on. It asks nobody to leave for others.
2. Applications that only run are copied when something happens to them, so that a fork of a full cluster is quick.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, Request
from clearance.cluster.limits import LimitState, Share, Shares
from clearance.cluster.queues import Counter, Lane, QueueState
from clearance.cluster.tree import Tree
from clearance.cluster.unit import Unit, Units

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler
    from clearance.cluster.state import State


class Copies:
    """Which copy stands for which original in one fork."""

    def __init__(self) -> None:
        self.counters: dict[Counter, Counter] = {}
        self.units: dict[Unit, Unit] = {}
        self.lanes: dict[Lane, Lane] = {}
        self.requests: dict[Request, Request] = {}
        self._maxima: dict[tuple[Counter, ...], tuple[Counter, ...]] = {}
        self.limits: dict[LimitState, LimitState] = {}

    def unit(self, unit: Unit) -> Unit:
        """Returns the copy of a unit."""
        other = self.units.get(unit)
        if other is None:
            other = self.units[unit] = Unit(unit.parts, unit.length)
            other.parked, other.short, other.why = unit.parked, unit.short, unit.why
            other.never, other.checked_at = unit.never, unit.checked_at
        return other

    def shares(self, shares: Shares) -> Shares:
        """Returns the same of copies of the limits."""
        return tuple(Share(self.limits[each.limit], each.amount, each.own) for each in shares)

    def maxima(self, limits: tuple[Counter, ...]) -> tuple[Counter, ...]:
        """Returns the copies of what an application counts against; those of one queue and user share them."""
        found = self._maxima.get(limits)
        if found is None:
            found = self._maxima[limits] = tuple(self.counters[each] for each in limits)
        return found

    def queue(self, queue: QueueState) -> QueueState:
        """Returns the copy of a queue."""
        other = self.counters[queue]
        assert isinstance(other, QueueState)
        return other


def fork(scheduler: Scheduler, other: Scheduler) -> None:
    """Makes one scheduler, newly made for the same partition, the copy of another."""
    copies = Copies()
    other.now, other.space, other.shapes = scheduler.now, scheduler.space, scheduler.shapes
    other.nodes = scheduler.nodes.copy()
    other.tree = _tree(scheduler.tree, copies, other)
    other.units = Units()
    copies.limits = {limit: limit.copy() for limit in scheduler.limits.named.values()}
    other.limits.named = {limit.name: limit for limit in copies.limits.values()}
    other.apps, other.members, other.ended = dict(scheduler.apps), dict(scheduler.members), dict(scheduler.ended)
    other.numbers = itertools.count(1 << 40)
    for app in scheduler.apps.values():
        if app.requests:
            adopt(other, app, copies)
    for queue in scheduler.tree.queues.values():
        copy = copies.queue(queue)
        for lane in queue.lanes.values():
            shares = copies.shares(lane.shares)
            twin = copies.lanes[lane] = Lane(copy, copies.unit(lane.unit), lane.name, shares, lane.number)
            copy.lanes[twin.unit, lane.name, shares] = twin
            for key, _, request in lane.heap:
                if request.lane is lane and request.key == key:
                    copied = copies.requests[request]
                    copied.lane = twin
                    twin.add(copied)
            if isinstance(lane.parked, Unit):
                twin.parked = copies.unit(lane.parked)
            elif isinstance(lane.parked, LimitState):
                twin.parked = copies.limits[lane.parked]
            elif lane.parked is not None:
                twin.parked = copies.counters[lane.parked]
            if twin.parked is not None:
                twin.parked.waiting[twin] = None
        copy.stuck = copies.requests.get(queue.stuck) if queue.stuck is not None else None
    for twin_unit in copies.units.values():
        other.units.know(twin_unit)
        if twin_unit.parked:
            twin_unit.parked = False
            other.park_unit(twin_unit)
    scheduler.backfill.copy_to(other.backfill, copies.requests, copies.queue)
    other.origin = (scheduler, scheduler.turn, copies)
    scheduler.copy_times(other)
    for queue in other.tree.queues.values():
        for lane in queue.lanes.values():
            queue.push(lane)
    other.tree.rate(other.nodes.total)


def adopt(scheduler: State, app: Application, copies: Copies) -> Application:
    """Returns the copy of an application for a fork."""
    other = app.copy(copies.queue(app.queue), copies.maxima(app.limits), copies.shares(app.shares), scheduler)
    for request in app.requests:
        group = None if request.group is None else other.groups[app.groups.index(request.group)]
        twin = Request(other, copies.unit(request.unit), group, request.left, request.since)
        twin.key, twin.number = request.key, request.number
        copies.requests[request] = twin
        other.requests.append(twin)
        wanted = scheduler.nodes.wanted
        for part in request.unit.parts:
            wanted[part.shape] = wanted.get(part.shape, 0) + part.count * request.left
    other.asked = app.asked
    scheduler.apps[app.id] = other
    for id, held in other.held.items():
        scheduler.members[id] = (other, held)
    return other


def _tree(tree: Tree, copies: Copies, other: Scheduler) -> Tree:
    """Returns a copy of the queues and limits, without those that wait."""
    copy = Tree(tree.root.config, other.space, counters=tree.copy_counters(copies.counters))
    copy.queues.clear()
    for path, queue in tree.queues.items():
        above = copies.queue(queue.parent) if queue.parent is not None else None
        twin = QueueState(queue.config, above, copy.conditions)
        twin.copy_from(queue)
        copies.counters[queue] = twin
        copy.queues[path] = twin
        if above is not None:
            above.children[twin.name] = twin
    copy.root = copies.queue(tree.root)
    copy.total = list(tree.total)
    copy.conditions.copy_from(tree.conditions)
    copy.decays, copy.rescales = tree.decays, tree.rescales
    return copy
