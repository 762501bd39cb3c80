"""Autoscaling: nodes are asked for when somebody waits for room that they would give, and go when they are idle.

Rules:

1. Nodes are added for whole gangs or not at all, and only for those whom no maximum keeps waiting (`cluster.growth`).
   What was asked for and has not come yet counts, so that nothing is asked for twice.
2. Nodes that do not come within `patience` times their start-up time are given up. They may be asked for again, but for
   as long again other pools are tried first. A driver that cannot get them, or that knows what is on its way after a
   restart, says so by `PoolStarting`.
3. A node goes that was empty for `idle_seconds`; many go at once. Never one with a member on it, one that somebody has
   cordoned, one that is kept for somebody or that somebody needs who waits; and none of a pool below its minimum, below
   its headroom, or within `cooldown_seconds` after nodes were added to it.
4. No plan ends more than the largest part of all nodes within the window: such a plan is refused and said in `notices`.
   What has been idle longest may go up to that part, and the rest is looked at again when the window is over.
5. A node that is to go takes nothing new; if it is still there after `LAPSE` seconds, it is one like any other again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clearance.cluster.condition import Condition, bare
from clearance.cluster.decision import Scale
from clearance.cluster.event import NodeAdded, PoolStarting
from clearance.cluster.growth import Growth
from clearance.cluster.job import TaskGroup, Toleration
from clearance.cluster.nodestate import NodeState
from clearance.cluster.pools import Autoscale, Pool
from clearance.cluster.possible import room_of
from clearance.cluster.quantities import format_amounts
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.unit import Unit
from clearance.errors import UsageError, nearest

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

LAPSE = 600.0
SHORTEST_WAIT = 60.0  # seconds that even a node with no start-up time may take


class _Fleet:
    """One pool as it is.

    Attributes:
        pool: as configured.
        slot: the shape of its headroom; None: it has none.
        there: names of its nodes, by when each was first seen empty; None: it is not.
        coming: by when they were asked for: nodes that have not come.
        up: when nodes were last added.
        aside: until when other pools are tried first.
    """

    __slots__ = ("aside", "coming", "pool", "slot", "there", "up")

    def __init__(self, pool: Pool, slot: Shape | None) -> None:
        self.pool = pool
        self.slot = slot
        self.there: dict[str, float | None] = {}
        self.coming: list[float] = []
        self.up = -math.inf
        self.aside = -math.inf

    @property
    def wait(self) -> float:
        return max(self.pool.start_seconds, SHORTEST_WAIT)


class Autoscaler:
    """See the module.

    Args:
        scheduler: whose nodes these are.
        config: the pools, and when nodes come and go.

    Attributes:
        due: when something is decided even if nothing happens, in seconds of the driver's clock; infinity: nothing.

    Raises:
        UsageError: the configuration cannot be.
    """

    def __init__(self, scheduler: Scheduler, config: Autoscale) -> None:
        config.check()
        self._scheduler = scheduler
        self.config = config
        self._fleets = {pool.name: _Fleet(pool, _slot(scheduler, pool)) for pool in config.pools}
        self._going: dict[str, float] = {}
        self._gone: list[tuple[float, int]] = []
        self._refused = False
        self._next = -math.inf
        self.due = -math.inf

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def came(self, state: NodeState) -> None:
        """A node has come."""
        fleet = self._fleets.get(state.node.pool)
        if fleet is not None:
            fleet.there[state.name] = None
            if fleet.coming:
                del fleet.coming[0]
                fleet.up = self._scheduler.now
            self._learn(fleet, state)

    def _learn(self, fleet: _Fleet, state: NodeState) -> None:
        """Believes what a node has, where that is less than its pool was to have."""
        learnt = fleet.pool.learn(bare(state.node))
        if learnt == fleet.pool:
            return
        fleet.pool = learnt
        self._scheduler.pools = tuple(each.pool for each in self._fleets.values())
        have = format_amounts(self._scheduler.space.named(self._scheduler.space.parse(learnt.capacity, state.name)))
        self._scheduler.notices.append(
            f"node {state.name!r} is not what its pool {learnt.name!r} was to have: from now on the pool counts as "
            f"{have} with the labels {dict(learnt.labels)} and the taints {[taint.key for taint in learnt.taints]}; "
            "correct its configuration"
        )

    def went(self, state: NodeState) -> None:
        """A node has gone."""
        for fleet in self._fleets.values():
            fleet.there.pop(state.name, None)
        self._going.pop(state.name, None)

    def starting(self, event: PoolStarting) -> None:
        """The driver says how many nodes of a pool are on their way.

        Raises:
            UsageError: there is no such pool, or fewer than none.
        """
        fleet = self._fleets.get(event.pool)
        if fleet is None:
            raise UsageError(f"there is no pool {event.pool!r}{nearest(event.pool, self._fleets)}")
        if event.count < 0:
            raise UsageError(f"pool {event.pool!r} has {event.count} nodes on their way: tell 0 or more")
        missing = len(fleet.coming) - event.count
        if missing > 0:
            self._give_up(fleet, missing, event.reason or "they do not come")
        else:
            fleet.coming += [self._scheduler.now] * -missing

    def why(self, name: str) -> str:
        """Returns why a node takes nothing new; empty where that is not for its being about to go."""
        return "it is to be removed" if name in self._going else ""

    @property
    def coming(self) -> dict[str, int]:
        """How many nodes are on their way, by pool; those of which none are are left out."""
        return {name: len(fleet.coming) for name, fleet in self._fleets.items() if fleet.coming}

    # -- deciding ------------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Decides which nodes come and which go, at most once in `interval`."""
        now = self._scheduler.now
        if now < self._next:
            self.due = min(self.due, self._next)
            return
        self._next = now + self.config.interval
        self._see()
        growth = self._grow()
        self._shrink(growth)
        self.due = self._when()

    def lapse(self) -> None:
        """Gives up what did not come, and takes back what did not go."""
        scheduler, now = self._scheduler, self._scheduler.now
        for fleet in self._fleets.values():
            wait = self.config.patience * fleet.wait
            late = sum(at + wait <= now for at in fleet.coming)
            if late:
                self._give_up(fleet, late, f"they did not come within {wait:g} s")
        for name in [name for name, until in self._going.items() if until <= now]:
            del self._going[name]
            scheduler.shut(scheduler.nodes.named[name])
            scheduler.notices.append(
                f"node {name!r} was to be removed {LAPSE:g} s ago and is still there: it is used again; remove it by "
                "hand if it is not to be"
            )

    def _give_up(self, fleet: _Fleet, count: int, why: str) -> None:
        del fleet.coming[:count]
        fleet.aside = self._scheduler.now + self.config.patience * fleet.wait
        self._scheduler.notices.append(
            f"pool {fleet.pool.name!r}: {count} nodes that were asked for are given up, {why}: until "
            f"{fleet.aside:g} other pools are tried first; look at what the provider says, or lower max_nodes"
        )

    def _see(self) -> None:
        """Looks which nodes are empty, and since when."""
        now, named = self._scheduler.now, self._scheduler.nodes.named
        for fleet in self._fleets.values():
            for name, since in fleet.there.items():
                state = named[name]
                empty = not state.held and state.node.schedulable and state.condition != Condition.TESTING
                if empty is (since is None):
                    fleet.there[name] = now if empty else None

    # -- up ------------------------------------------------------------------------------------------------------------

    def _grow(self) -> Growth | None:
        """Asks for what is lacking; returns what would be then, None where nothing was to be found out."""
        lacking = {name: self._lacks(fleet) for name, fleet in self._fleets.items()}
        waits = self._waits()
        if not waits and not any(lacking.values()):
            return None
        now = self._scheduler.now
        left = [
            (fleet.pool, max(fleet.pool.max_nodes - len(fleet.there) - len(fleet.coming), 0))
            for fleet in self._fleets.values()
        ]
        aside = [name for name, fleet in self._fleets.items() if fleet.aside > now]
        growth = Growth(self._foresee(), left, aside)
        if waits:
            growth.serve(request.app.id for request in self._scheduler.preemption.promises)
        for fleet in self._fleets.values():
            pool = fleet.pool
            if fleet.slot is not None:
                growth.keep_warm(pool, fleet.slot)
            growth.fill(pool, pool.min_nodes - self._staying(fleet) - len(fleet.coming))
        for name, count in growth.added.items():
            fleet = self._fleets[name]
            fleet.coming += [now] * count
            fleet.up = now
            first, *more = growth.jobs[name]
            reason = f"{count} for {first}" + (f" and {len(more)} more" if more else "")
            self._scheduler.decide(Scale(self._scheduler.next_id(), reason, name, add=count))
        return growth

    def _waits(self) -> bool:
        """Whether somebody waits whom no maximum keeps waiting."""
        return any(
            lane.heap and (lane.parked is None or isinstance(lane.parked, Unit))
            for queue in self._scheduler.tree.leaves()
            for lane in queue.lanes.values()
        )

    def _lacks(self, fleet: _Fleet) -> bool:
        """Whether a pool has fewer nodes, or less headroom, than it is to have."""
        if self._staying(fleet) + len(fleet.coming) < fleet.pool.min_nodes:
            return True
        return fleet.slot is not None and self._warm(fleet, None) < self._slots(fleet)

    def _staying(self, fleet: _Fleet) -> int:
        return sum(name not in self._going for name in fleet.there)

    @staticmethod
    def _slots(fleet: _Fleet) -> int:
        return fleet.pool.headroom.slots if fleet.pool.headroom is not None else 0

    def _warm(self, fleet: _Fleet, growth: Growth | None) -> int:
        """Returns how many slots of its headroom a pool has free, in the plan where there is one."""
        assert fleet.slot is not None
        if growth is not None:
            nodes = growth.fork.nodes
            states: Iterable[NodeState] = (
                state for state in nodes.named.values() if state.node.pool == fleet.pool.name
            )
            return sum(nodes.room(fleet.slot, state) for state in states)
        nodes = self._scheduler.nodes
        free = sum(nodes.room(fleet.slot, nodes.named[name]) for name in fleet.there)
        return free + len(fleet.coming) * room_of(self._scheduler, fleet.pool, fleet.slot)

    def _foresee(self) -> Scheduler:
        """Returns a fork in which has come what is on its way, nodes under test are well, and who can has started."""
        scheduler = self._scheduler
        fork = scheduler.fork()
        if scheduler.health is not None:
            scheduler.health.pass_all(fork)
        coming = [
            NodeAdded(fleet.pool.node(f"?/{name}/coming/{number}"))
            for name, fleet in self._fleets.items()
            for number in range(len(fleet.coming))
        ]
        fork.apply(coming, scheduler.now)
        fork.step(scheduler.now)
        return fork

    # -- down ----------------------------------------------------------------------------------------------------------

    def _shrink(self, growth: Growth | None) -> None:
        """Lets nodes go that nobody needs."""
        ready = self._ready(growth)
        if not ready:
            self._refused = False
            return
        scheduler, now = self._scheduler, self._scheduler.now
        self._gone = [(at, count) for at, count in self._gone if at + self.config.removal_window > now]
        before = sum(count for _, count in self._gone)
        base = len(scheduler.nodes.named) - len(self._going) + before
        most = max(int(base * self.config.largest_removal), 1)
        allowed = max(most - before, 0)
        if len(ready) > allowed and not self._refused:
            scheduler.notices.append(
                f"a plan to remove {before + len(ready)} of {base} nodes within {self.config.removal_window:g} s is "
                f"refused: at most {most} go; raise largest_removal where so many are meant to"
            )
        self._refused = len(ready) > allowed
        going: dict[str, list[str]] = {}
        for state in ready[:allowed]:
            going.setdefault(state.node.pool, []).append(state.name)
            self._going[state.name] = now + LAPSE
            scheduler.shut(state)
        if going:
            self._gone.append((now, sum(map(len, going.values()))))
        for name, names in going.items():
            reason = f"{len(names)} empty for {self.config.idle_seconds:g} s"
            scheduler.decide(Scale(scheduler.next_id(), reason, name, remove=tuple(names)))

    def _ready(self, growth: Growth | None) -> list[NodeState]:
        """Returns the nodes that may go, those first that have been idle longest."""
        now, named = self._scheduler.now, self._scheduler.nodes.named
        kept = self._scheduler.consolidation.kept()
        found: list[tuple[float, int, NodeState]] = []
        for fleet in self._fleets.values():
            if fleet.coming or fleet.up + self.config.cooldown_seconds > now:
                continue
            spare = self._staying(fleet) - fleet.pool.min_nodes
            warm = self._warm(fleet, growth) - self._slots(fleet) if fleet.slot is not None else 0
            idle = [
                (since, named[name].index, named[name])
                for name, since in fleet.there.items()
                if since is not None and since + self.config.idle_seconds <= now and name not in self._going
            ]
            for since, index, state in sorted(idle, key=lambda each: each[:2]):
                room = self._scheduler.nodes.room(fleet.slot, state) if fleet.slot is not None else 0
                if spare > 0 and room <= warm and index not in kept and not _needed(growth, state):
                    spare -= 1
                    warm -= room
                    found.append((since, index, state))
        return [state for _, _, state in sorted(found, key=lambda each: each[:2])]

    def _when(self) -> float:
        """Returns when something is to be decided even if nothing happens."""
        now, config = self._scheduler.now, self.config
        moments = list(self._going.values())
        if self._refused:
            moments += [at + config.removal_window for at, _ in self._gone]
        for fleet in self._fleets.values():
            moments += [at + config.patience * fleet.wait for at in fleet.coming[:1]]
            if not fleet.coming:
                idle = (since for name, since in fleet.there.items() if since is not None and name not in self._going)
                moments += [max(since + config.idle_seconds, fleet.up + config.cooldown_seconds) for since in idle]
        return max(min((moment for moment in moments if moment > now), default=math.inf), self._next)


def _needed(growth: Growth | None, state: NodeState) -> bool:
    """Whether the plan puts something on an empty node, or somebody who waits in it could use the node."""
    if growth is None:
        return False
    nodes = growth.fork.nodes
    foreseen = nodes.named[state.name]
    return bool(foreseen.held) or any(_could_use(growth, unit, foreseen) for unit in growth.unmet)


def _could_use(growth: Growth, unit: Unit, state: NodeState) -> bool:
    return any(
        part.shape.bias(state.node) > NEVER and growth.fork.nodes.room(part.shape, state) > 0 for part in unit.parts
    )


def _slot(scheduler: Scheduler, pool: Pool) -> Shape | None:
    """Returns the shape of a pool's headroom, which tolerates whatever keeps others away from the pool."""
    if pool.headroom is None:
        return None
    group = TaskGroup("headroom", resources=pool.headroom.resources, tolerations=(Toleration(),))
    return scheduler.shapes.of(group, f"pool {pool.name!r}, headroom")
