"""The ledger: what queues will use when everything has come of what was decided."""

from __future__ import annotations

from collections.abc import Iterable

from clearance.cluster.queues import QueueState


class Ledger:
    """What queues will use, once those have left who were asked to and those have started who were promised room."""

    def __init__(self) -> None:
        self._change: dict[QueueState, dict[int, int]] = {}

    def used(self, queue: QueueState, position: int) -> int:
        """Returns what a queue will use of a resource, in its unit."""
        change = self._change.get(queue)
        return queue.used[position] + (change.get(position, 0) if change else 0)

    def count(self, leaf: QueueState, usage: Iterable[tuple[int, int]], sign: int) -> None:
        """Counts usage that comes to a leaf (1) or leaves it (-1)."""
        usage = list(usage)
        for queue in leaf.above:
            change = self._change.setdefault(queue, {})
            for position, amount in usage:
                change[position] = change.get(position, 0) + sign * amount

    def copy(self) -> Ledger:
        """Returns a copy that changes on its own."""
        other = Ledger()
        other._change = {queue: dict(change) for queue, change in self._change.items()}
        return other
