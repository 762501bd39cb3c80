"""What would have to be added for those who wait: found by starting them in a fork that has more nodes.

Rules:

1. Whoever waits is started whole in the fork, on nodes that are there or on their way where that is possible, else with
   the cheapest nodes that suffice: of one pool, or of several. Otherwise nothing is added for it.
2. Everything that decides where members may go is asked of the fork itself: maxima first (who is over one causes no
   nodes), taints, selectors, topology, affinity, devices, and room that is reserved for others.
3. The cheapest is by price times number of nodes. For single members, as many of the same kind count as wait: large
   nodes are worth it where they are filled.
4. Pools whose nodes did not come lately are tried last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clearance.cluster.application import Request
from clearance.cluster.gang import place
from clearance.cluster.nodestate import NodeState
from clearance.cluster.pools import Pool
from clearance.cluster.possible import room_of
from clearance.cluster.shape import Shape
from clearance.cluster.unit import Unit

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

FRUITLESS = 1000
_NOT_YET = "it is not asked for"


class Growth:
    """See the module.

    Args:
        fork: in which the nodes are there that were asked for; it is used up.
        left: how many more nodes each pool may have.
        aside: names of the pools of rule 4.

    Attributes:
        fork: as it would be afterwards.
        added: how many nodes are to be added, by pool.
        jobs: for whom, by pool.
        unmet: what still waits for room.
    """

    def __init__(self, fork: Scheduler, left: Sequence[tuple[Pool, int]], aside: Iterable[str]) -> None:
        self.fork = fork
        self.added: dict[str, int] = {}
        self.jobs: dict[str, dict[str, None]] = {}
        self.unmet: dict[Unit, None] = {}
        self._pools = {pool.name: pool for pool, _ in left}
        self._left = {pool.name: many for pool, many in left}
        self._aside = set(aside)
        self._spare: dict[str, list[NodeState]] = {name: [] for name in self._pools}
        self._many: dict[Unit, int] = {}
        self._count = 0

    def serve(self, without: Iterable[str]) -> None:
        """Starts all who wait, but the jobs of these ids, in order of priority and age."""
        skipped = set(without)
        waiting = [
            request for app in self.fork.apps.values() if app.id not in skipped for request in app.requests
        ]  # fmt: skip
        for request in waiting:
            self._many[request.unit] = self._many.get(request.unit, 0) + request.left
        for request in sorted(waiting, key=lambda each: (-each.app.job.priority, each.app.number, each.number)):
            while request.lane is not None and request.unit not in self.unmet and self._start(request):
                self._many[request.unit] -= 1
            if len(self.unmet) >= FRUITLESS:
                break

    def keep_warm(self, pool: Pool, shape: Shape) -> None:
        """Adds what the headroom of a pool lacks."""
        assert pool.headroom is not None
        states = [state for state in self.fork.nodes.named.values() if state.node.pool == pool.name]
        missing = pool.headroom.slots - sum(self.fork.nodes.room(shape, state) for state in states)
        room = self._room(pool, shape)
        if missing > 0 and room:
            self._add(pool.name, min(math.ceil(missing / room), self._left[pool.name]), "its headroom")

    def fill(self, pool: Pool, missing: int) -> None:
        """Adds nodes that a pool lacks of its minimum."""
        self._add(pool.name, min(missing - self.added.get(pool.name, 0), self._left[pool.name]), "its minimum")

    def _start(self, request: Request) -> bool:
        fork = self.fork
        if fork.blocked(request) is not None:
            return False
        if fork.start(request):
            return True
        counts = self._cheapest(request)
        if counts is not None:
            for name, count in counts.items():
                self._add(name, count, request.app.id)
            if fork.start(request):
                return True
        self.unmet[request.unit] = None
        return False

    def _add(self, name: str, count: int, job: str) -> None:
        if count <= 0:
            return
        for state in self._spares(name, count):
            self.fork.nodes.close(state, "")
        del self._spare[name][:count]
        self._left[name] -= count
        self.added[name] = self.added.get(name, 0) + count
        self.jobs.setdefault(name, {})[job] = None

    # -- which nodes ---------------------------------------------------------------------------------------------------

    def _cheapest(self, request: Request) -> dict[str, int] | None:
        """Returns how many nodes of which pools are the cheapest that suffice; None where none do."""
        useful = {name: most for name in self._pools if (most := self._most(name, request.unit)) > 0}
        trusted = {name: most for name, most in useful.items() if name not in self._aside}
        for names in (trusted, useful):
            found = [counts for name, most in names.items() if (counts := self._least(request, {name: most}))]
            if len(names) > 1 and request.unit.members > 1:
                mixed = [self._least(request, dict(names)), *(self._instead(request, each, names) for each in found)]
                found += filter(None, mixed)
            if found:
                return min(found, key=lambda counts: self._cost(request.unit, counts))
            if len(trusted) == len(useful):
                break
        return None

    def _instead(self, request: Request, alone: Mapping[str, int], names: Mapping[str, int]) -> dict[str, int] | None:
        """Returns what suffices with one node less of a pool that suffices alone, and with others instead of it."""
        ((name, count),) = alone.items()
        return self._least(request, {**names, name: count - 1}, kept=name) if count > 1 else None

    def _most(self, name: str, unit: Unit) -> int:
        """Returns with how many nodes of a pool a unit fits in any case where they can hold it; as far as there are."""
        pool = self._pools[name]
        nodes = 0
        for part in unit.parts:
            room = self._room(pool, part.shape)
            if room:
                nodes += part.count if part.apart else math.ceil(part.count / room)
        return min(nodes, self._left[name])

    def _room(self, pool: Pool, shape: Shape) -> int:
        return room_of(self.fork, pool, shape)

    def _cost(self, unit: Unit, counts: Mapping[str, int]) -> float:
        if unit.members == 1:
            pool = self._pools[next(name for name, count in counts.items() if count)]
            return pool.price * max(1.0, self._many[unit] / self._room(pool, unit.parts[0].shape))
        return math.fsum(self._pools[name].price * count for name, count in counts.items())

    def _least(self, request: Request, most: Mapping[str, int], kept: str = "") -> dict[str, int] | None:
        """Returns the fewest nodes, up to so many of each pool, that suffice, the dearest spared first.

        Args:
            request: for whom.
            most: by pool.
            kept: a pool of which none is spared.
        """
        used = self._place(request, most)
        if used is None:
            return None
        counts = {name: most[name] if name == kept else count for name, count in used.items()}
        for name in sorted(counts.keys() - {kept}, key=lambda name: (-self._pools[name].price, name)):
            low, high, middle = -1, counts[name], counts[name] - 1
            while high - low > 1:
                if self._place(request, {**counts, name: middle}) is None:
                    low = middle
                else:
                    high = middle
                middle = (low + high) // 2
            counts[name] = high
        return {name: count for name, count in counts.items() if count} or None

    def _place(self, request: Request, counts: Mapping[str, int]) -> dict[str, int] | None:
        """Returns how many of so many more nodes a request uses; None where it does not fit with them."""
        fork, nodes = self.fork, self.fork.nodes
        open = {name: self._spares(name, count) for name, count in counts.items()}
        for states in open.values():
            for state in states:
                nodes.close(state, "")
        held = place(
            nodes, request.unit, lambda part, number: f"?/{part}/{number}",
            lambda part: fork.unwanted(request, part), lambda part: fork.caps(request, part),
        )  # fmt: skip
        used = {name: sum(bool(state.held) for state in states) for name, states in open.items()}
        if held is not None:
            nodes.give_all(one for group in held for one in group)
        for states in open.values():
            for state in states:
                nodes.close(state, _NOT_YET)
        return None if held is None else used

    def _spares(self, name: str, count: int) -> list[NodeState]:
        """Returns nodes of a pool that are not there yet, closed."""
        spare = self._spare[name]
        while len(spare) < count:
            self._count += 1
            state = self.fork.nodes.add(self._pools[name].node(f"?/{name}/{self._count}"))
            self.fork.nodes.close(state, _NOT_YET)
            spare.append(state)
        return spare[:count]
