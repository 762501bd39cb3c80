"""All queues of a partition: they come and go with the configuration and placement rules, and follow the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clearance.cluster.model import Limit, PartitionConfig, QueueConfig
from clearance.cluster.queues import ACTIVE, DRAINING, STOPPED, Counter, QueueState
from clearance.cluster.rules import created
from clearance.cluster.shares import Conditions
from clearance.cluster.space import Space
from clearance.errors import UsageError


class Tree:
    """All queues of a partition.

    Args:
        root: as declared.
        space: of the scheduler.
        counters: of limits that are there already.

    Attributes:
        total: what the nodes have, by position.
        stale: whether that has changed since the last `rate`.
        queues: by path, a parent before its children.
        conditions: of shares.
        decays: whether past use counts anywhere.
        rescales: whether shares are those of `drf` anywhere.
        root: of the tree.
    """

    def __init__(
        self, root: QueueConfig, space: Space, counters: dict[tuple[str, str, str], Counter] | None = None
    ) -> None:
        self._space = space
        self.total: list[int] = [0] * len(space.names)
        self.stale = False
        self.queues: dict[str, QueueState] = {}
        self.conditions = Conditions()
        self.decays = self.rescales = False
        self._counters = counters or {}
        for config in root.walk():
            self._add(config)
        self.root = self.queues[root.path]

    def _add(self, config: QueueConfig) -> QueueState:
        parent = self.queues.get(config.parent_path)
        queue = self.queues[config.path] = QueueState(config, parent, self.conditions)
        self._configure(queue, config)
        queue.rate(self.total)
        if parent is not None:
            parent.children[queue.name] = queue
        return queue

    def _configure(self, queue: QueueState, config: QueueConfig) -> None:
        queue.configure(config, self._space)
        self.decays = self.decays or queue.average is not None
        self.rescales = self.rescales or queue.rescales

    def exists(self, path: str) -> bool:
        """Whether there is a queue at this path."""
        return path in self.queues

    def is_leaf(self, path: str) -> bool:
        """Whether the queue there takes jobs, and no queues."""
        return path in self.queues and self.queues[path].is_leaf

    def accepts(self, path: str) -> bool:
        """Whether the queue there is active: neither draining nor stopped."""
        return path in self.queues and self.queues[path].state == ACTIVE

    def chain(self, path: str) -> Iterator[QueueConfig]:
        """Yields what was declared of the queues from this path up to the root, as far as they exist."""
        while path:
            if path in self.queues:
                yield self.queues[path].config
            path = path.rpartition(".")[0]

    def create(self, config: QueueConfig) -> QueueState:
        """Adds a queue that a placement rule makes; its parent must be there."""
        queue = self._add(config)
        queue.dynamic = True
        return queue

    def refuse(self, root: QueueConfig) -> None:
        """Makes sure that new declarations can be taken.

        Raises:
            UsageError: a queue in which there are jobs is to have queues below it.
        """
        for config in root.walk():
            queue = self.queues.get(config.path)
            if queue is not None and not config.is_leaf and (queue.lanes or (queue.allocated and not queue.children)):
                raise UsageError(
                    f"queue {config.path!r} has jobs and cannot have queues below it: take it out of the file until "
                    "they have ended, or give the queues below another parent"
                )

    def reload(self, partition: PartitionConfig) -> None:
        """Takes new declarations: queues that are no longer declared drain, and go when they are empty.

        A queue that a placement rule has made follows the queue above it. Limits count nothing until `counters` is
        asked for them again.
        """
        self.decays = self.rescales = False
        declared = partition.queues
        for path, config in declared.items():
            queue = self.queues.get(path)
            if queue is None:
                self._add(config)
            else:
                self._configure(queue, config)
                queue.state = ACTIVE if queue.state == DRAINING else queue.state
                queue.dynamic = False
        for path, queue in list(self.queues.items()):
            if path in declared:
                continue
            assert queue.parent is not None
            kept = queue.dynamic and queue.parent.state != DRAINING and queue.parent.config.parent
            if queue.state != STOPPED:
                queue.state = ACTIVE if kept else DRAINING
            self._configure(queue, created(partition, path, not queue.config.parent) if kept else queue.config)
        for path in reversed(list(self.queues)):
            if path in self.queues:
                self.prune(self.queues[path])
        self._counters.clear()
        self.rate(self.total)

    def prune(self, queue: QueueState) -> None:
        """Takes a queue away that drains, or that a rule has made, once nothing is in it."""
        while (
            queue.parent is not None
            and (queue.state == DRAINING or queue.dynamic)
            and not (queue.children or queue.jobs)
        ):
            del self.queues[queue.path], queue.parent.children[queue.name]
            queue.key, queue.version = None, queue.version + 1
            queue = queue.parent

    def rate(self, total: list[int]) -> None:
        """Follows the size of the cluster."""
        self.stale = False
        self.total = list(total)
        for queue in self.queues.values():
            queue.widen(len(total))
            queue.rate(total)
        for counter in self._counters.values():
            counter.widen(len(total))
        for queue in self.queues.values():
            if not queue.children:
                queue.touch()

    def settle(self, leaves: Iterable[QueueState], now: float) -> None:
        """Lets time go on; the use of some leaves has changed at the last moment, and of none else.

        Args:
            leaves: whose use has changed.
            now: seconds of the driver's clock.
        """
        if self.decays:
            for leaf in leaves:
                for queue in leaf.above:
                    queue.settle()
        self.conditions.now = now

    def leaves(self) -> Iterator[QueueState]:
        """Yields the leaves in which somebody waits."""
        return (queue for queue in self.queues.values() if queue.lanes)

    def copy_counters(self, copies: dict[Counter, Counter]) -> dict[tuple[str, str, str], Counter]:
        """Returns copies of the limits, and notes which stands for which."""
        for counter in self._counters.values():
            copies[counter] = Counter(counter.label)
            copies[counter].copy_from(counter)
        return {key: copies[counter] for key, counter in self._counters.items()}

    def counted(self) -> Iterator[Counter]:
        """Yields everything that has a maximum."""
        yield from self.queues.values()
        yield from self._counters.values()

    def counters(self, queue: QueueState, user: str, groups: tuple[str, ...]) -> tuple[Counter, ...]:
        """Returns what the limits of a queue and of those above it count a user and one of their groups by."""
        found = []
        for each in queue.above:
            if each.config.limits:
                found += self._counters_at(each, user, groups)
        return tuple(found)

    def limits_of(self, path: str, kind: str, name: str) -> Iterator[Counter]:
        """Yields what counts a `user` or `group` in a queue, where a limit does."""
        for each in (name, "*"):
            if (counter := self._counters.get((path, kind, each))) is not None:
                yield counter

    def _counters_at(self, queue: QueueState, user: str, groups: tuple[str, ...]) -> list[Counter]:
        limits, found = queue.config.limits, []
        limit = _named(limits, "users", user) or _named(limits, "users", "*")
        if limit is not None:
            found.append(self._counter(queue, "user", user, limit))
        for group in groups:  # the first of the user's groups that a limit names
            if (limit := _named(limits, "groups", group)) is not None:
                found.append(self._counter(queue, "group", group, limit))
                break
        else:
            if groups and (limit := _named(limits, "groups", "*")) is not None:
                found.append(self._counter(queue, "group", "*", limit))
        return found

    def _counter(self, queue: QueueState, kind: str, name: str, limit: Limit) -> Counter:
        key = (queue.path, kind, name)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = Counter(f"{kind} {name} in {queue.path}")
            counter.limit(self._space, limit.max_resources.items(), limit.max_applications)
        return counter


def _named(limits: Iterable[Limit], which: str, name: str) -> Limit | None:
    """Returns the first limit that names a user or group."""
    return next((limit for limit in limits if name in getattr(limit, which)), None)
