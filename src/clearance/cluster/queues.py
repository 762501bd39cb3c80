"""The queues as they live: what each uses, who waits in it, and which one is next.

Rules (YuniKorn, "Sorting policies", "Priority", "Queue configuration", "User and group quotas"):

1. From the root down the next queue is the one with the highest priority, then the smallest fair share, then the most
   pending members, then the first by name.
2. The priority of a leaf is the highest of those that wait in it and could start; of a parent the highest of its
   children's; with its offset added, or, behind a fence, the offset alone.
3. The fair share: `cluster.shares`.
4. Those who wait in a leaf are in lanes: one for each kind of request of each user. A lane whose first cannot start is
   parked, for the queue, the user or the nodes that it waits for, and costs nothing until these change.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clearance.cluster.model import QueueConfig
from clearance.cluster.shares import Average, Conditions, largest, rescaled
from clearance.cluster.space import Space

if TYPE_CHECKING:
    from clearance.cluster.application import Application, Request
    from clearance.cluster.limits import LimitState, Shares
    from clearance.cluster.unit import Unit

ENDLESS = 1 << 62
ACTIVE, DRAINING, STOPPED = "active", "draining", "stopped"
Key = tuple[int, float, tuple[int, ...]]  # priority turned, share, order


class Counter:
    """What is counted against a maximum: a queue, or a user or group in one.

    Attributes:
        label: as people read it (`queue root.ml`, `user ana in root.ml`).
        used: by position of a quota.
        max: by position of a quota; `ENDLESS` where there is none.
        limited: positions that have a maximum.
        applications: how many run.
        max_applications: how many may.
        waiting: lanes that wait for it.
    """

    __slots__ = ("applications", "label", "limited", "max", "max_applications", "used", "waiting")

    def __init__(self, label: str) -> None:
        self.label = label
        self.used: list[int] = []
        self.max: list[int] = []
        self.limited: tuple[int, ...] = ()
        self.applications = 0
        self.max_applications = ENDLESS
        self.waiting: dict[Lane, None] = {}

    def limit(self, space: Space, amounts: Iterable[tuple[str, int]], applications: int | None) -> None:
        """Sets the maximum."""
        found = {space.at(name): amount for name, amount in amounts}
        self.widen(len(space.names))
        self.max = [found.get(position, ENDLESS) for position in range(len(space.names))]
        self.limited = tuple(found)
        self.max_applications = ENDLESS if applications is None else applications

    def widen(self, positions: int) -> None:
        """Follows the space, which has come to know more resources."""
        self.used += [0] * (positions - len(self.used))
        self.max += [ENDLESS] * (positions - len(self.max))

    def copy_from(self, other: Counter) -> None:
        """Takes the maxima and what is used from another, but not who waits."""
        self.used, self.max, self.limited = list(other.used), list(other.max), other.limited
        self.applications, self.max_applications = other.applications, other.max_applications

    def over(self, usage: Iterable[tuple[int, int]]) -> int:
        """Returns the position of the first maximum that would be exceeded; -1: none."""
        if self.limited:
            used, most = self.used, self.max
            for position, amount in usage:
                if used[position] + amount > most[position]:
                    return position
        return -1


class Lane:
    """Who waits in a leaf with the same request, the same user and the same limits; see rule 4.

    Attributes:
        queue: the leaf.
        unit: the request.
        heap: of key, number and request; entries of those that left are stale.
        number: counts up in the leaf.
        name: what tells it from others of the same unit: the user, where limits count them.
        shares: likewise: what each takes of limits that lie on no node.
        parked: for what it waits; None: it may start.
    """

    __slots__ = ("heap", "name", "number", "parked", "queue", "shares", "unit")

    def __init__(self, queue: QueueState, unit: Unit, name: str, shares: Shares, number: int) -> None:
        self.number = number
        self.queue = queue
        self.unit = unit
        self.name = name
        self.shares = shares
        self.heap: list[tuple[Key, int, Request]] = []
        self.parked: Counter | LimitState | Unit | None = None

    def add(self, request: Request) -> None:
        """Puts a request where its key says."""
        heapq.heappush(self.heap, (request.key, request.number, request))

    def head(self) -> tuple[Key, int, Request] | None:
        """Returns the first, without those who left."""
        heap = self.heap
        while heap:
            first = heap[0]
            if first[2].lane is self and first[2].key == first[0]:
                return first
            heapq.heappop(heap)
        return None


class QueueState(Counter):
    """One queue.

    Attributes:
        config: as declared.
        parent: None for the root.
        above: this queue and those above it, up to the root.
        children: by name.
        guaranteed: by position of a quota; 0: nothing.
        state: `active`, `draining` or `stopped`.
        pending: how many members wait in it and below it.
        asked: of them, the amounts by position of a quota.
        allocated: how many members run in it and below it.
        jobs: how many jobs wait or run in it and below it.
        lanes: of a leaf.
        running: the jobs of a leaf that have members, by priority and whether they save their work: in the order in
            which they started, with when.
        stuck: the first of a leaf where nobody may overtake it, while there is no room for it.
        shortest: whether of equal priority the shortest is next, whoever came first: behind one for whom room is kept.
        dynamic: whether a placement rule made it.
        fair: whether the jobs of a leaf are sorted by share.
        sorts_priority: whether priorities count in it.
        conditions: of the tree.
        rates: pairs of position and what one unit of it is of what is the queue's own.
        average: what was used lately; None: that does not count.
        rescales: whether its share is that of `drf`.
        asks: positions that those ask for who could be next; under `drf` alone.
        scaled: by position, what counts as used in its parent; under `drf` alone.
    """

    __slots__ = (
        "above", "allocated", "asks", "average", "children", "conditions", "config", "dynamic", "fair", "guaranteed",
        "heads", "jobs", "key", "lanes", "name", "order", "parent", "path", "pending", "priority", "rates", "rescales",
        "running", "scaled", "shortest", "sorts_priority", "state", "stuck", "version",
    )  # fmt: skip

    def __init__(self, config: QueueConfig, parent: QueueState | None, conditions: Conditions) -> None:
        super().__init__(f"queue {config.path}")
        self.path, self.name = config.path, config.name
        self.parent = parent
        self.above: tuple[QueueState, ...] = (self, *(parent.above if parent else ()))
        self.children: dict[str, QueueState] = {}
        self.state = ACTIVE
        self.pending = 0
        self.jobs = 0
        self.allocated = 0
        self.lanes: dict[tuple[Unit, str, Shares], Lane] = {}
        self.running: dict[tuple[int, bool], dict[Application, float]] = {}
        self.heads: list[tuple[Key, int, Lane]] = []
        self.order: list[tuple[int, float, int, str, int, QueueState]] = []
        self.key: tuple[int, float, int, str] | None = None
        self.version = 0
        self.priority = 0
        self.stuck: Request | None = None
        self.shortest = False
        self.dynamic = False
        self.guaranteed: list[int] = []
        self.rates: list[tuple[int, float]] = []
        self.config = config
        self.fair, self.sorts_priority = False, True
        self.conditions = conditions
        self.average: Average | None = None
        self.rescales = False
        self.asks: frozenset[int] = frozenset()
        self.scaled: Sequence[float] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether jobs go into it."""
        return not self.children and not self.config.parent

    def configure(self, config: QueueConfig, space: Space) -> None:
        """Takes a new declaration; usage and who waits stay."""
        self.config = config
        self.fair = config.properties.sort_policy == "fair"
        self.sorts_priority = config.properties.sort_priority
        found = {space.at(name): amount for name, amount in config.guaranteed.items()}
        self.limit(space, config.max.items(), config.max_applications)
        self.guaranteed = [found.get(position, 0) for position in range(len(space.names))]
        self.rescales = config.properties.queue_sort_policy == "drf"
        half_life = config.properties.usage_half_life
        self.settle()
        if not half_life:
            self.average = None
        elif self.average is None:
            self.average = Average(half_life, self.conditions.now, self.used)
        else:
            self.average.half_life = half_life

    def widen(self, positions: int) -> None:
        super().widen(positions)
        self.guaranteed += [0] * (positions - len(self.guaranteed))

    def copy_from(self, other: Counter) -> None:
        super().copy_from(other)
        assert isinstance(other, QueueState)
        self.guaranteed, self.rates, self.state = list(other.guaranteed), list(other.rates), other.state
        self.fair, self.sorts_priority = other.fair, other.sorts_priority
        self.pending, self.allocated, self.jobs = other.pending, other.allocated, other.jobs
        self.dynamic = other.dynamic
        self.rescales, self.average = other.rescales, other.average.copy() if other.average is not None else None

    def rate(self, total: list[int]) -> None:
        """Recomputes what the fair share divides by."""
        self.rates = []
        for position, whole in enumerate(total):
            divisor = self.guaranteed[position] or (self.max[position] if self.max[position] < ENDLESS else whole)
            if divisor:
                self.rates.append((position, 1.0 / divisor))

    def settle(self) -> None:
        """Counts what was used lately until now."""
        if self.average is not None:
            self.average.settle(self.conditions.now, self.used)

    def usage(self) -> Sequence[float]:
        """Returns what counts as used, by position."""
        if self.average is None:
            return self.used
        self.settle()
        return self.average.mean()

    def share(self) -> float:
        """Returns the fair share; under `drf` that of where it stands now."""
        return rescaled(self) if self.rescales else largest(self.rates, self.usage())

    def runs(self, app: Application, now: float) -> None:
        """A job of a leaf has got its first member."""
        job = app.job
        self.running.setdefault((job.priority, bool(job.checkpoint_interval)), {})[app] = now

    def stops(self, app: Application) -> None:
        """A job of a leaf has lost its last member."""
        kind = app.job.priority, bool(app.job.checkpoint_interval)
        of_kind = self.running.get(kind, {})
        of_kind.pop(app, None)
        if not of_kind:
            self.running.pop(kind, None)

    def unstick(self) -> None:
        """Lets those of a leaf go on that were not to overtake."""
        self.stuck = None
        for lane in self.lanes.values():
            self.push(lane)

    def waiting_first(self) -> Request | None:
        """Returns the first of all that wait in a leaf for room, parked or not; None where none does."""
        heads = [
            head for lane in self.lanes.values()
            if (lane.parked is None or lane.parked is lane.unit) and (head := lane.head()) is not None
        ]  # fmt: skip
        return min(heads, key=lambda head: head[0])[2] if heads else None

    # -- order ---------------------------------------------------------------------------------------------------------

    def push(self, lane: Lane) -> None:
        """Lets the leaf know of a lane whose first has changed."""
        head = lane.head()
        if head is not None and lane.parked is None:
            heapq.heappush(self.heads, (self._turn(lane, head[0]), lane.number, lane))

    def _turn(self, lane: Lane, key: Key) -> Key:
        """Returns when the turn of a lane is whose first has this key."""
        return (key[0], float(lane.unit.length), key[2]) if self.shortest else key

    def sort(self, shortest: bool) -> None:
        """Changes whether the shortest is next."""
        if shortest != self.shortest:
            self.shortest = shortest
            self.heads = []
            for lane in self.lanes.values():
                self.push(lane)

    def lane(self) -> Lane | None:
        """Returns the lane of a leaf whose first is next; None where none could start."""
        heads = self.heads
        while heads:
            key, _, lane = heads[0]
            if lane.parked is None:
                head = lane.head()
                if head is not None and self._turn(lane, head[0]) == key:
                    return lane if self.stuck is None or key <= self.stuck.key else None
            heapq.heappop(heads)
        return None

    def first(self) -> QueueState | None:
        """Returns the child that is next; None where none could start."""
        order = self.order
        while order:
            entry = order[0]
            child = entry[5]
            if child.version == entry[4] and child.key is not None:
                return child
            heapq.heappop(order)
        return None

    def rank(self) -> tuple[int, float, int, str] | None:
        """Returns the place among the siblings; None where nobody in it could start."""
        properties = self.config.properties
        if self.children or not self.lanes:
            first = self.first()
            if first is None:
                return None
            if self.sorts_priority:
                priority = first.priority
            else:
                priority = max(child.priority for child in self.children.values() if child.key is not None)
        else:
            lane = self.lane()
            if lane is None:
                return None
            priority = -lane.heap[0][0][0]
            if self.rescales:
                self.asks = frozenset(position for position, _ in lane.unit.usage)
        offset = properties.priority_offset
        self.priority = offset if properties.priority_policy == "fence" else priority + offset
        parent = self.parent
        counts = parent is None or parent.sorts_priority
        return (-self.priority if counts else 0, self.share(), -self.pending, self.name)

    def touch(self) -> None:
        """Finds the places of this queue and of those above it again, after something in it has changed."""
        queue: QueueState = self
        while (parent := queue.parent) is not None:
            if queue.average is not None:
                queue.settle()
            key = queue.rank()
            if key != queue.key or key is None:
                queue.key = key
                queue.version += 1
                if key is not None:
                    heapq.heappush(parent.order, (*key, queue.version, queue))
            queue = parent
