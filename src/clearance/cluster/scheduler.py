"""The scheduler: events go in, decisions come out. Pure: it does no I/O, reads no clock and draws no random number.

Rules:

1. Nothing is ever over the maximum of a queue or user, nor over what a node has.
2. A gang starts whole or holds nothing (`cluster.gang`); what waits holds nothing.
3. The order is that of `cluster.queues`; in a leaf by priority, then by age, or by share where the queue says `fair`.
4. What fits nowhere is parked and costs nothing until something has happened that could help it.
5. A job that could not start even in the empty cluster is rejected when it is submitted. One of which that becomes true
   later, since nodes have gone or a maximum was lowered, waits, and says so.
6. Time only goes forward: an earlier `now` counts as the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.cluster import event as events
from clearance.cluster import gang
from clearance.cluster.application import Application, AppState, Request
from clearance.cluster.backfill import Backfill
from clearance.cluster.collector import paused
from clearance.cluster.condition import HealthPolicy
from clearance.cluster.consolidate import Consolidation, Plan
from clearance.cluster.decision import Bind, Decision, Member, Migrate
from clearance.cluster.limits import LimitState, full
from clearance.cluster.machines import Machines
from clearance.cluster.model import PartitionConfig, SchedulerConfig
from clearance.cluster.nodes import POLICIES
from clearance.cluster.nodestate import Held
from clearance.cluster.pools import Autoscale
from clearance.cluster.possible import impossible
from clearance.cluster.preempt import Preemption
from clearance.cluster.queues import Counter, Lane, QueueState
from clearance.cluster.unit import Part
from clearance.errors import ClearanceError, UsageError, nearest

if TYPE_CHECKING:
    from clearance.cluster.blocker import Blocker, Explanation
    from clearance.cluster.whatif import Change, WhatIf

_encoder = msgspec.json.Encoder()


class Scheduler(Machines):
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
        autoscale: pools of nodes that come and go; None: none do.
        health: what is done about nodes that are not well; None: nothing.

    Raises:
        UsageError: an unknown policy or kind of backfill, or a configuration that cannot be.
    """

    def __init__(
        self,
        config: SchedulerConfig | PartitionConfig,
        policy: str | None = None,
        backfill: str | None = None,
        seed: int = 0,
        backing: str | None = None,
        preemption: bool | None = None,
        autoscale: Autoscale | None = None,
        health: HealthPolicy | None = None,
    ) -> None:
        partition = config if isinstance(config, PartitionConfig) else config.default
        if policy is not None and policy not in POLICIES:
            raise UsageError(f"there is no policy {policy!r}{nearest(policy, POLICIES)}: use {', '.join(POLICIES)}")
        super().__init__(partition, policy, backing)
        self.seed = seed
        self.backfill = Backfill(self, backfill)
        self.consolidation = Consolidation(self)
        self.preemption = Preemption(self, preemption)
        if autoscale is not None:
            from clearance.cluster.autoscale import Autoscaler

            self.autoscaler, self.pools = Autoscaler(self, autoscale), autoscale.pools
        if health is not None:
            from clearance.cluster.health import Health

            self.health = Health(self, health)
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
            events.NodeSignal: self._signalled,
            events.NodeReturned: self._returned,
            events.ConditionRestored: self._condition_restored,
            events.PoolStarting: self._starting,
            events.Restored: self._restored,
            events.LimitSet: self._limit_set,
            events.ConfigChanged: self._config_changed,
        }

    @paused
    def apply(self, happened: Iterable[events.Event], now: float) -> None:
        """Takes what has happened.

        What cannot be (a node that is not there, a job twice) is left out and told in `notices`; a job that may not be
        is rejected by the next `step`.

        Args:
            happened: in order.
            now: seconds of the driver's clock.
        """
        self.advance(now)
        self.turn += 1
        handlers = self._handlers
        for each in happened:
            try:
                handlers[type(each)](each)
            except ClearanceError as error:
                self.notices.append(str(error))

    @paused
    def step(self, now: float, most: int | None = None) -> list[Decision]:
        """Decides what can be decided now.

        Args:
            now: seconds of the driver's clock.
            most: how many units start at most; None: all that can.

        Returns:
            The decisions, in order.
        """
        self.advance(now)
        self.turn += 1
        if self._timers:
            self._time_out()
        if self.tree.stale:
            self.tree.rate(self.nodes.total)
        if self.health is not None:
            self.health.decide()
        if self.autoscaler is not None:
            self.autoscaler.lapse()
        self.preemption.keep_promises()
        if self._freed:
            self._wake_by_nodes()
        self.nodes.learn()
        for request in self.backfill.overdue():
            self.unpark(request.unit)
        left = most if most is not None else -1
        root, rescales = self.tree.root, self.tree.rescales
        lacking = self.lacking() if rescales else frozenset()
        while left:
            if rescales and self.tree.conditions.look(self.tree.total, root.used, lacking):
                self._dirty.update(dict.fromkeys(self.tree.leaves()))
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
            elif rescales:
                lacking = self.lacking()
            queue.touch()
        self.preemption.decide()
        if self.autoscaler is not None:
            self.autoscaler.decide()
        out, self._out = self._out, []
        if out:
            self._digest.update(_encoder.encode(out))
        return out

    def _try(self, queue: QueueState, lane: Lane, request: Request) -> bool:
        """Starts the first of a lane, or parks the lane; returns whether it has started."""
        unit, app = request.unit, request.app
        if unit.parked and not self.backfill.holds(request):
            self._park(lane, unit)
            return False
        blocker = self.blocked(request)
        if blocker is not None:
            self._park(lane, blocker)
            return False
        held = self._find(request)
        if held is None:
            if self.backfill.kind and impossible(self, app, unit) is None:
                self.backfill.refused(request)
            self.park_unit(unit)
            self._park(lane, unit)
            return False
        self._start(queue, lane, request, held)
        return True

    def blocked(self, request: Request) -> Counter | LimitState | None:
        """Returns the first maximum that a request would exceed: of its user and groups, the queues, its limits."""
        app, unit = request.app, request.unit
        usage, counted = unit.usage, app.counted
        for counter in app.limits:
            if not counted and counter.applications >= counter.max_applications:
                return counter
            if counter.limited:
                used, most = counter.used, counter.max
                for position, amount in usage:
                    if used[position] + amount > most[position]:
                        return counter
        if app.shares and not counted and (limit := full(app.shares, request.key, request.lane)) is not None:
            return limit
        return self.preemption.in_the_way(app, unit) if self.preemption.promises else None

    def caps(self, request: Request, part: Part) -> dict[int, int]:
        """Returns by node how many members of a part are not in the way of room that is kept there for others."""
        found = self.backfill.caps(request, part)
        for index, cap in self.preemption.caps(request, part).items():
            found[index] = min(cap, found.get(index, cap))
        return found

    def start(self, request: Request) -> bool:
        """Starts a request out of turn, where it can start now; returns whether it has."""
        if self.blocked(request) is not None or (held := self._find(request)) is None:
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

    def explain(self, job: str) -> Explanation:
        """Says where a job stands and why; see `cluster.explain`.

        Raises:
            UsageError: there is no such job.
        """
        from clearance.cluster.explain import explain

        return explain(self, job)

    def first_blocker(self, app: Application) -> Blocker:
        """Returns what a job that waits lacks first."""
        from clearance.cluster.explain import first_blocker

        return first_blocker(self, app)

    def plan_consolidation(
        self, max_moves: int = 200, min_gain_node_hours: float = 1.0, prices: Mapping[str, float] | None = None
    ) -> Plan:
        """Returns which members would best move off which nodes; see `cluster.consolidate`.

        Args:
            max_moves: in all.
            min_gain_node_hours: what it must gain at least, less what it costs.
            prices: of an hour of a node, by pool, 1 where there is none; None: those of the pools of autoscaling.
        """
        known = {pool.name: pool.price for pool in self.pools} if prices is None else prices
        return self.consolidation.plan(max_moves, min_gain_node_hours, known)

    def next_moves(self, plan: Plan) -> list[Migrate]:
        """Returns the moves of a plan that can be made now, and takes their room; see `cluster.consolidate`."""
        made = self.consolidation.next_moves(plan)
        if made:
            self._digest.update(_encoder.encode(made))
        return made

    @paused
    def what_if(self, changes: Sequence[Change]) -> WhatIf:
        """Returns what would be after some changes; see `cluster.whatif`.

        Raises:
            UsageError: a change of something that is not there.
        """
        from clearance.cluster.whatif import WhatIf

        return WhatIf(self, changes)

    @paused
    def fork(self) -> Scheduler:
        """Returns a copy that goes its own way from here."""
        from clearance.cluster.fork import fork

        other = Scheduler(self.partition, self.policy, self.backfill.kind, self.seed, self.nodes.backing, False)
        other.pools = self.pools
        fork(self, other)
        self.consolidation.copy_to(other.consolidation)
        return other

    def copy_times(self, other: Scheduler) -> None:
        """Gives a fork what was not looked at yet."""
        other._freed, other._timers = dict(self._freed), dict(self._timers)

    def _limit_set(self, event: events.LimitSet) -> None:
        self.wake(self.limits.set(event.name, event.size))
