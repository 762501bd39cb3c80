"""All queues of a partition: they come and go with the configuration and placement rules, and follow the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clearance.cluster.model import Limit, QueueConfig
from clearance.cluster.queues import ACTIVE, DRAINING, Counter, QueueState
from clearance.cluster.space import Space


class Tree:
    """All queues of a partition.

    Args:
        root: as declared.
        space: of the scheduler.
        counters: of limits that are there already.
    """

    def __init__(
        self, root: QueueConfig, space: Space, counters: dict[tuple[str, str, str], Counter] | None = None
    ) -> None:
        self._space = space
        self.total: list[int] = [0] * len(space.names)
        self.stale = False
        self.limits = any(config.limits for config in root.walk())
        self.queues: dict[str, QueueState] = {}
        self._counters = counters or {}
        self.root = self._grow(root, None)

    def _grow(self, config: QueueConfig, parent: QueueState | None) -> QueueState:
        queue = QueueState(config, parent)
        queue.configure(config, self._space)
        queue.rate(self.total)
        self.queues[config.path] = queue
        if parent is not None:
            parent.children[queue.name] = queue
        for child in config.children:
            self._grow(child, queue)
        return queue

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
        queue = self._grow(config, self.queues[config.parent_path])
        queue.dynamic = True
        return queue

    def reload(self, root: QueueConfig) -> list[str]:
        """Takes new declarations: queues that are no longer declared drain, and go when they are empty.

        Returns:
            The paths of queues that drain now.
        """
        declared = {config.path: config for config in root.walk()}
        for path, config in declared.items():
            if path in self.queues:
                queue = self.queues[path]
                queue.configure(config, self._space)
                queue.state = ACTIVE if queue.state == DRAINING else queue.state
                queue.dynamic = False
            else:
                self._grow(QueueConfig(**{**vars(config), "children": ()}), self.queues[config.parent_path])
        draining = []
        for path, queue in list(self.queues.items()):
            if path not in declared and not queue.dynamic:
                queue.state = DRAINING
                draining.append(path)
                self.prune(queue)
        self.limits = any(config.limits for config in root.walk())
        self._limits_again()
        self.rate(self.total)
        return draining

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

    def _limits_again(self) -> None:
        for (path, kind, name), counter in list(self._counters.items()):
            queue = self.queues.get(path)
            limit = None
            if queue is not None:
                which = "users" if kind == "user" else "groups"
                limit = _named(queue.config.limits, which, name) or _named(queue.config.limits, which, "*")
            if limit is None:
                counter.limit(self._space, (), None)
            else:
                counter.limit(self._space, limit.max_resources.items(), limit.max_applications)


def _named(limits: Iterable[Limit], which: str, name: str) -> Limit | None:
    """Returns the first limit that names a user or group."""
    return next((limit for limit in limits if name in getattr(limit, which)), None)
