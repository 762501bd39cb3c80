"""The scheduler: events go in, decisions come out. Pure: it does no I/O, reads no clock and draws no random number.

Rules:

1. Nothing is ever over the maximum of a queue or user, nor over what a node has.
2. A gang starts whole or holds nothing (`cluster.gang`); what waits holds nothing.
3. The order is that of `cluster.queues`; in a leaf by priority, then by age, or by share where the queue says `fair`.
4. What fits nowhere is parked and costs nothing until something has happened that could help it.
5. Of a job that can never start, not even in the empty cluster, it says so instead of letting it wait for ever.
6. Time only goes forward: an earlier `now` counts as the latest.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from clearance.cluster import decision as decisions
from clearance.cluster import event as events
from clearance.cluster import gang
from clearance.cluster.application import Application, AppState, Group, Request
from clearance.cluster.backfill import Backfill
from clearance.cluster.consolidate import Consolidation, Plan
from clearance.cluster.decision import Bind, Decision, Member, Migrate, Reject
from clearance.cluster.explain import Explanation, explain
from clearance.cluster.fork import Copies, adopt, fork
from clearance.cluster.job import SOFT, Job, Topology
from clearance.cluster.model import PartitionConfig, SchedulerConfig
from clearance.cluster.nodes import POLICIES, Held, Nodes, NodeState
from clearance.cluster.possible import impossible
from clearance.cluster.preempt import Preemption
from clearance.cluster.queues import Counter, Lane, QueueState, Tree
from clearance.cluster.rules import Rejected, Submitted, created, place
from clearance.cluster.shape import Shape, Shapes
from clearance.cluster.space import Space
from clearance.cluster.unit import Part, Unit, Units
from clearance.cluster.whatif import Change, WhatIf
from clearance.errors import ClearanceError, UsageError, nearest

SEATS = 100_000
UNKNOWN = 1 << 20  # longer than any length that is known
_encoder = msgspec.json.Encoder()


class Scheduler:
    """One partition of a cluster.

    Args:
        config: of the queues.
        policy: how nodes are chosen: `binpacking`, `fair` or `fgd`; None: the partition's `nodesortpolicy`.
        backfill: what happens behind a unit for which there is no room: None: whatever fits goes on; `fifo`: nothing of
            its queue; `easy`: room is kept for the first, `conservative`: for the first of each queue, and only what
            does not delay it goes on; `sjbf`: as `easy`, but the shortest first.
        seed: of ties that are broken at random; there are none today, so that every seed decides alike.
        backing: `lists`, `numpy` or `numba`; None: lists up to 64 nodes, then numpy.
        preemption: whether anybody is asked to leave for others; None: as the partition says.
        partition: whose queues and nodes these are; None: the one called `default`, else the first.

    Raises:
        UsageError: an unknown policy or kind of backfill.
    """

    def __init__(
        self,
        config: SchedulerConfig | PartitionConfig,
        policy: str | None = None,
        backfill: str | None = None,
        seed: int = 0,
        backing: str | None = None,
        preemption: bool | None = None,
    ) -> None:
        self.partition = config if isinstance(config, PartitionConfig) else config.default
        policy = policy or self.partition.node_sort_policy
        if policy not in POLICIES:
            raise UsageError(f"there is no policy {policy!r}{nearest(policy, POLICIES)}: use {', '.join(POLICIES)}")
        self.seed = seed
        self.now = 0.0
        self.space = Space()
        self.shapes = Shapes(self.space)
        self.units = Units()
        self.tree = Tree(self.partition.root, self.space)
        self.nodes = Nodes(self.space, policy, self.partition.resource_weights, backing)
        self.apps: dict[str, Application] = {}
        self.ended: dict[str, tuple[AppState, str]] = {}
        self.members: dict[str, tuple[Application, Held]] = {}
        self.backfill = Backfill(self, backfill)
        self.consolidation = Consolidation(self)
        self.preemption = Preemption(self, self.partition.preemption if preemption is None else preemption)
        self.numbers = itertools.count(1)
        self._ids = itertools.count(1)
        self._out: list[Decision] = []
        self._dirty: dict[QueueState, None] = {}
        self._freed: dict[int, None] = {}
        self._parked: dict[Shape, list[Unit]] = {}
        self._drawn: dict[Unit, None] = {}
        self._seats: dict[tuple[Any, ...], tuple[QueueState, tuple[Counter, ...]]] = {}
        self._timers: dict[str, float] = {}
        self._digest = hashlib.sha256()
        self.notices: list[str] = []
        self.turn = 0
        self.origin: tuple[Scheduler, int, Copies] | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.NodeAdded: self._node_added,
            events.NodeChanged: self._node_changed,
            events.NodeRemoved: self._node_removed,
            events.JobSubmitted: self._submitted,
            events.JobFinished: self._finished,
            events.MemberFinished: self._member_finished,
            events.BindFailed: self._bind_failed,
            events.MemberEvicted: self._evicted,
            events.MemberMoved: self._member_moved,
            events.Restored: self._restored,
        }

    # -- in and out ----------------------------------------------------------------------------------------------------

    def apply(self, happened: Iterable[events.Event], now: float) -> None:
        """Takes what has happened.

        What cannot be (a node that is not there, a job twice) is left out and told in `notices`; a job that may not be
        is rejected by the next `step`.

        Args:
            happened: in order.
            now: seconds of the driver's clock.
        """
        self.now = max(now, self.now)
        self.turn += 1
        handlers = self._handlers
        for each in happened:
            try:
                handlers[type(each)](each)
            except ClearanceError as error:
                self.notices.append(str(error))

    def step(self, now: float, most: int | None = None) -> list[Decision]:
        """Decides what can be decided now.

        Args:
            now: seconds of the driver's clock.
            most: how many units start at most; None: all that can.

        Returns:
            The decisions, in order.
        """
        self.now = now = max(now, self.now)
        self.turn += 1
        if self._timers:
            self._time_out()
        if self.tree.stale:
            self.tree.rate(self.nodes.total)
        self.preemption.keep_promises()
        if self._freed:
            self._wake_by_nodes()
        self.nodes.learn()
        for request in self.backfill.overdue():
            self.unpark(request.unit)
        left = most if most is not None else -1
        root = self.tree.root
        while left:
            if self._dirty:
                for dirty in self._dirty:
                    dirty.touch()
                self._dirty.clear()
            queue: QueueState | None = root
            while queue is not None and queue.children:
                queue = queue.first()
            lane = queue.lane() if queue is not None else None
            if queue is None or lane is None:
                break
            if self._try(queue, lane, lane.heap[0][2]):
                left -= 1
            queue.touch()
        self.preemption.decide()
        out, self._out = self._out, []
        if out:
            self._digest.update(_encoder.encode(out))
        return out

    @property
    def digest(self) -> str:
        """Of every decision so far: equal where the same was decided, in the same order, for the same reasons."""
        return self._digest.hexdigest()

    def next_id(self) -> int:
        """Returns the id of the next decision."""
        return next(self._ids)

    def decide(self, decision: Decision) -> None:
        """Adds a decision to those of this step."""
        self._out.append(decision)

    def forget(self, job: str) -> None:
        """Forgets a job that has ended: nobody will ask of it any more."""
        if job not in self.apps:
            self.ended.pop(job, None)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def _try(self, queue: QueueState, lane: Lane, request: Request) -> bool:
        """Starts the first of a lane, or parks the lane; returns whether it has started."""
        unit, app = request.unit, request.app
        if unit.parked and not self.backfill.holds(request):
            self._park(lane, unit)
            return False
        blocker = self.blocked(app, unit)
        if blocker is not None:
            if (reason := impossible(self, app, unit)) is not None:
                self._reject(app, reason)
            else:
                self._park(lane, blocker)
            return False
        held = self._find(request)
        if held is None:
            if (reason := impossible(self, app, unit)) is not None:
                self._reject(app, reason)
            else:
                if self.backfill.kind:
                    self.backfill.refused(request)
                self.park_unit(unit)
                self._park(lane, unit)
            return False
        self._start(queue, lane, request, held)
        return True

    def blocked(self, app: Application, unit: Unit) -> Counter | None:
        """Returns the first limit that a unit would exceed: users and groups, then the queues from the leaf up."""
        usage, counted = unit.usage, app.counted
        for counter in app.limits:
            if not counted and counter.applications >= counter.max_applications:
                return counter
            if counter.limited:
                used, most = counter.used, counter.max
                for position, amount in usage:
                    if used[position] + amount > most[position]:
                        return counter
        return self.preemption.in_the_way(app, unit) if self.preemption.promises else None

    def caps(self, request: Request, part: Part) -> dict[int, int]:
        """Returns by node how many members of a part are not in the way of room that is kept there for others."""
        found = self.backfill.caps(request, part)
        for index, cap in self.preemption.caps(request, part).items():
            found[index] = min(cap, found.get(index, cap))
        return found

    def start(self, request: Request) -> bool:
        """Starts a request out of turn, where it can start now; returns whether it has."""
        if self.blocked(request.app, request.unit) is not None or (held := self._find(request)) is None:
            return False
        assert request.lane is not None
        self._start(request.app.queue, request.lane, request, held)
        self._dirty[request.app.queue] = None
        return True

    def _find(self, request: Request) -> list[list[Held]] | None:
        """Finds places for a request and takes them; None where there are none."""
        unit = request.unit
        backfill = self.backfill
        if unit.simple is not None:
            index = self.nodes.best(unit.simple)
            keeping = backfill.holding or self.preemption.promises
            if keeping and index >= 0 and (caps := self.caps(request, unit.parts[0])).get(index) == 0:
                full = [node for node, cap in caps.items() if not cap]
                index = self.nodes.columns.best_of(self.nodes.row(unit.simple), full, None, 0)
            if index < 0:
                unit.short = 1
                return None
            return [[self.nodes.take_one(self._name(request, 0, 0), unit.simple, index)]]
        return gang.place(
            self.nodes, unit, lambda part, number: self._name(request, part, number),
            lambda part: self.unwanted(request, part), lambda part: self.caps(request, part),
        )  # fmt: skip

    @staticmethod
    def _name(request: Request, part: int, number: int) -> str:
        group = request.group or request.app.gang[part]
        again = group.again
        rank = again[-1 - number] if number < len(again) else group.next + number - len(again)
        return f"{request.app.job.id}/{group.group.name}/{rank}"

    def unwanted(self, request: Request, part: Part) -> set[int]:
        """Returns the nodes that affinity keeps a part away from."""
        found: set[int] = set()
        app = request.app
        if part.topology.required and request.group is not None and app.held:
            own = (held.node for held in app.held.values() if held.shape is part.shape)
            found |= {state.index for state in self.nodes.named.values()} - self._domains_of(
                own, part.topology.required
            )
        if part.apart and request.group is not None:
            found |= self._domains_of(
                (held.node for held in app.held.values() if held.shape is part.shape), part.apart
            )  # fmt: skip
        for affinity in part.shape.affinity:
            held = (
                held.node
                for other in self.apps.values()
                if other.held and all(other.job.labels.get(key) == value for key, value in affinity.labels)
                for held in other.held.values()
            )
            near = self._domains_of(held, affinity.level)
            found |= near if affinity.anti else {state.index for state in self.nodes.named.values()} - near
        return found

    def _domains_of(self, indices: Iterable[int], level: str) -> set[int]:
        """Returns every node in the domains of some nodes."""
        where = self.nodes.domain(level)
        wanted = {where[index] for index in indices} - {-1}
        return {state.index for state in self.nodes.named.values() if where[state.index] in wanted}

    def _start(self, queue: QueueState, lane: Lane, request: Request, held: Sequence[Sequence[Held]]) -> None:
        app, unit, now = request.app, request.unit, self.now
        own, known, at, wanted = app.held, self.members, self.nodes.at, self.nodes.wanted
        id = next(self._ids)
        members: list[Member] = []
        for number, each in enumerate(held):
            group = request.group or app.gang[number]
            if group.again:
                for _ in each:
                    group.rank()
            else:
                group.next += len(each)
            wanted[group.shape] -= len(each)
            for one in each:
                one.bound = id
                own[one.id] = one
                known[one.id] = (app, one)
                members.append(Member(one.id, at[one.node].node.name, one.devices))
        self._add(app, unit.usage, len(members), unit.members)
        if app.started is None:
            app.started = now
            estimate = app.job.runtime_estimate
            if estimate is not None:
                app.ends = now + estimate
        app.state = AppState.RUNNING
        request.left -= 1
        if not request.left or queue.fair:
            self._leave(request)
            if request.left:
                self._enter(request)
            else:
                app.requests.remove(request)
                self.units.forget(unit)
                if request.group is None:
                    if self._timers:
                        self._timers.pop(app.id, None)
                    if app.elastic:
                        self.ask_for_more(app)
        if self._drawn:
            self._moved()
        if self.backfill.kind:
            self.backfill.started(request, [(one.shape, one.node) for each in held for one in each])
        if self.preemption.promises:
            self.preemption.withdrawn(request)
        where = "node" if len(members) == 1 else f"{len({member.node for member in members})} nodes"
        self._out.append(Bind(id, f"first in {queue.path}, best {where}", app.job.id, tuple(members)))

    @staticmethod
    def _add(app: Application, usage: Iterable[tuple[int, int]], members: int, waited: int) -> None:
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
        for queue in app.queue.above:
            queue.allocated -= members
        self._dirty[app.queue] = None

    # -- waiting -------------------------------------------------------------------------------------------------------

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
        request.key = (priority, app.share() if queue.fair else 0.0, app.number)
        name = app.job.user if len(app.limits) > len(queue.above) else ""
        lane = queue.lanes.get((unit, name))
        if lane is None:
            lane = queue.lanes[unit, name] = Lane(queue, unit, name, next(self.numbers))
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
                del queue.lanes[lane.unit, lane.name]
                if lane.parked is not None:
                    lane.parked.waiting.pop(lane, None)
            else:
                queue.push(lane)

    def _park(self, lane: Lane, on: Counter | Unit) -> None:
        """Lets a lane wait for a limit, or for room."""
        lane.parked = on
        on.waiting[lane] = None
        self._dirty[lane.queue] = None

    def park_unit(self, unit: Unit) -> None:
        """Lets a unit wait for room on nodes."""
        if not unit.parked:
            unit.parked = True
            if unit.drawn:
                self._drawn[unit] = None
            for shape in {part.shape for part in unit.parts}:
                self._parked.setdefault(shape, []).append(unit)

    def wake(self, on: Counter | Unit) -> None:
        """Lets the lanes try again that wait for something."""
        for lane in on.waiting:
            lane.parked = None
            lane.queue.push(lane)
            self._dirty[lane.queue] = None
        on.waiting.clear()

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

    def _moved(self) -> None:
        """Lets those be tried again that are drawn to others or kept away from them, since one has come or gone."""
        for unit in list(self._drawn):
            self.unpark(unit)

    def _time_out(self) -> None:
        """Ends the wait of gangs that took too long."""
        for id, at in list(self._timers.items()):
            if at > self.now:
                continue
            del self._timers[id]
            app = self.apps[id]
            request = next(each for each in app.requests if each.group is None)
            self.withdraw(request)
            if app.job.style == SOFT:
                app.state = AppState.RESUMING
                self.ask_for_more(app, all=True)
            else:
                members = request.unit.members
                self._reject(
                    app, f"its gang of {members} could not start within {app.job.timeout:g} s", AppState.FAILED
                )

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _submitted(self, event: events.JobSubmitted) -> None:
        job = event.job
        if job.id in self.apps or job.id in self.ended:
            raise UsageError(f"job {job.id!r} was submitted already: give the new one another id")
        try:
            app = self._application(job, forced=False)
        except ClearanceError as error:
            self._refuse(job, str(error))
            return
        self.apps[job.id] = app
        if app.gang and job.timeout is not None:
            self._timers[job.id] = self.now + job.timeout
        self.ask_for_all(app)

    def ask_for_all(self, app: Application) -> None:
        """Lets an application that holds nothing wait for its gang, or for its members where it has none."""
        app.state = AppState.ACCEPTED
        if app.gang:
            parts = tuple(
                Part(group.shape, group.group.min_member, group.group.topology, group.group.anti_affinity)
                for group in app.gang
            )
            self._ask(Request(app, self._unit(app, parts), None, 1, self.now))
        else:
            self.ask_for_more(app)

    def _application(self, job: Job, forced: bool) -> Application:
        """Returns a job as an application of its queue.

        Raises:
            ClearanceError: no queue takes it, or it is not well formed.
        """
        queue, limits = self._seat(job, forced)
        groups = []
        for group in job.task_groups:
            most = group.min_member if group.max_member is None else group.max_member
            if group.min_member < 0 or most < max(group.min_member, 1):
                raise UsageError(
                    f"job {job.id!r}, group {group.name!r}: min_member is {group.min_member} and max_member "
                    f"{group.max_member}: ask for at least one member, and for no fewer than the minimum"
                )
            groups.append(Group(group, self.shapes.of(group, f"job {job.id}, group {group.name}")))
        if not groups or (len(groups) > 1 and len({group.group.name for group in groups}) < len(groups)):
            raise UsageError(f"job {job.id!r}: give it at least one group, and each a name of its own")
        if len(self.space.names) > len(self.nodes.total):
            self._widen()
        return Application(job, next(self.numbers), queue, limits, groups, self.now)

    def _seat(self, job: Job, forced: bool) -> tuple[QueueState, tuple[Counter, ...]]:
        """Returns the leaf of a job, and everything with a maximum that its members count against.

        Raises:
            UsageError: no queue takes it.
        """
        key = (job.queue, job.user, job.groups, tuple(job.tags.items()) if job.tags else (), forced)
        seat = self._seats.get(key)
        if seat is None:
            submitted = Submitted(job.user, job.groups, job.queue, job.tags, forced)
            found = place(self.partition.placement_rules, self.tree, submitted)
            if isinstance(found, Rejected):
                raise UsageError(f"job {job.id!r}: {found}")
            for path in found.created:
                self.tree.create(created(self.partition, path, leaf=path == found.queue))
            queue = self.tree.queues[found.queue]
            seat = queue, (*self.tree.counters(queue, job.user, job.groups), *queue.above)
            if len(self._seats) >= SEATS:
                self._seats.clear()
            self._seats[key] = seat
        return seat

    def ask_for_more(self, app: Application, all: bool = False) -> None:
        """Asks for the members beyond the minimum; for all of them, where the gang will not come."""
        for group in app.groups:
            most = group.group.min_member if group.group.max_member is None else group.group.max_member
            left = most - (0 if all else group.next)
            if left > 0:
                self._ask(Request(app, self._unit(app, (_single(group),)), group, left, self.now))

    def _unit(self, app: Application, parts: tuple[Part, ...]) -> Unit:
        """Returns the unit of these parts; jobs of other lengths are other units where that decides who may start.

        A member that must keep to others of its job, or away from them, shares its unit with no other job.
        """
        if parts[0].count == 1 and (parts[0].apart or parts[0].topology.required):
            return self.units.of(parts, -app.number)
        if not self.backfill.reserves:
            return self.units.of(parts)
        estimate = app.job.runtime_estimate
        return self.units.of(parts, UNKNOWN if estimate is None else 1 + int(4 * math.log2(max(estimate, 1.0))))

    def _refuse(self, job: Job, reason: str) -> None:
        self.ended[job.id] = (AppState.REJECTED, reason)
        self._out.append(Reject(next(self._ids), reason, job.id))

    def _reject(self, app: Application, reason: str, state: AppState = AppState.REJECTED) -> None:
        """Ends an application that cannot start."""
        self._end(app, state, reason)
        self._out.append(Reject(next(self._ids), reason, app.id))

    def _end(self, app: Application, state: AppState, reason: str = "") -> None:
        """Takes an application away with all that it holds and asks for."""
        for request in list(app.requests):
            self.withdraw(request)
        if app.held:
            self._give_all(app)
        if self._timers:
            self._timers.pop(app.id, None)
        if self.backfill.kind:
            self.backfill.ended(app)
        self.preemption.ended(app)
        del self.apps[app.id]
        self.ended[app.id] = (state, reason)
        app.state = state
        if app.queue.dynamic or app.queue.state != "active":
            self._prune(app.queue)

    def _give_all(self, app: Application) -> None:
        """Takes every member of an application that waits for none off its node."""
        all = tuple(app.held.values())
        app.held.clear()
        for held in all:
            del self.members[held.id]
            self._freed[held.node] = None
        self.nodes.give_all(all)
        for held in all:
            self.preemption.gone(app, held)
            self.consolidation.gone(held.id)
        self._subtract(app, tuple(app.usage.items()), len(all))
        if self._drawn:
            self._moved()

    def _give(self, app: Application, held: Held) -> None:
        """Takes a member off its node."""
        del app.held[held.id], self.members[held.id]
        self.nodes.give(held)
        self.preemption.gone(app, held)
        self.consolidation.gone(held.id)
        self._freed[held.node] = None
        self._subtract(app, held.shape.usage)
        for request in app.requests:
            if request.unit.parked and request.unit.simple is None:
                self.unpark(request.unit)
        self._moved()

    def _finished(self, event: events.JobFinished) -> None:
        app = self.app(event.job)
        self._end(app, AppState.FAILED if event.failed else AppState.COMPLETED)

    def _member_finished(self, event: events.MemberFinished) -> None:
        app, held = self._member(event.member)
        self._give(app, held)
        if not app.held and not app.requests and not self.preemption.again(app):
            self._end(app, AppState.FAILED if event.failed else AppState.COMPLETED)

    def _evicted(self, event: events.MemberEvicted) -> None:
        app, held = self._member(event.member)
        self._give(app, held)
        self.ask_again(app, [held])

    def _member_moved(self, event: events.MemberMoved) -> None:
        self.consolidation.moved(*self._member(event.member), self._node(event.node))

    def ask_again(self, app: Application, lost: Sequence[Held]) -> None:
        """Asks again for members that were lost: for the whole gang, where it has nothing left of it."""
        if self.preemption.again(app):
            return
        by_group: dict[str, list[int]] = {}
        for held in lost:
            _, name, rank = held.id.rsplit("/", 2)
            by_group.setdefault(name, []).append(int(rank))
        app.state = AppState.ACCEPTED if not app.held else app.state
        for group in app.groups:
            ranks = by_group.get(group.group.name)
            if not ranks:
                continue
            group.again = sorted([*group.again, *ranks], reverse=True)
            whole = len(ranks) > 1 and len(ranks) == group.group.min_member and not app.held
            part = (
                Part(group.shape, len(ranks), group.group.topology, group.group.anti_affinity)
                if whole
                else _single(group)
            )
            self._ask(Request(app, self._unit(app, (part,)), group, 1 if whole else len(ranks), self.now))

    def _bind_failed(self, event: events.BindFailed) -> None:
        lost = [found for found in self.members.values() if found[1].bound == event.decision]
        if not lost:
            raise UsageError(f"there is no decision {event.decision} whose members could fail to start: it is late")
        app = self.app(lost[0][0].id)
        for _, held in lost:
            self._give(app, held)
        self.ask_again(app, [held for _, held in lost])

    def _restored(self, event: events.Restored) -> None:
        job = event.job
        if job.id in self.apps:
            raise UsageError(f"job {job.id!r} is there already: it is restored once, before anything else")
        app = self._application(job, forced=True)
        self.apps[job.id] = app
        app.state, app.started = AppState.RUNNING, event.since
        estimate = job.runtime_estimate
        app.ends = event.since + estimate if estimate is not None else float("inf")
        by_name = {group.group.name: group for group in app.groups}
        for id, node in event.places:
            group = by_name[id.rsplit("/", 2)[1]]
            (held,) = self.nodes.take((id,), group.shape, self._node(node).index)
            app.held[id] = held
            self.members[id] = (app, held)
            group.next = max(group.next, int(id.rsplit("/", 1)[1]) + 1)
            self._add(app, group.shape.usage, 1, 0)

    def app(self, id: str) -> Application:
        """Returns a job that waits or runs.

        Raises:
            UsageError: there is none of this id.
        """
        app = self.apps.get(id)
        if app is None:
            ended = " any more" if id in self.ended else nearest(id, self.apps)
            raise UsageError(f"there is no job {id!r}{ended}")
        if self.origin is not None and app.owner is not self:
            origin, turn, copies = self.origin
            if origin.turn != turn:
                raise ClearanceError("the scheduler of which this is a fork has gone on: ask a new one")
            return adopt(self, app, copies)
        return app

    def _member(self, id: str) -> tuple[Application, Held]:
        found = self.members.get(id)
        if found is None:
            raise UsageError(f"there is no member {id!r}: it has ended, or never started")
        return self.app(found[0].id), found[1]

    def explain(self, job: str) -> Explanation:
        """Says where a job stands and why; see `cluster.explain`.

        Raises:
            UsageError: there is no such job.
        """
        return explain(self, job)

    def plan_consolidation(
        self, max_moves: int = 200, min_gain_node_hours: float = 1.0, prices: Mapping[str, float] | None = None
    ) -> Plan:
        """Returns which members would best move off which nodes; see `cluster.consolidate`.

        Args:
            max_moves: in all.
            min_gain_node_hours: what it must gain at least, less what it costs.
            prices: of an hour of a node, by pool; 1 where there is none.
        """
        return self.consolidation.plan(max_moves, min_gain_node_hours, prices)

    def next_moves(self, plan: Plan) -> list[Migrate]:
        """Returns the moves of a plan that can be made now, and takes their room; see `cluster.consolidate`."""
        made = self.consolidation.next_moves(plan)
        if made:
            self._digest.update(_encoder.encode(made))
        return made

    def vacated(self, index: int) -> None:
        """Something has left a node, though no member has ended."""
        self._freed[index] = None
        self._moved()

    def what_if(self, changes: Sequence[Change]) -> WhatIf:
        """Returns what would be after some changes; see `cluster.whatif`.

        Raises:
            UsageError: a change of something that is not there.
        """
        return WhatIf(self, changes)

    def fork(self) -> Scheduler:
        """Returns a copy that goes its own way from here."""
        paused = gc.isenabled()
        gc.disable()  # nothing that is copied is garbage, and looking at all of it would take longer than copying
        try:
            return self._fork()
        finally:
            if paused:
                gc.enable()

    def _fork(self) -> Scheduler:
        other = Scheduler(self.partition, self.nodes.policy, self.backfill.kind, self.seed, self.nodes.backing, False)
        fork(self, other)
        self.consolidation.copy_to(other.consolidation)
        return other

    def copy_times(self, other: Scheduler) -> None:
        """Gives a fork what was not looked at yet."""
        other._freed, other._timers = dict(self._freed), dict(self._timers)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _node(self, name: str) -> NodeState:
        state = self.nodes.named.get(name)
        if state is None:
            raise UsageError(f"there is no node {name!r}{nearest(name, self.nodes.named)}")
        return state

    def _node_added(self, event: events.NodeAdded) -> None:
        known = self.nodes.named.get(event.node.name)
        if known is not None:
            if known.node != event.node:
                self._node_changed(events.NodeChanged(event.node))
            return
        state = self.nodes.add(event.node)
        self._resized(state)

    def _node_changed(self, event: events.NodeChanged) -> None:
        state = self._node(event.node.name)
        self.nodes.change(state, event.node)
        self._resized(state)

    def _node_removed(self, event: events.NodeRemoved) -> None:
        state = self._node(event.name)
        self.consolidation.without(state)
        lost: dict[Application, list[Held]] = {}
        for held in list(state.held.values()):
            app = self._member(held.id)[0]
            self._give(app, held)
            lost.setdefault(app, []).append(held)
        self._freed.pop(state.index, None)
        self.nodes.remove(state)
        self._resized(None)
        for app, gone in lost.items():
            self.ask_again(app, gone)

    def _resized(self, state: NodeState | None) -> None:
        self.tree.stale = True
        if state is not None:
            self._freed[state.index] = None

    def _widen(self) -> None:
        self.shapes.widen()
        self.nodes.widen()
        self.tree.rate(self.nodes.total)

    def _prune(self, queue: QueueState) -> None:
        before = len(self.tree.queues)
        self.tree.prune(queue)
        if len(self.tree.queues) < before:
            self._seats.clear()


def _single(group: Group) -> Part:
    """Returns one member of a group beyond its minimum."""
    topology = Topology(required=group.group.topology.required)
    return Part(group.shape, 1, topology, group.group.anti_affinity)


def digest(made: Iterable[Decision]) -> str:
    """Returns the digest of some decisions."""
    return hashlib.sha256(_encoder.encode(list(made))).hexdigest()


__all__ = ["Scheduler", "decisions", "digest"]
